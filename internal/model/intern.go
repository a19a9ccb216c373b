package model

import (
	"encoding/binary"

	"github.com/refreshd/refreshd/internal/credential"
)

// table gives each value that occurs a small number, so that a state of the
// model is a handful of bytes. Number 0 is the zero value.
type table[T any] struct {
	values []T
	next   uint16
	index  map[string]uint16
	key    func([]byte, T) []byte
	buf    []byte
}

func newTable[T any](key func([]byte, T) []byte) *table[T] {
	t := &table[T]{index: map[string]uint16{}, key: key}
	var zero T
	t.put(zero)
	return t
}

func (t *table[T]) put(v T) uint16 {
	t.buf = t.key(t.buf[:0], v)
	if n, ok := t.index[string(t.buf)]; ok {
		return n
	}
	n := t.next
	if t.next++; t.next == 0 {
		panic("model: more different values than a state has room for")
	}
	t.values = append(t.values, v)
	t.index[string(t.buf)] = n
	return n
}

func (t *table[T]) get(n uint16) T { return t.values[n] }

// plain drops from a record what no decision depends on. A token counts as
// issued an hour before it dies: how long it lives matters only beside that
// for the length of a backoff, and every moment of the model is further off.
func plain(h credential.Held) credential.Held {
	r := &h.Record
	if r.ExpiresAt != 0 {
		r.Lifetime, r.IssuedAt = life, r.ExpiresAt.Add(-life)
	}
	if r.Failures == 0 && r.RefreshAt != 0 {
		r.RefreshAt = moment(due)
	}
	r.Since, r.CreatedAt, r.UpdatedAt, r.GrantedAt, r.AskedAt, r.Acts = 0, 0, 0, 0, 0, 0
	before := r.LastAttempt
	r.LastAttempt = credential.Attempts{FailedAt: before.FailedAt}
	if before.SucceededAt >= before.FailedAt { // all that matters of it
		r.LastAttempt.SucceededAt = before.FailedAt
	}
	r.LastEvents = nil
	r.RefreshOnly = 0 // whoever asks for a token goes by it
	return h
}

// heldKey writes what tells two records apart.
func heldKey(b []byte, h credential.Held) []byte {
	r := h.Record
	b = numbers(b, r.Revision, r.Version, r.Generation, r.Grant)
	b = append(b, r.State...)
	b = append(append(b, 0), r.Reason...)
	b = append(b, 0, flag(r.Refreshable), flag(r.Rotations.Seen))
	b = counts(b, r.Failures, r.Rotations.Kept, len(r.Spent), len(h.Alternates))
	b = times(b, r.IssuedAt, r.ExpiresAt, r.RefreshAt, credential.Millis(r.Lifetime), r.LastAttempt.FailedAt, r.LastAttempt.SucceededAt)
	b = append(b, r.LastWrite[:]...)
	for _, mac := range r.Spent {
		b = append(b, mac[:4]...)
	}
	b = tokenKey(b, h.Token)
	for _, alt := range h.Alternates {
		b = numbers(append(b, alt.Nonce[:]...), alt.Generation)
		b = times(tokenKey(b, alt.Token), alt.IssuedAt, credential.Millis(alt.Lifetime))
	}
	if h.Attempt != nil {
		b = attemptKey(b, *h.Attempt)
	}
	return b
}

func attemptKey(b []byte, a credential.Attempt) []byte {
	b = append(append(b, a.Nonce[:]...), a.Owner...)
	b = append(numbers(b, a.Generation, a.Grant), flag(a.Doubt), flag(a.Recovery))
	return times(b, a.BegunAt, a.Deadline, a.RecoverAt, a.FirstSent)
}

func tokenKey(b []byte, t credential.Token) []byte {
	b = counts(b, len(t.Access.Reveal()), len(t.Refresh.Reveal()))
	return append(b, t.Refresh.Reveal()...)
}

func times(b []byte, list ...credential.Millis) []byte {
	for _, m := range list {
		b = binary.AppendVarint(b, int64(m))
	}
	return b
}

func numbers(b []byte, list ...uint64) []byte {
	for _, n := range list {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func counts(b []byte, list ...int) []byte {
	for _, n := range list {
		b = binary.AppendVarint(b, int64(n))
	}
	return b
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// journalKey writes what tells two journals apart.
func journalKey(b []byte, list []entry) []byte {
	for _, e := range list {
		b = append(numbers(b, e.generation, e.grant), byte(e.kind), e.sentAt, e.token.login, e.token.depth, e.token.sibling)
		b = append(b, e.nonce[:]...)
	}
	return b
}

// memoryKey writes what tells apart what two processes remember to have
// written.
func memoryKey(b []byte, list []written) []byte {
	for _, w := range list {
		b = times(numbers(append(b, 0xff), w.write.Revision), w.write.Record.UpdatedAt)
		b = heldKey(append(b, w.write.Attempt[:]...), w.after)
	}
	return b
}

// turnKey writes what tells two attempts apart that processes hold.
func turnKey(b []byte, t turn) []byte {
	b = append(attemptKey(b, t.held.attempt()), 0, t.began, t.sentAt, t.sent.login, t.sent.depth, t.sent.sibling)
	b = append(b, t.reply.login, t.reply.depth, t.reply.sibling)
	return heldKey(b, t.held.Held)
}
