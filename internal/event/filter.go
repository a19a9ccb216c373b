package event

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// Filter selects events. Every condition that is set must hold; the zero
// filter selects all.
type Filter struct {
	Types     []string          // globs over event types, such as "credential.*"; any may match
	Providers []string          // any may be the event's
	Prefix    string            // of the credential's ID
	Subject   string            // whose the credential is; "" is anybody's, and what belongs to nobody
	Labels    map[string]string // all must be there with that value
}

// Check reports a glob that is malformed or matches no event type at all,
// which is a misspelling.
func (f Filter) Check() error {
	for _, glob := range f.Types {
		known := false
		for _, kind := range credential.EventTypes() {
			ok, err := path.Match(glob, string(kind))
			if err != nil {
				return fmt.Errorf("event type %q: %w", glob, err)
			}
			known = known || ok
		}
		if !known {
			return fmt.Errorf("event type %q matches none of %v", glob, credential.EventTypes())
		}
	}
	return nil
}

// WantsType reports whether events of that type can be selected at all.
func (f Filter) WantsType(kind credential.EventType) bool {
	if len(f.Types) == 0 {
		return true
	}
	for _, glob := range f.Types {
		if ok, err := path.Match(glob, string(kind)); err == nil && ok {
			return true
		}
	}
	return false
}

// Wants reports whether e is selected. An empty one, which stands for an entry
// that this version cannot read, never is.
func (f Filter) Wants(e credential.Event) bool {
	if e.Type == "" {
		return false
	}
	if len(f.Providers) > 0 && !slices.Contains(f.Providers, e.Provider) || !strings.HasPrefix(string(e.ID), f.Prefix) {
		return false
	}
	if f.Subject != "" && e.Subject != f.Subject {
		return false
	}
	for name, value := range f.Labels {
		if got, ok := e.Labels[name]; !ok || got != value {
			return false
		}
	}
	return f.WantsType(e.Type)
}
