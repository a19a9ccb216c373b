package storetest

import (
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

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
	b.apply(credential.Trip(nil, provider, "alice", credential.Outcome{}, newNonce(), b.now))
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
