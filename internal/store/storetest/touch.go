package storetest

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

const (
	idle       = 15 * time.Minute
	warnBefore = 2 * time.Minute
)

// sessions is the suite's policy for a backend with sliding sessions.
func (b *bundle) sessions() credential.Policy {
	p := b.policy
	p.CanLogin = true
	p.Sessions = credential.SessionPolicy{
		Idle: idle, Extend: true, WarnBefore: warnBefore, OnActive: credential.ActiveExtend, OnDeath: credential.DeathReauth,
	}
	return p
}

// session stores one that was logged in to age ago, by somebody who asked for
// that presence, and returns it.
func (b *bundle) session(id credential.ID, age time.Duration, presence credential.Presence) credential.Held {
	b.Helper()
	at := b.now.Add(-age)
	w := credential.Connect(nil, credential.Login{
		ID: id, Provider: provider, Token: credential.Token{Access: credential.NewSecret("session-" + string(id))},
	}, b.sessions(), newNonce(), at)
	b.apply(w)
	h := b.load(id)
	if presence != "" {
		w, ok := credential.SetPresence(h, presence, b.sessions(), newNonce(), at)
		require.True(b, ok)
		b.apply(w)
	}
	return b.load(id)
}

// touch touches sessions that have to be alive, and returns the moments.
func (b *bundle) touch(ids ...credential.ID) []credential.Millis {
	b.Helper()
	answers, err := b.store.Touch(b.ctx, ids)
	require.NoError(b, err)
	require.Len(b, answers, len(ids))
	moments := make([]credential.Millis, len(ids))
	for i, id := range ids {
		require.Equal(b, store.TouchTaken, answers[i].Answer, id)
		moments[i] = b.touchedAt(id)
		require.GreaterOrEqual(b, moments[i], b.now)
	}
	return moments
}

// touchedAt is the moment that stands beside the head, 0 if none does.
func (b *bundle) touchedAt(id credential.ID) credential.Millis {
	b.Helper()
	values, err := b.Client.HMGet(b.ctx, b.credKey(id), "t").Result()
	require.NoError(b, err)
	if values[0] == nil {
		return 0
	}
	text, ok := values[0].(string)
	require.True(b, ok)
	ms, err := strconv.ParseInt(text, 10, 64)
	require.NoError(b, err)
	return credential.Millis(ms)
}

// plantTouch puts a touch of an earlier moment beside the head.
func (b *bundle) plantTouch(id credential.ID, at credential.Millis) {
	b.Helper()
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey(id), "t", int64(at)).Err())
}

func touchMoves(b *bundle) {
	for _, presence := range []credential.Presence{"", credential.PresenceActive} {
		id := credential.ID("alice" + presence)
		before := b.session(id, 5*time.Minute, presence)
		b.requireScore(credential.NextDue(before.Record, nil), id)
		events, err := b.store.Events(b.ctx, b.store.ShardOf(id), "0", 100, 0)
		require.NoError(b, err)
		answers, err := b.store.Touch(b.ctx, []credential.ID{id})
		require.NoError(b, err)
		at := b.touchedAt(id)
		assert.Equal(b, []store.TouchStatus{{Answer: store.TouchTaken, Deadline: at.Add(idle)}}, answers)
		after := b.load(id)
		assert.Equal(b, before.Record.Touched(at), after.Record, "its clock, and nothing else")
		assert.Greater(b, after.Record.ExpiresAt, before.Record.ExpiresAt)
		b.requireScore(credential.NextDue(after.Record, nil), id)
		again, err := b.store.Events(b.ctx, b.store.ShardOf(id), "0", 100, 0)
		require.NoError(b, err)
		assert.Equal(b, events, again, "it has no event")
		for _, read := range []func() credential.Record{
			func() credential.Record { return b.records(id).Record },
			func() credential.Record { return b.walk(provider)[id].Record },
			func() credential.Record {
				page, _, err := b.store.List(b.ctx, store.Filter{Prefix: string(id)}, "", 1)
				require.NoError(b, err)
				return page[0].Record
			},
			func() credential.Record { return b.begin(ask(id)).Held.Record },
			func() credential.Record { return b.forceBegun(id).Record },
		} {
			assert.Equal(b, after.Record, read(), "everybody reads it")
		}
	}
	none, err := b.store.Touch(b.ctx, nil)
	require.NoError(b, err)
	assert.Empty(b, none)
}

