package storetest

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func touchAttempt(b *bundle) {
	b.session("alice", 11*time.Minute, "")
	held := b.begun("alice")
	at := b.touch("alice")[0]
	after := b.load("alice")
	assert.Equal(b, held.Record.Touched(at), after.Record)
	assert.Equal(b, held.Attempt, after.Attempt)
	b.requireScore(held.Attempt.Deadline, "alice")
	assert.Equal(b, credential.RefusedOpen, b.begin(ask("alice")).Refusal)
	b.requireScore(held.Attempt.Deadline, "alice")

	// The extension was sent before the touch and is stored after it.
	sent := credential.Received{Method: credential.MethodExtend, SentAt: at - 1}
	w := credential.Extend(held, *held.Attempt, sent, b.sessions(), credential.BySchedule, b.now)
	b.apply(w)
	extended := b.load("alice")
	assert.Equal(b, at, extended.Record.IssuedAt, "the touch is not lost")
	assert.Equal(b, w.Record.Touched(at), extended.Record)
	b.requireScore(credential.NextDue(extended.Record, nil), "alice")

	// One that was sent after the touch starts the clock itself.
	held = b.forceBegun("alice")
	sent.SentAt = at + 1
	b.apply(credential.Extend(held, *held.Attempt, sent, b.sessions(), credential.BySchedule, at.Add(time.Minute)))
	assert.Equal(b, at+1, b.load("alice").Record.IssuedAt)
	assert.Zero(b, b.touchedAt("alice"), "the record says so itself")
}

// touchWrites: what was decided before a touch is written without losing it,
// and what was decided with it takes it over.
func touchWrites(b *bundle) {
	for name, decide := range map[credential.ID]func(credential.Held) credential.Write{
		"paused": func(h credential.Held) credential.Write {
			w, _ := credential.SetPaused(h, true, newNonce(), b.now)
			return w
		},
		"once": func(h credential.Held) credential.Write {
			w, _ := credential.PlanOnce(h, b.now.Add(time.Minute), newNonce(), b.now)
			return w
		},
		"active": func(h credential.Held) credential.Write {
			w, _ := credential.SetPresence(h, credential.PresenceActive, b.sessions(), newNonce(), b.now)
			return w
		},
		"background": func(h credential.Held) credential.Write {
			w, _ := credential.SetPresence(h, credential.PresenceBackground, b.sessions(), newNonce(), b.now)
			return w
		},
		"user-data": func(h credential.Held) credential.Write {
			w, _ := credential.TakeUserData(h, credential.UserData(`{"a":1}`), "", newNonce(), credential.ByProvider, b.now)
			return w
		},
	} {
		before := b.session(name, 5*time.Minute, "")
		at := b.touch(name)[0]
		w := decide(before)
		require.NotZero(b, w.Nonce, name)
		b.apply(w)
		after := b.load(name)
		assert.Equal(b, w.Record.Touched(at), after.Record, name)
		assert.Equal(b, at, b.touchedAt(name), name)
		want := credential.NextDue(after.Record, nil)
		score, _ := b.score(name)
		assert.Equal(b, want, score, name)
		assert.Equal(b, credential.StatusWritten, b.status(w), name+", the same write again")
		assert.Equal(b, after, b.load(name), name)

		known, ok := credential.PlanOnce(after, b.now.Add(2*time.Minute), newNonce(), b.now)
		require.True(b, ok, name)
		b.apply(known)
		assert.Equal(b, known.Record, b.load(name).Record, name)
		assert.Zero(b, b.touchedAt(name), name)
		score, _ = b.score(name)
		assert.Equal(b, known.Due, score, name)
	}
}

// touchRests: a score that was set otherwise than to the next due time is kept
// as it was meant.
func touchRests(b *bundle) {
	before := b.session("rests", 5*time.Minute, "")
	w, ok := credential.SetPaused(before, true, newNonce(), b.now)
	require.True(b, ok)
	w.Due = b.now.Add(48 * time.Hour)
	b.touch("rests")
	b.apply(w)
	b.requireScore(w.Due, "rests")

	before = b.session("looked-at", 5*time.Minute, "")
	b.touch("looked-at")
	w = credential.KeepAlternate(before, credential.Alternate{Nonce: newNonce(), Generation: 1, Token: token("late")}, newNonce(), b.now)
	require.Equal(b, b.now, w.Due)
	b.apply(w)
	b.requireScore(b.now, "looked-at")
}

func touchEnds(b *bundle) {
	for name, end := range map[credential.ID]func(credential.Held) credential.Write{
		"logout": func(h credential.Held) credential.Write { return credential.Logout(h, newNonce(), b.now) },
		"delete": func(h credential.Held) credential.Write { return credential.Delete(h, newNonce(), b.now) },
		"login": func(h credential.Held) credential.Write {
			return credential.Connect(&h, credential.Login{
				ID: h.Record.ID, Provider: provider, Token: credential.Token{Access: credential.NewSecret("other")},
			}, b.sessions(), newNonce(), b.now.Add(-time.Minute))
		},
		"a-token": func(h credential.Held) credential.Write {
			return credential.Connect(&h, credential.Login{ID: h.Record.ID, Provider: provider, Token: token("x"), ExpiresIn: time.Hour}, b.policy, newNonce(), b.now)
		},
	} {
		before := b.session(name, 5*time.Minute, "")
		b.touch(name)
		w := end(before)
		b.apply(w)
		assert.Equal(b, w.Record, b.load(name).Record, name)
		assert.Zero(b, b.touchedAt(name), name)
		score, _ := b.score(name)
		assert.Equal(b, w.Due, score, name)
	}

	// The backend's word that it is over stands.
	b.session("ended", 11*time.Minute, "")
	held := b.begun("ended")
	b.touch("ended")
	w := credential.Fail(held, *held.Attempt, credential.Outcome{
		Method: credential.MethodExtend, Class: credential.ClassPermanent, Reason: credential.ReasonSessionEnded,
	}, b.sessions(), credential.BySchedule, b.now)
	b.apply(w)
	assert.Equal(b, credential.StateReauthRequired, b.load("ended").Record.State)
	assert.Zero(b, b.touchedAt("ended"))
	_, ok := b.score("ended")
	assert.False(b, ok)
}

