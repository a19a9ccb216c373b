package storetest

import (
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// beginAsGranted compares what the store's script decides with what the domain
// does, on random records, attempts and alternates.
func beginAsGranted(b *bundle) {
	const n = 1000        // the rarest kind is one of a hundred
	seed := rand.Uint64() //nolint:gosec // random cases, not secrets
	b.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // random cases, not secrets
	list := ids(n)
	stored := make([]credential.Held, n)
	writes := make([]credential.Write, 0, n)
	for _, id := range list {
		if rnd.IntN(20) == 0 {
			continue // unknown
		}
		writes = append(writes, b.anyRecord(rnd, id))
	}
	b.apply(writes...)
	b.anyTouches(rnd, writes)
	loaded, err := b.store.Load(b.ctx, list...)
	require.NoError(b, err)
	for i, h := range loaded {
		if h != nil {
			stored[i] = *h
		}
	}
	requests := make([]credential.Begin, n)
	for i, id := range list {
		requests[i] = anyRequest(rnd, id, stored[i])
	}
	answers, err := b.store.Begin(b.ctx, requests)
	require.NoError(b, err)
	seen := make(map[credential.Refusal]int)
	kinds := make(map[string]int)
	for i, answer := range answers {
		refusal, attempt := credential.Grant(stored[i], requests[i], answer.Now)
		require.NoError(b, answer.Err)
		require.Equal(b, refusal, answer.Refusal, "record %+v, attempt %+v, request %+v", stored[i].Record, stored[i].Attempt, requests[i])
		seen[refusal]++
		if r := stored[i].Record; r.Session.Sliding() && (refusal == credential.RefusedNot || refusal == credential.RefusedNotDue) {
			kinds["session, "+string(refusal)]++
		}
		if r := stored[i].Record; r.OnceAt != 0 && r.OnceAt < answer.Now && r.NextRefresh() != r.RefreshAt && refusal == credential.RefusedNot {
			kinds["once"]++
		}
		if r := stored[i].Record; r.Paused && r.Refreshable && refusal == credential.RefusedNoRefresh {
			kinds["paused"]++
		}
		if refusal == credential.RefusedNot {
			require.Equal(b, attempt, answer.Held.Attempt)
			require.Equal(b, attempt, b.load(requests[i].ID).Attempt, "and it is stored")
		} else if refusal != credential.RefusedUnknown {
			require.Equal(b, stored[i].Attempt, b.load(requests[i].ID).Attempt, "a refusal opens and closes nothing")
		}
	}
	for _, refusal := range []credential.Refusal{
		credential.RefusedNot, credential.RefusedUnknown, credential.RefusedMoved, credential.RefusedTerminal,
		credential.RefusedNotDue, credential.RefusedOpen, credential.RefusedAlternate, credential.RefusedNoRefresh, credential.RefusedOver,
	} {
		assert.Positive(b, seen[refusal], "no case was answered with %q", refusal)
	}
	for _, kind := range []string{"session, ", "session, not_due", "once", "paused"} {
		assert.Positive(b, kinds[kind], "no case of %q", kind)
	}
}

// anyRecord makes up a record, in any state, of a session or of another token,
// with or without an attempt and alternates. Its moments lie well away from the present one, which goes on
// while the test runs.
func (b *bundle) anyRecord(rnd *rand.Rand, id credential.ID) credential.Write {
	w := b.login(id, 0)
	r := &w.Record
	if rnd.IntN(4) == 0 {
		r.State = pick(rnd, credential.StatePending, credential.StateDegraded, credential.StateExpired,
			credential.StateReauthRequired, credential.StateLoggedOut)
	}
	r.Generation = 1 + rnd.Uint64N(4)
	r.RefreshAt = b.anyMoment(rnd)
	r.Refreshable = rnd.IntN(6) > 0
	r.Paused = rnd.IntN(8) == 0
	r.OnceAt = pick(rnd, 0, 0, b.anyMoment(rnd))
	if rnd.IntN(2) == 0 {
		b.anySession(rnd, r)
	}
	w.Close = false
	if rnd.IntN(2) == 0 {
		w.Open = &credential.Attempt{
			Nonce: newNonce(), Owner: "owner-2", Generation: r.Generation, Grant: r.Grant,
			BegunAt: b.now.Add(-2 * time.Hour), Deadline: b.anyMoment(rnd),
		}
		if rnd.IntN(2) == 0 {
			w.Open.Doubt, w.Open.RecoverAt, w.Open.FirstSent = true, b.anyMoment(rnd), b.now.Add(-3*time.Hour)
		}
	}
	alternates := make([]credential.Alternate, rnd.IntN(3))
	for i := range alternates {
		alternates[i] = credential.Alternate{Nonce: newNonce(), Generation: 1 + rnd.Uint64N(4), Token: token("alternate"), IssuedAt: b.now, Lifetime: time.Hour}
	}
	w.Alternates = &alternates
	w.Due = credential.NextDue(*r, w.Open)
	return w
}

// anySession makes the record's token a session that was last used some time
// ago.
func (b *bundle) anySession(rnd *rand.Rand, r *credential.Record) {
	const idle = 15 * time.Minute
	age := pick(rnd, 4*time.Minute, 13*time.Minute, 20*time.Minute, time.Hour)
	r.IssuedAt, r.Lifetime, r.ExpiresAt = b.now.Add(-age), idle, b.now.Add(idle-age)
	r.LimitAt = pick(rnd, 0, 0, b.now.Add(2*time.Minute), b.now.Add(time.Hour), b.now.Add(-2*time.Minute))
	r.WarnAt = b.anyMoment(rnd)
	r.Presence = pick(rnd, "", credential.PresenceActive, credential.PresencePassive, credential.PresenceBackground)
	r.Session = credential.Session{
		Idle: idle, ExtendAfter: pick(rnd, 0, 10*time.Minute, 12*time.Minute+700*time.Microsecond),
		WarnBefore: pick(rnd, 0, 3*time.Minute, idle), CountdownAt: b.anyMoment(rnd), Ended: rnd.IntN(10) == 0,
	}
	if r.LimitAt != 0 {
		r.Session.StartedAt = r.LimitAt.Add(-2 * time.Hour)
		r.Session.Successor = credential.Successor{
			At:       pick(rnd, 0, r.LimitAt.Add(-time.Hour), r.LimitAt.Add(-10*time.Minute), r.LimitAt.Add(-time.Minute)),
			Failures: pick(rnd, 0, 0, 2),
		}
	}
}

// anyTouches puts a touch beside some of the sessions that were written, as
// touches of the last minutes have left them.
func (b *bundle) anyTouches(rnd *rand.Rand, writes []credential.Write) {
	for _, w := range writes {
		r := w.Record
		live := r.Session.Sliding() && !r.Session.Ended && (r.State == credential.StateActive || r.State == credential.StateDegraded)
		at := b.now.Add(-pick(rnd, 0, 6*time.Minute, 11*time.Minute, 16*time.Minute, 30*time.Minute))
		if live && at > r.IssuedAt && (r.LimitAt == 0 || at < r.LimitAt) && rnd.IntN(2) == 0 {
			require.NoError(b, b.Client.HSet(b.ctx, b.credKey(r.ID), "t", int64(at)).Err())
		}
	}
}

// anyMoment is none, long past or far off.
func (b *bundle) anyMoment(rnd *rand.Rand) credential.Millis {
	return pick(rnd, 0, b.now.Add(-time.Hour), b.now.Add(time.Hour))
}

// anyRequest asks for a record's attempt, now and then for the one that is
// open.
func anyRequest(rnd *rand.Rand, id credential.ID, h credential.Held) credential.Begin {
	r := ask(id)
	r.Force = rnd.IntN(3) == 0
	r.Lasts = 35 * time.Second
	if rnd.IntN(3) == 0 {
		r.Generation = 1 + rnd.Uint64N(4)
	}
	if h.Attempt != nil && rnd.IntN(6) == 0 {
		r.Nonce = h.Attempt.Nonce
	}
	return r
}

func pick[T any](rnd *rand.Rand, list ...T) T { return list[rnd.IntN(len(list))] }
