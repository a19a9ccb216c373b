package subscription

import (
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// FormatWebhook posts events with the signatures of Standard Webhooks.
const FormatWebhook = "webhook"

// Settings say who is told of what, and how.
type Settings struct {
	Name      string
	URL       string
	Format    string
	Secrets   []SigningSecret   // what deliveries are signed with, the current one first
	Types     []string          // event types; "credential.*" and "*" match several
	Providers []string          // any may be the event's; empty is all
	Prefix    string            // of the credential's ID
	Labels    map[string]string // all must be there with that value
	Retry     []time.Duration   // waits between deliveries of one event; empty is what Standard Webhooks recommends
	Enabled   bool              // off, nothing is delivered, and nothing is forgotten
}

// SigningSecret is a secret that deliveries are signed with until a moment;
// the zero moment is for good.
type SigningSecret struct {
	Secret credential.Secret
	Until  time.Time
}

// clone returns a copy that shares nothing with s.
func (s Settings) clone() Settings {
	s.Secrets, s.Types, s.Providers = slices.Clone(s.Secrets), slices.Clone(s.Types), slices.Clone(s.Providers)
	s.Retry, s.Labels = slices.Clone(s.Retry), maps.Clone(s.Labels)
	return s
}

// Rotated returns the settings with a new current secret. The old ones go on
// signing beside it until they end, the newest of them for as long as overlap
// says; an overlap of zero ends all of them.
func (s Settings) Rotated(secret credential.Secret, now time.Time, overlap time.Duration) Settings {
	s = s.clone()
	kept := []SigningSecret{{Secret: secret}}
	for _, old := range s.Secrets {
		if old.Until.IsZero() {
			old.Until = now.Add(overlap)
		}
		if overlap > 0 && old.Until.After(now) && !old.Secret.Equal(secret) {
			kept = append(kept, old)
		}
	}
	s.Secrets = kept
	return s
}

// firstEnd is when the first of the previous secrets ceases to sign.
func (s Settings) firstEnd() time.Time {
	return slices.MinFunc(s.Secrets[1:], func(a, b SigningSecret) int { return a.Until.Compare(b.Until) }).Until
}

// PreviousUntil is when the last of the previous secrets ceases to sign; zero
// where there is none.
func (s Settings) PreviousUntil(now time.Time) (until time.Time) {
	for _, one := range s.Secrets[min(1, len(s.Secrets)):] {
		if one.Until.After(now) && one.Until.After(until) {
			until = one.Until
		}
	}
	return until
}
