package credential_test

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// issued is when the fixture's token was issued.
	issued = credential.Millis(1_800_000_000_000)
	// noon is the moment of most transitions: a third into the token's life.
	noon = issued + 20*60*1000
	life = time.Hour

	second = credential.Millis(1000)
	minute = 60 * second
	hour   = 60 * minute
)

// bundle is what a transition needs.
type bundle struct {
	policy  credential.Policy
	held    credential.Held    // active, with a token that lives from issued for an hour
	attempt credential.Attempt // open in held
	nonce   credential.Nonce   // for writes that are not an attempt's
}

// setup returns a fresh bundle: a provider that rotates, strictly.
func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{
		policy: credential.Policy{
			RefreshAt: 2.0 / 3, Jitter: 0.1, Rotates: credential.RotatesYes,
			WarnBefore: 7 * 24 * time.Hour, Times: credential.DefaultTimes(0),
		},
		attempt: credential.Attempt{
			Nonce: nonceOf(7), Owner: "owner-1", Generation: 4, Grant: 2,
			BegunAt: noon - 2*second, Deadline: noon + 33*second,
		},
		nonce: nonceOf(8),
	}
	b.held = credential.Held{
		Record: credential.Record{
			ID: "acct-1", Provider: "acme", Subject: "u-7", Labels: map[string]string{"team": "blue"},
			State: credential.StateActive, Since: issued - hour,
			Version: 5, Revision: 12, Generation: 4, Grant: 2,
			CreatedAt: issued - 48*hour, UpdatedAt: issued, GrantedAt: issued - 24*hour,
			IssuedAt: issued, Lifetime: life, ExpiresAt: issued + hour, RefreshAt: issued + 40*minute, Refreshable: true, HasRefresh: true,
			Rotations:   credential.Rotated{Seen: true},
			LastAttempt: credential.Attempts{SucceededAt: issued},
			Spent:       []credential.MAC{{1}, {2}},
			LastEvents:  make(map[credential.EventType]uint64),
			LastWrite:   nonceOf(6),
		},
		Token: token("at-4", "rt-4"),
	}
	last := b.held.Record.LastEvents
	last[credential.EventConnected], last[credential.EventReauthorized], last[credential.EventRefreshed] = 1, 2, 5
	b.held.Token.Scope = "read write"
	b.open(b.attempt)
	return b
}

// open makes a the open attempt.
func (b *bundle) open(a credential.Attempt) {
	b.attempt = a
	b.held.Attempt = &a
}

// recovery makes the open attempt one that presents a generation in doubt.
func (b *bundle) recovery(firstSent credential.Millis) {
	a := b.attempt
	a.Recovery, a.FirstSent = true, firstSent
	b.open(a)
}

// in puts the record into a state, with its token alive at noon or dead.
func (b *bundle) in(state credential.State, alive bool) {
	r := &b.held.Record
	r.State = state
	if state != credential.StateActive {
		r.Reason = credential.ReasonUnavailable
		r.Failures = 1
	}
	if !alive {
		r.ExpiresAt = noon - second
		r.IssuedAt = r.ExpiresAt.Add(-life)
	}
	if state == credential.StatePending {
		r.IssuedAt, r.ExpiresAt, r.Lifetime, r.Reason = 0, 0, 0, credential.ReasonNone
		b.held.Token.Access = credential.Secret{}
	}
}

func token(access, refresh string) credential.Token {
	return credential.Token{Access: credential.NewSecret(access), Refresh: credential.NewSecret(refresh), Type: "Bearer"}
}

func signIn(password string) credential.SignIn {
	return credential.SignIn{Username: credential.NewSecret("alice@acme.example"), Password: credential.NewSecret(password)}
}

func nonceOf(n uint64) credential.Nonce {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], n)
	sum := sha256.Sum256(seed[:])
	return credential.Nonce(sum[:16])
}