func (b *bundle) records(id credential.ID) credential.Held {
	b.Helper()
	list, err := b.store.Records(b.ctx, id)
	require.NoError(b, err)
	require.NotNil(b, list[0])
	return *list[0]
}

func touchAnswers(b *bundle) {
	b.session("alive", time.Minute, "")
	b.fresh("token")
	h := b.fresh("expired-token")
	w, ok := credential.Advance(h, b.policy, newNonce(), h.Record.ExpiresAt)
	require.True(b, ok)
	b.apply(w)
	b.fresh("deleted")
	b.apply(credential.Delete(b.load("deleted"), newNonce(), b.now))
	b.apply(credential.Logout(b.session("out", time.Minute, ""), newNonce(), b.now))
	h = b.session("timed-out", 20*time.Minute, "")
	w, ok = credential.Advance(h, b.sessions(), newNonce(), b.now)
	require.True(b, ok)
	require.Equal(b, credential.StateReauthRequired, w.Record.State)
	b.apply(w)
	b.session("past", 20*time.Minute, "")
	b.session("past-unwatched", 20*time.Minute, credential.PresenceBackground)
	over := b.session("over", time.Minute, "")
	over.Record.HasLogin, over.SignIn = true, credential.SignIn{Username: credential.NewSecret("u"), Password: credential.NewSecret("p")}
	end, ok := credential.Advance(over, b.sessions(), newNonce(), over.Record.ExpiresAt)
	require.True(b, ok)
	require.Equal(b, credential.StateExpired, end.Record.State)
	b.apply(end)
	b.apply(credential.Connect(nil, credential.Login{
		ID: "pending", Provider: provider, SignIn: credential.SignIn{Username: credential.NewSecret("u"), Password: credential.NewSecret("p")},
	}, b.sessions(), newNonce(), b.now))
	require.Equal(b, credential.StatePending, b.load("pending").Record.State)
	b.apply(credential.Trip(nil, provider, credential.Outcome{}, newNonce(), b.now))
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey("garbage"), "h", "1 garbage").Err())
	require.NoError(b, b.Client.Set(b.ctx, b.credKey("string"), "somebody else's", 0).Err())

	list := []credential.ID{
		"nobody", "alive", "token", "expired-token", "deleted", "out", "timed-out", "past", "past-unwatched", "over", "pending",
		credential.ClientID(provider), "garbage", "string", "alive",
	}
	want := []store.TouchAnswer{
		store.TouchUnknown, store.TouchTaken, store.TouchNoSession, store.TouchNoSession, store.TouchUnknown, store.TouchOver, store.TouchOver,
		store.TouchOver, store.TouchOver, store.TouchOver, store.TouchOver, store.TouchNoSession, "", "", store.TouchTaken,
	}
	answers, err := b.store.Touch(b.ctx, list)
	items := new(store.ItemsError)
	require.ErrorAs(b, err, &items)
	assert.Equal(b, []credential.ID{"garbage", "string"}, items.Failed())
	require.ErrorAs(b, items.At(12), new(*store.CorruptError))
	require.ErrorAs(b, items.At(13), new(*store.WrongTypeError))
	require.Len(b, answers, len(list))
	for i, id := range list {
		assert.Equal(b, want[i], answers[i].Answer, id)
		assert.Equal(b, want[i] == store.TouchTaken, answers[i].Deadline != 0, id)
		if want[i] != store.TouchTaken && id != "string" {
			assert.Zero(b, b.touchedAt(id), id)
		}
	}
	assert.GreaterOrEqual(b, answers[14].Deadline, answers[1].Deadline, "twice in one list")
}

