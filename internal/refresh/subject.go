package refresh

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
)

// of reports whether a record is that of a subject; "" is anybody.
func of(r credential.Record, subject string) bool {
	return subject == "" || r.Subject == subject
}

// OfSubject reports for each ID, in order, whether a credential of that subject
// is stored under it.
//
// It costs no round trip where memory says so and is current. Nobody is turned
// away by memory alone: the store is asked then, as it is for an ID under which
// nothing is stored, so that neither the answer nor the time that it takes tells
// one from the other.
func (e *Engine) OfSubject(ctx context.Context, ids []credential.ID, subject string) ([]bool, error) {
	answers := make([]bool, len(ids))
	if len(ids) == 1 {
		held, err := e.glance(ctx, ids[0], subject)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, e.unavailable(err)
		}
		answers[0] = err == nil && held.Record.Subject == subject
		return answers, nil
	}
	var rest []credential.ID
	var places []int // of rest in ids
	for i, id := range ids {
		held, current, ok := e.tokens.get(id)
		if answers[i] = ok && current && isOf(held, subject) && e.following(); !answers[i] {
			rest, places = append(rest, id), append(places, i)
		}
	}
	if len(rest) == 0 {
		return answers, nil
	}
	list, err := e.store.Load(ctx, rest...)
	if err != nil && len(list) != len(rest) { // records that cannot be read keep no others back
		return nil, e.unavailable(&outageError{err: err})
	}
	for i, h := range list {
		answers[places[i]] = h != nil && isOf(*h, subject)
	}
	return answers, nil
}

// glance reads a record, from memory only if that says it is the subject's.
func (e *Engine) glance(ctx context.Context, id credential.ID, subject string) (credential.Held, error) {
	if held, _, ok := e.tokens.get(id); ok && isOf(held, subject) {
		return e.read(ctx, id)
	}
	return e.load(ctx, id)
}

// isOf reports whether a credential is stored and that subject's.
func isOf(h credential.Held, subject string) bool {
	return h.Record.State != credential.StateDeleted && h.Record.Subject == subject
}
