package storetest

import (
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func beginGrants(b *bundle) {
	stored := b.due("alice")
	r := ask("alice")
	answer := b.begin(r)
	require.NoError(b, answer.Err)
	require.Equal(b, credential.RefusedNot, answer.Refusal)
	assert.Equal(b, stored.Record, answer.Held.Record)
	assert.True(b, answer.Held.Token.Refresh.Equal(stored.Token.Refresh))
	assert.True(b, answer.Held.Token.Access.Equal(stored.Token.Access))
	assert.GreaterOrEqual(b, answer.Now, b.now)
	want := &credential.Attempt{
		Nonce: r.Nonce, Owner: owner, Generation: stored.Record.Generation, Grant: stored.Record.Grant,
		BegunAt: answer.Now, Deadline: answer.Now.Add(lasts),
	}
	assert.Equal(b, want, answer.Held.Attempt)
	assert.Equal(b, want, b.load("alice").Attempt, "the attempt is stored")
	score, ok := b.score("alice")
	assert.True(b, ok)
	assert.LessOrEqual(b, score, want.Deadline, "somebody asks about it at its deadline, or before")
	open, err := b.opened()
	require.NoError(b, err)
	assert.Equal(b, []credential.ID{"alice"}, open)
}

func beginTwice(b *bundle) {
	b.due("alice")
	r := ask("alice")
	first, second := b.begin(r), b.begin(r)
	assert.Equal(b, credential.RefusedNot, second.Refusal)
	assert.Equal(b, first.Held.Attempt, second.Held.Attempt, "the attempt is not begun anew")
	assert.True(b, first.Held.Token.Refresh.Equal(second.Held.Token.Refresh))
	other := b.begin(ask("alice"))
	assert.Equal(b, credential.RefusedOpen, other.Refusal)
	assert.Equal(b, first.Held.Attempt, other.Held.Attempt, "who is refused is told about the open attempt")
	assert.True(b, other.Held.Token.Refresh.IsZero(), "who is refused gets no token")
}

func beginRefusals(b *bundle) {
	b.due("due")
	b.due("due-too")
	b.fresh("fresh")
	b.fresh("fresh-too")
	b.due("open")
	b.begun("open")
	out := b.due("out")
	b.apply(credential.Logout(out, newNonce(), b.now))
	spare := b.due("spare")
	b.apply(credential.KeepAlternate(spare, credential.Alternate{Nonce: newNonce(), Generation: 1, Token: token("late")}, newNonce(), b.now))
	stale := b.due("stale")
	b.apply(credential.KeepAlternate(stale, credential.Alternate{Nonce: newNonce(), Generation: 0, Token: token("late")}, newNonce(), b.now))
	b.apply(credential.Connect(nil, credential.Login{
		ID: "bare", Provider: provider, Token: credential.Token{Access: credential.NewSecret("a")}, ExpiresIn: time.Hour,
	}, b.policy, newNonce(), b.now))

	for name, tt := range map[string]struct {
		id         credential.ID
		force      bool
		generation uint64
		want       credential.Refusal
		record     bool
	}{
		"unknown":             {id: "nobody", want: credential.RefusedUnknown},
		"not due":             {id: "fresh", want: credential.RefusedNotDue, record: true},
		"another generation":  {id: "due", generation: 9, force: true, want: credential.RefusedMoved, record: true},
		"open":                {id: "open", force: true, want: credential.RefusedOpen, record: true},
		"terminal":            {id: "out", force: true, want: credential.RefusedTerminal, record: true},
		"an alternate":        {id: "spare", force: true, want: credential.RefusedAlternate, record: true},
		"an old alternate":    {id: "stale", want: credential.RefusedNot, record: true},
		"no refresh token":    {id: "bare", force: true, want: credential.RefusedNoRefresh, record: true},
		"forced":              {id: "fresh-too", force: true, want: credential.RefusedNot, record: true},
		"the same generation": {id: "due-too", generation: 1, want: credential.RefusedNot, record: true},
	} {
		r := ask(tt.id)
		r.Force, r.Generation = tt.force, tt.generation
		answer := b.begin(r)
		assert.Equal(b, tt.want, answer.Refusal, name)
		require.NoError(b, answer.Err, name)
		assert.Equal(b, tt.record, answer.Held.Record.ID == tt.id, name)
		assert.Equal(b, tt.want == credential.RefusedNot, !answer.Held.Token.Refresh.IsZero(), name)
	}
}

func beginScores(b *bundle) {
	refused := func(id credential.ID, want credential.Refusal) credential.Begun {
		b.setScore(id, b.now-1)
		answer := b.begin(ask(id))
		require.Equal(b, want, answer.Refusal)
		return answer
	}
	h := b.fresh("fresh")
	refused("fresh", credential.RefusedNotDue)
	b.requireScore(h.Record.RefreshAt, "fresh")

	b.due("open")
	open := b.begun("open")
	refused("open", credential.RefusedOpen)
	b.requireScore(open.Attempt.Deadline, "open")

	out := b.due("out")
	b.apply(credential.Logout(out, newNonce(), b.now))
	refused("out", credential.RefusedTerminal)
	_, ok := b.score("out")
	assert.False(b, ok, "what is over is in no index")

	// An expiry that has passed is announced by whoever was refused; if he
	// dies another looks again soon, and not at once.
	w := b.login("late", 2*time.Hour)
	w.Record.State, w.Record.RefreshAt = credential.StateDegraded, b.now.Add(time.Hour)
	b.apply(w)
	answer := refused("late", credential.RefusedNotDue)
	b.requireScore(answer.Now.Add(5*time.Second), "late")

	// A grant makes sure that the deadline is not missed, nor an expiry
	// before it.
	b.fresh("forced")
	forced := b.forceBegun("forced")
	b.requireScore(forced.Attempt.Deadline, "forced")
	w = b.login("soon", 0)
	w.Record.ExpiresAt = b.now.Add(20 * time.Second)
	b.apply(w)
	b.forceBegun("soon")
	b.requireScore(w.Record.ExpiresAt, "soon")
}

func beginDoubt(b *bundle) {
	b.due("alice")
	h := b.begun("alice")
	doubt := credential.Fail(h, *h.Attempt, credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}, b.policy, credential.BySchedule, b.now)
	require.NotNil(b, doubt.Open)
	// Too early for a recovery: refused, and looked at again when it comes.
	doubt.Open.RecoverAt = b.now.Add(time.Hour)
	b.apply(doubt)
	early := b.begin(ask("alice"))
	assert.Equal(b, credential.RefusedOpen, early.Refusal)
	assert.True(b, early.Held.Attempt.Doubt)
	forced := ask("alice")
	forced.Force = true
	assert.Equal(b, credential.RefusedOpen, b.begin(forced).Refusal, "not being due does not make it right")

	doubt.Revision++
	doubt.Record.Revision++
	doubt.Open.RecoverAt = b.now
	b.apply(doubt)
	shard := b.store.ShardOf("alice")
	b.setScore("alice", b.now)
	urgent := []credential.Overdue{{ID: "alice", Due: 1}}
	require.NoError(b, b.store.Expiries(b.ctx, shard, urgent))
	assert.Equal(b, credential.Overdue{ID: "alice", Due: 1, ExpiresAt: doubt.Record.ExpiresAt, FirstSent: doubt.Open.FirstSent, Clock: doubt.Record.Clock()}, urgent[0])
	taken := b.begin(ask("alice"))
	require.Equal(b, credential.RefusedNot, taken.Refusal)
	b.setScore("alice", b.now)
	require.NoError(b, b.store.Expiries(b.ctx, shard, urgent))
	assert.Equal(b, credential.Overdue{ID: "alice", Due: 1, ExpiresAt: doubt.Record.ExpiresAt, Clock: doubt.Record.Clock()}, urgent[0], "it is in somebody's hands")
	assert.True(b, taken.Held.Attempt.Recovery)
	assert.False(b, taken.Held.Attempt.Doubt)
	assert.Equal(b, doubt.Open.FirstSent, taken.Held.Attempt.FirstSent, "grace counts from the first presentation")
}

