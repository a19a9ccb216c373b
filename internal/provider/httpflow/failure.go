package httpflow

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
)

// failure is a declared failure, and what the settings call it.
type failure struct {
	Failure

	label string
}

// fits reports whether a reply is that failure.
func (f Failure) fits(r *reply) bool {
	switch {
	case f.StatusTo != 0 && (r.status < f.StatusFrom || r.status > f.StatusTo),
		(f.Redirect || f.Location != "") && !r.redirect(),
		f.Location != "" && !r.leadsTo(f.Location),
		f.BodyContains != "" && !bytes.Contains(r.body, []byte(f.BodyContains)):
		return false
	case f.JSON == "":
		return true
	}
	v, ok := r.json.find(f.JSON)
	return ok && (f.Equals == "" || v.equals(f.Equals))
}

// readsBody reports whether a body that was cut off may have hidden it.
func (f Failure) readsBody() bool { return f.JSON != "" || f.BodyContains != "" }

// redirects reports whether it is only a redirect.
func (f Failure) redirects() bool { return f.Redirect || f.Location != "" }

// check reports what is wrong with a failure.
func (f Failure) check() error {
	from, to := f.StatusFrom, f.StatusTo
	stated := from != 0 || to != 0
	switch {
	case f.Equals != "" && f.JSON == "":
		return errors.New("equals has no json, which says where; give a path")
	case !stated && !f.redirects() && !f.readsBody():
		return errors.New("it fits every reply; give a status, a redirect, a json path or body_contains")
	case stated && (from < 200 || to > 599 || from > to):
		return fmt.Errorf("status is %d to %d; give one within 200 to 599", from, to)
	case stated && f.redirects() && (to < 300 || from > 399):
		return fmt.Errorf("status is %d to %d, and a redirect has one from 300 to 399; drop one of them", from, to)
	case f.Class != "" && !slices.Contains(provider.MatcherClasses(), f.Class):
		return fmt.Errorf("class is %q; give one of %v, or none", f.Class, provider.MatcherClasses())
	case f.Reason != "" && !slices.Contains(credential.Reasons(), f.Reason):
		return fmt.Errorf("reason is %q; give one of %v, or none", f.Reason, credential.Reasons())
	case f.JSON != "":
		if err := checkPath(f.JSON); err != nil {
			return fmt.Errorf("the path %w", err)
		}
	}
	return nil
}