// touchChain: each use counts from the one before it, of which the head tells
// nothing.
func touchChain(b *bundle) {
	h := b.session("alice", 20*time.Minute, "")
	require.Less(b, h.Record.ExpiresAt, b.now)
	b.plantTouch("alice", b.now.Add(-10*time.Minute))
	h = b.load("alice")
	assert.Equal(b, b.now.Add(5*time.Minute), h.Record.ExpiresAt)
	at := b.touch("alice")[0]
	after := b.load("alice").Record
	assert.Equal(b, at.Add(idle), after.ExpiresAt)
	b.requireScore(credential.NextDue(after, nil), "alice")

	// A touch of a later moment, as that of a clock that was ahead, is not
	// taken back.
	b.plantTouch("alice", at.Add(time.Minute))
	answers, err := b.store.Touch(b.ctx, []credential.ID{"alice"})
	require.NoError(b, err)
	assert.Equal(b, store.TouchStatus{Answer: store.TouchTaken, Deadline: at.Add(time.Minute + idle)}, answers[0])
	assert.Equal(b, at.Add(time.Minute), b.touchedAt("alice"))
}

func touchBackground(b *bundle) {
	h := b.session("alice", 5*time.Minute, credential.PresenceBackground)
	_, ok := b.score("alice")
	require.False(b, ok, "nobody watches it")
	at := b.touch("alice")[0]
	assert.Equal(b, h.Record.Touched(at), b.load("alice").Record)
	_, ok = b.score("alice")
	assert.False(b, ok)
	w, ok := credential.PlanOnce(b.load("alice"), b.now.Add(time.Hour), newNonce(), b.now)
	require.True(b, ok)
	b.apply(w)
	_, err := b.store.Touch(b.ctx, []credential.ID{"alice"})
	require.NoError(b, err)
	b.requireScore(b.now.Add(time.Hour), "alice")
	used := b.load("alice").Record.IssuedAt
	back, ok := credential.SetPresence(b.load("alice"), credential.PresencePassive, b.sessions(), newNonce(), used.Add(idle/2))
	require.True(b, ok)
	b.apply(back)
	assert.GreaterOrEqual(b, b.load("alice").Record.RefreshAt, used.Add(idle*2/3), "the touch in the background was a use")
	b.requireScore(b.load("alice").Record.RefreshAt, "alice")
}

// touchLeft: an extension that was due when its user left is begun, until a touch
// takes its place or the session is over.
func touchLeft(b *bundle) {
	leave := func(id credential.ID, age time.Duration) credential.Held {
		h := b.session(id, age, credential.PresenceBackground)
		for i, to := range []credential.Presence{credential.PresencePassive, credential.PresenceBackground} {
			w, ok := credential.SetPresence(h, to, b.sessions(), newNonce(), h.Record.ExpiresAt.Add(-time.Minute+time.Duration(i)*time.Second))
			require.True(b, ok)
			b.apply(w)
			h = b.load(id)
		}
		require.NotZero(b, h.Record.RefreshAt)
		b.requireScore(h.Record.RefreshAt, id)
		return h
	}
	leave("alice", idle-30*time.Second)
	assert.Equal(b, credential.RefusedNot, b.begin(ask("alice")).Refusal)

	h := leave("bob", idle-30*time.Second)
	at := b.touch("bob")[0]
	assert.Equal(b, h.Record.Touched(at), b.load("bob").Record)
	_, ok := b.score("bob")
	assert.False(b, ok, "nothing is left to be called")
	assert.Equal(b, credential.RefusedNotDue, b.begin(ask("bob")).Refusal)
	_, ok = b.score("bob")
	assert.False(b, ok)

	h = leave("carol", idle+time.Second)
	assert.Equal(b, credential.RefusedNotDue, b.begin(ask("carol")).Refusal, "it comes too late")
	score, ok := b.score("carol")
	require.True(b, ok)
	assert.Greater(b, score, b.now, "its clock is looked at")
	w, ok := credential.Advance(h, b.sessions(), newNonce(), b.now)
	require.True(b, ok)
	b.apply(w)
	assert.Equal(b, h.Record.Version, b.load("carol").Record.Version)
	_, ok = b.score("carol")
	assert.False(b, ok)

	// Somebody left before he knew of a touch.
	before := b.session("dave", idle-30*time.Second, "")
	at = b.touch("dave")[0]
	w, ok = credential.SetPresence(before, credential.PresenceBackground, b.sessions(), newNonce(), b.now)
	require.True(b, ok)
	require.NotZero(b, w.Due)
	b.apply(w)
	assert.Equal(b, w.Record.Touched(at), b.load("dave").Record)
	_, ok = b.score("dave")
	assert.False(b, ok)
}

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
	found, _, err := b.store.Overdue(b.ctx, 0, provider, 10, 0)
	require.NoError(b, err)
	assert.Equal(b, []credential.Overdue{{ID: bob, ExpiresAt: stale.Record.ExpiresAt}, {ID: alice, ExpiresAt: at.Add(idle)}}, found)

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