func beginOrder(b *bundle) {
	s := b.open(func(o *store.Options) { o.Owner = "owner-2" })
	list := ids(40)
	requests := make([]credential.Begin, 0, 2*len(list))
	for i, id := range list {
		if i%2 == 0 {
			b.due(id)
		}
		r := ask(id)
		r.Force = i%3 == 0
		requests = append(requests, r)
	}
	requests = append(requests, ask(list[0])) // the same one again
	answers, err := s.Begin(b.ctx, requests)
	require.NoError(b, err)
	require.Len(b, answers, len(requests))
	granted := 0
	for i, answer := range answers {
		assert.Equal(b, requests[i].ID, answer.ID)
		switch {
		case answer.Refusal == credential.RefusedNot:
			granted++
			assert.Equal(b, requests[i].Nonce, answer.Held.Attempt.Nonce)
		case answer.ID == list[0]:
			assert.Equal(b, credential.RefusedOpen, answer.Refusal)
		default:
			assert.Equal(b, credential.RefusedUnknown, answer.Refusal)
		}
	}
	assert.Equal(b, len(list)/2, granted)
	none, err := s.Begin(b.ctx, nil)
	require.NoError(b, err)
	assert.Empty(b, none)
}

// damage puts sealed bytes of another credential in place of its own.
func (b *bundle) damage(id credential.ID) {
	b.Helper()
	other := b.due("other-" + id)
	sealed, err := b.Client.HGet(b.ctx, b.credKey(other.Record.ID), "s").Result()
	require.NoError(b, err)
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey(id), "s", sealed).Err())
}