// changed returns the record that a write on h is expected to hold: h's with
// its revision counted on, and whatever edit does.
func changed(h credential.Held, w credential.Write, now credential.Millis, edit func(*credential.Record)) credential.Record {
	r := copyRecord(h.Record)
	r.Revision++
	r.UpdatedAt = now
	r.LastWrite = w.Nonce
	if edit != nil {
		edit(&r)
	}
	return r
}

// event is the part of an event that differs between tests.
type event struct {
	Type     credential.EventType
	State    credential.State
	Previous credential.State
	Reason   credential.Reason
}

// checkWrite compares a write on h with what was expected of its record and
// events, and checks what holds for every write.
func checkWrite(t *testing.T, h credential.Held, w credential.Write, want credential.Record, events ...event) {
	t.Helper()
	want.Version = h.Record.Version + uint64(len(events))
	want.LastEvents = make(map[credential.EventType]uint64)
	maps.Copy(want.LastEvents, h.Record.LastEvents)
	if w.Revision != h.Record.Revision {
		t.Errorf("the write expects revision %d, not %d", w.Revision, h.Record.Revision)
	}
	var got []event
	for i, e := range w.Events {
		got = append(got, event{e.Type, e.State, e.PreviousState, e.Reason})
		if e.Version != h.Record.Version+uint64(i)+1 || e.Nonce != w.Nonce || e.ID != w.Record.ID || e.Provider != w.Record.Provider {
			t.Errorf("event %d has version %d, nonce %s, credential %s, provider %s", i, e.Version, e.Nonce, e.ID, e.Provider)
		}
		if diff := cmp.Diff(want.LastEvents, e.Last); diff != "" {
			t.Errorf("event %d, last events (-want +got):\n%s", i, diff)
		}
		want.LastEvents[e.Type] = e.Version
	}
	if !slices.Equal(got, events) {
		t.Fatalf("events are %+v, want %+v", got, events)
	}
	if diff := cmp.Diff(want, w.Record); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	checkUnshared(t, h, w)
}

// entered is the edit of a record that enters a state at noon.
func entered(r *credential.Record, state credential.State, reason credential.Reason) {
	if r.State != state {
		r.Since = noon
	}
	r.State, r.Reason = state, reason
}

func copyRecord(r credential.Record) credential.Record {
	r.Labels = maps.Clone(r.Labels)
	r.LastEvents = maps.Clone(r.LastEvents)
	r.Spent = slices.Clone(r.Spent)
	return r
}

func copyHeld(h credential.Held) credential.Held {
	h.Record = copyRecord(h.Record)
	h.Alternates = slices.Clone(h.Alternates)
	if h.Attempt != nil {
		h.Attempt = new(*h.Attempt)
	}
	return h
}

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
}

// checkUnshared checks that changing anything inside the write cannot change
// what it was decided on, nor one event another.
func checkUnshared(t failer, h credential.Held, w credential.Write) {
	t.Helper()
	if sameMap(h.Record.Labels, w.Record.Labels) {
		t.Errorf("labels are shared with the record before")
	}
	if sameMap(h.Record.LastEvents, w.Record.LastEvents) {
		t.Errorf("last events are shared with the record before")
	}
	if sameSlice(h.Record.Spent, w.Record.Spent) {
		t.Errorf("spent tokens are shared with the record before")
	}
	if w.Alternates != nil && sameSlice(h.Alternates, *w.Alternates) {
		t.Errorf("alternates are shared with what was held before")
	}
	if w.Open != nil && w.Open == h.Attempt {
		t.Errorf("the attempt is shared with what was held before")
	}
	for i, e := range w.Events {
		if sameMap(e.Last, w.Record.LastEvents) || sameMap(e.Last, h.Record.LastEvents) {
			t.Errorf("event %d shares its last events with a record", i)
		}
		for _, other := range w.Events[:i] {
			if sameMap(e.Last, other.Last) {
				t.Errorf("event %d shares its last events with an earlier one", i)
			}
		}
	}
}