// touchInTime: a session that was touched in time does not die of idleness,
// whoever thought so before.
func touchInTime(b *bundle) {
	for name, presence := range map[credential.ID]credential.Presence{"alice": "", "bob": credential.PresenceActive} {
		before := b.session(name, 14*time.Minute, presence)
		late := before.Record.ExpiresAt
		at := b.touch(name)[0]
		w, ok := credential.Advance(before, b.sessions(), newNonce(), late)
		require.True(b, ok)
		require.Equal(b, credential.StateReauthRequired, w.Record.State)
		assert.Equal(b, credential.StatusMoved, b.status(w))
		after := b.load(name)
		assert.Equal(b, before.Record.Touched(at), after.Record)
		_, ok = credential.Advance(after, b.sessions(), newNonce(), late)
		assert.Equal(b, presence == credential.PresenceActive && after.Record.Session.CountdownAt <= late, ok, "it is decided again on what was touched")
		b.requireScore(credential.NextDue(after.Record, nil), name)

		// Nor does one that only seems to be on its way out.
		held := b.forceBegun(name)
		w, ok = credential.Advance(credential.Held{Record: before.Record, Attempt: held.Attempt}, b.sessions(), newNonce(), late)
		require.True(b, ok)
		require.Equal(b, credential.StateExpired, w.Record.State)
		assert.Equal(b, credential.StatusMoved, b.status(w))

		// Its time comes all the same.
		w, ok = credential.Advance(credential.Held{Record: after.Record}, b.sessions(), newNonce(), after.Record.ExpiresAt)
		require.True(b, ok)
		w.Close = true
		b.apply(w)
		assert.Equal(b, credential.StateReauthRequired, b.load(name).Record.State)
	}

	// What was told once is put back.
	before := b.session("carol", 14*time.Minute, "")
	b.touch("carol")
	w, ok := credential.Advance(before, b.sessions(), newNonce(), before.Record.ExpiresAt)
	require.True(b, ok)
	run, err := b.store.Run(b.ctx)
	require.NoError(b, err)
	statuses, err := b.store.Restore(b.ctx, run, []credential.Write{w}, false)
	require.NoError(b, err)
	assert.Equal(b, []credential.Status{credential.StatusMoved}, statuses)
	statuses, err = b.store.Restore(b.ctx, run, []credential.Write{w}, true)
	require.NoError(b, err)
	assert.Equal(b, []credential.Status{credential.StatusWritten}, statuses)
	assert.Zero(b, b.touchedAt("carol"))
}

// touchScripts: whatever else reads heads reads touches too.
func touchScripts(b *bundle) {
	list := b.inShard(2)
	alice, bob := list[0], list[1]
	b.session(alice, 11*time.Minute, "")
	stale := b.session(bob, 11*time.Minute, "")
	require.Equal(b, list, b.claim(list, newNonce(), 5*time.Second), "they are due")
	at := b.touch(alice)[0]
	after := b.load(alice).Record
	next := credential.NextDue(after, nil)
	b.requireScore(next, alice)
	assert.Empty(b, b.claim([]credential.ID{alice}, newNonce(), time.Second))

	b.setScore(alice, b.now)
	require.NoError(b, b.store.Release(b.ctx, provider, list, b.now.Add(700*time.Millisecond)))
	b.requireScore(next, alice)
	b.requireScore(b.now.Add(700*time.Millisecond), bob)

	b.setScore(alice, b.now)
	assert.Equal(b, credential.RefusedNotDue, b.begin(ask(alice)).Refusal)
	b.requireScore(next, alice)

	b.setScore(alice, b.now-1)
	b.setScore(bob, b.now-2)
	assert.Equal(b, []credential.Overdue{
		{ID: bob, Due: b.now - 2, ExpiresAt: stale.Record.ExpiresAt, Clock: stale.Record.Clock(), Session: true},
		{ID: alice, Due: b.now - 1, ExpiresAt: at.Add(idle), Clock: after.Clock(), Session: true},
	}, b.overdue())

	// Somebody computed the right score before the touch.
	touched := b.touch(bob)[0]
	wrong, err := b.store.Heal(b.ctx, stale, credential.NextDue(stale.Record, nil))
	require.NoError(b, err)
	assert.False(b, wrong, "it was touched since")
	h := b.load(bob)
	require.Equal(b, touched, h.Record.IssuedAt)
	b.requireScore(credential.NextDue(h.Record, nil), bob)
	require.NoError(b, b.Client.Del(b.ctx, b.key(bob, "due:"+provider)).Err())
	wrong, err = b.store.Heal(b.ctx, h, credential.NextDue(h.Record, nil))
	require.NoError(b, err)
	assert.True(b, wrong)
	b.requireScore(credential.NextDue(h.Record, nil), bob)

	require.NoError(b, b.Client.HSet(b.ctx, b.credKey(bob), "t", "garbage").Err())
	_, err = b.store.Load(b.ctx, bob)
	require.ErrorAs(b, err, new(*store.CorruptError))
	b.touch(bob)
	b.load(bob)
}