func beginUnreadable(b *bundle) {
	b.due("good")
	b.due("bad")
	b.damage("bad")
	answers, err := b.store.Begin(b.ctx, []credential.Begin{ask("bad"), ask("good")})
	require.NoError(b, err, "it is that item's trouble alone")
	corrupt := new(store.CorruptError)
	require.ErrorAs(b, answers[0].Err, &corrupt)
	assert.Equal(b, b.credKey("bad"), corrupt.Key)
	assert.Equal(b, "s", corrupt.Field)
	require.NoError(b, answers[1].Err)
	assert.Equal(b, credential.RefusedNot, answers[1].Refusal)
	records, err := b.store.Records(b.ctx, "bad")
	require.NoError(b, err)
	assert.Nil(b, records[0].Attempt, "nothing is open")
	open, err := b.opened()
	require.NoError(b, err)
	assert.Equal(b, []credential.ID{"good"}, open)
	score, _ := b.score("bad")
	assert.GreaterOrEqual(b, score, answers[0].Now.Add(time.Minute), "it rests")
}

func beginUnreadableRecovery(b *bundle) {
	b.due("bad")
	h := b.begun("bad")
	doubt := credential.Fail(h, *h.Attempt, credential.Outcome{Class: credential.ClassAmbiguous}, b.policy, credential.BySchedule, b.now)
	doubt.Open.RecoverAt = b.now
	b.apply(doubt)
	b.damage("bad")
	answer := b.begin(ask("bad"))
	require.Error(b, answer.Err)
	records, err := b.store.Records(b.ctx, "bad")
	require.NoError(b, err)
	a := records[0].Attempt
	require.NotNil(b, a, "the doubt still stands")
	assert.True(b, a.Doubt)
	assert.False(b, a.Recovery)
	assert.Equal(b, doubt.Open.FirstSent, a.FirstSent)
	assert.GreaterOrEqual(b, a.RecoverAt, b.now.Add(time.Minute))
	open, err := b.opened()
	require.NoError(b, err)
	assert.Equal(b, []credential.ID{"bad"}, open)
}

func beginNewer(b *bundle) {
	b.due("new")
	key := b.credKey("new")
	h, err := b.Client.HGet(b.ctx, key, "h").Result()
	require.NoError(b, err)
	require.NoError(b, b.Client.HSet(b.ctx, key, "h", "2"+h[1:]).Err())
	answer := b.begin(ask("new"))
	newer := new(store.SchemaError)
	require.ErrorAs(b, answer.Err, &newer)
	assert.Equal(b, store.SchemaError{Key: key, Found: 2, Known: 1}, *newer)
	_, err = b.store.Apply(b.ctx, []credential.Write{b.login("new", 0)})
	require.ErrorAs(b, err, &newer, "and it is not overwritten")
}

func beginRace(b *bundle) {
	b.due("alice")
	var granted, refused atomic.Int32
	b.atOnce(50, func(int) error {
		answers, err := b.store.Begin(b.ctx, []credential.Begin{ask("alice")})
		switch {
		case err != nil:
			return err
		case answers[0].Refusal == credential.RefusedNot:
			granted.Add(1)
		case answers[0].Refusal == credential.RefusedOpen:
			refused.Add(1)
		}
		return answers[0].Err
	})
	assert.Equal(b, int32(1), granted.Load())
	assert.Equal(b, int32(49), refused.Load())
}