// touchForeign: where the due index is somebody else's, nothing is half done.
func touchForeign(b *bundle) {
	h := b.session("alice", 5*time.Minute, "")
	key := b.key("alice", "due:"+provider)
	require.NoError(b, b.Client.Del(b.ctx, key).Err())
	require.NoError(b, b.Client.LPush(b.ctx, key, "somebody else's").Err())
	_, err := b.store.Touch(b.ctx, []credential.ID{"alice"})
	wrong := new(store.WrongTypeError)
	require.ErrorAs(b, err, &wrong)
	assert.Equal(b, key, wrong.Key)
	assert.Equal(b, h, b.load("alice"))
}

func touchRace(b *bundle) {
	h := b.session("alice", 5*time.Minute, "")
	b.atOnce(20, func(i int) error {
		if i%2 == 0 {
			_, err := b.store.Touch(b.ctx, []credential.ID{"alice"})
			return err
		}
		w, _ := credential.PlanOnce(h, b.now.Add(time.Hour+time.Duration(i)*time.Minute), newNonce(), b.now)
		_, err := b.store.Apply(b.ctx, []credential.Write{w})
		return err
	})
	after := b.load("alice")
	assert.Equal(b, h.Record.Revision+1, after.Record.Revision)
	assert.Equal(b, b.touchedAt("alice"), after.Record.IssuedAt)
	b.requireScore(credential.NextDue(after.Record, nil), "alice")
}

// touchAsUsed compares what the script does with what the domain says of a use,
// on random records and attempts.
func touchAsUsed(b *bundle) {
	const n = 400
	seed := rand.Uint64() //nolint:gosec // random cases, not secrets
	b.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // random cases, not secrets
	list := ids(n)
	writes := make([]credential.Write, 0, n)
	for _, id := range list {
		w := b.anyRecord(rnd, id)
		if rnd.IntN(4) > 0 {
			b.anySession(rnd, &w.Record)
			w.Due = credential.NextDue(w.Record, w.Open)
		}
		writes = append(writes, w)
	}
	b.apply(writes...)
	b.anyTouches(rnd, writes)
	stored, err := b.store.Load(b.ctx, list...)
	require.NoError(b, err)
	answers, err := b.store.Touch(b.ctx, list)
	require.NoError(b, err)
	after, err := b.store.Load(b.ctx, list...)
	require.NoError(b, err)
	seen := make(map[store.TouchAnswer]int)
	for i, id := range list {
		r, got := stored[i].Record, after[i].Record
		seen[answers[i].Answer]++
		if got.IssuedAt == r.IssuedAt {
			require.NotEqual(b, store.TouchTaken, answers[i].Answer)
			require.Equal(b, r, got)
			require.Equal(b, r, r.Touched(b.clock()), "the domain takes no touch either")
			continue
		}
		at := b.touchedAt(id)
		require.Equal(b, r.Touched(at), got, "record %+v", r)
		require.Equal(b, store.TouchStatus{Answer: store.TouchTaken, Deadline: got.ExpiresAt}, answers[i])
		if r.Presence == credential.PresenceBackground {
			seen["background"]++
		}
		score, _ := b.score(id)
		require.Equal(b, credential.NextDue(got, after[i].Attempt), score, "record %+v, attempt %+v", got, after[i].Attempt)
	}
	for _, answer := range []store.TouchAnswer{store.TouchTaken, store.TouchNoSession, store.TouchOver, "background"} {
		assert.Positive(b, seen[answer], "no case was answered with %q", answer)
	}
}
