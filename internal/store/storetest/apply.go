package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func applyStores(b *bundle) {
	w := b.login("alice", 0)
	b.apply(w)
	h := b.load("alice")
	assert.Equal(b, w.Record, h.Record)
	assert.True(b, h.Token.Access.Equal(w.Token.Access))
	assert.True(b, h.Token.Refresh.Equal(w.Token.Refresh))
	assert.Equal(b, w.Token.Type, h.Token.Type)
	assert.Equal(b, w.Token.Scope, h.Token.Scope)
	assert.Nil(b, h.Attempt)
	assert.Empty(b, h.Alternates)
	b.requireScore(w.Due, "alice")

	h = b.forceBegun("alice")
	installed := b.install(h, token("second"))
	b.apply(installed)
	after := b.load("alice")
	want := installed.Result(h)
	want.Record.Spent = after.Record.Spent // the store's to add
	require.Len(b, after.Record.Spent, 1)
	assert.Equal(b, want.Record, after.Record)
	assert.True(b, after.Token.Refresh.Equal(token("second").Refresh))
	assert.Nil(b, after.Attempt, "the attempt is closed")
	open, err := b.store.OpenOwners(b.ctx)
	require.NoError(b, err)
	assert.Empty(b, open)
	b.requireScore(installed.Due, "alice")
}

// forceBegun begins an attempt of a credential that need not be due.
func (b *bundle) forceBegun(id credential.ID) credential.Held {
	b.Helper()
	r := ask(id)
	r.Force = true
	answer := b.begin(r)
	require.NoError(b, answer.Err)
	require.Equal(b, credential.RefusedNot, answer.Refusal)
	return answer.Held
}

func applyTwice(b *bundle) {
	w := b.login("alice", 50*time.Minute)
	b.apply(w)
	assert.Equal(b, credential.StatusWritten, b.status(w), "the same login again")
	h := b.begun("alice")
	install := b.install(h, token("second"))
	b.apply(install)
	assert.Equal(b, credential.StatusWritten, b.status(install), "the same install again")
	after := b.load("alice")
	assert.Equal(b, install.Record.Revision, after.Record.Revision)
	assert.Len(b, after.Record.Spent, 1)
	events, err := b.store.Events(b.ctx, b.store.ShardOf("alice"), "0", 10, 0)
	require.NoError(b, err)
	assert.Len(b, events, 2, "each event once")
	assert.Equal(b, credential.StatusOvertaken, b.status(w), "what was replaced since is not written again")
	assert.Equal(b, after, b.load("alice"))
}

// applyOvertaken: a write that raised the grant is recognised also after others
// have written on top of it, for as long as an answer may be lost.
func applyOvertaken(b *bundle) {
	login := b.login("alice", 0)
	b.apply(login)
	logout := credential.Logout(b.load("alice"), newNonce(), b.now)
	other := credential.Delete(b.load("alice"), newNonce(), b.now)
	b.apply(logout)
	assert.Equal(b, credential.StatusOvertaken, b.status(login))
	assert.Equal(b, credential.StatusMoved, b.status(other), "another that was decided on the same record")
	b.apply(credential.Delete(b.load("alice"), newNonce(), b.now))
	again := credential.Connect(new(b.load("alice")), credential.Login{ID: "alice", Provider: provider, Token: token("new")}, b.policy, newNonce(), b.now)
	b.apply(again)
	for name, w := range map[string]credential.Write{"login": login, "logout": logout} {
		assert.Equal(b, credential.StatusOvertaken, b.status(w), "%s, over a deletion", name)
	}
	for n := range 4 {
		b.apply(credential.Logout(b.load("alice"), newNonce(), b.now))
		h := b.load("alice")
		b.apply(credential.Connect(&h, credential.Login{ID: "alice", Provider: provider, Token: token(fmt.Sprint(n))}, b.policy, newNonce(), b.now))
	}
	after := b.load("alice")
	assert.Equal(b, credential.StatusMoved, b.status(again), "only the last few are remembered")
	assert.Equal(b, after, b.load("alice"))
}

func applyRevision(b *bundle) {
	w := b.login("alice", 0)
	b.apply(w)
	assert.Equal(b, credential.StatusMoved, b.status(b.login("alice", 0)), "one that expects nothing finds something")
	h := b.load("alice")
	first, second := credential.Logout(h, newNonce(), b.now), credential.Delete(h, newNonce(), b.now)
	b.apply(first)
	assert.Equal(b, credential.StatusMoved, b.status(second))
	assert.Equal(b, credential.StateLoggedOut, b.load("alice").Record.State, "nothing of it was stored")
	events, err := b.store.Events(b.ctx, b.store.ShardOf("alice"), "0", 10, 0)
	require.NoError(b, err)
	assert.Len(b, events, 2)
}

func applyAttempt(b *bundle) {
	b.due("alice")
	h := b.begun("alice")
	other := *h.Attempt
	other.Nonce = newNonce()
	stale := credential.Install(h, other, credential.Received{Token: token("stale"), SentAt: b.now, ExpiresIn: time.Hour}, b.policy, credential.BySchedule, b.now)
	assert.Equal(b, credential.StatusMoved, b.status(stale), "another attempt's nonce")
	b.apply(credential.Abandon(h, *h.Attempt, credential.BySchedule, b.now))
	now := b.load("alice")
	late := b.install(credential.Held{Record: now.Record, Token: now.Token, Attempt: h.Attempt}, token("late"))
	assert.Equal(b, credential.StatusMoved, b.status(late), "no attempt is open")
	assert.True(b, b.load("alice").Token.Refresh.Equal(token("alice").Refresh))
}

// applyAlone: an attempt that was begun since the record was read refuses a write
// that was decided where none was open.
func applyAlone(b *bundle) {
	b.due("alice")
	before := b.load("alice")
	open := b.begun("alice").Attempt
	lost := *open
	lost.Nonce = newNonce()
	w, ok := credential.Recall(before, lost, false, b.policy, b.now)
	require.True(b, ok)
	require.True(b, w.Alone)
	assert.Equal(b, credential.StatusMoved, b.status(w))
	assert.Equal(b, open, b.load("alice").Attempt)
	b.apply(credential.Abandon(b.load("alice"), *open, credential.BySchedule, b.now))
	w, ok = credential.Recall(b.load("alice"), lost, false, b.policy, b.now)
	require.True(b, ok)
	b.apply(w)
	assert.Equal(b, credential.StatusWritten, b.status(w), "the same write again")
	assert.Equal(b, lost.Nonce, b.load("alice").Attempt.Nonce)
	w.Attempt = newNonce()
	_, err := b.store.Apply(b.ctx, []credential.Write{w})
	require.Error(b, err, "it cannot need both")
}

func applyRace(b *bundle) {
	b.due("alice")
	h := b.begun("alice")
	var written atomic.Int32
	b.atOnce(30, func(i int) error {
		w := credential.Logout(h, newNonce(), b.now)
		if i%2 == 0 {
			w = b.install(h, token(fmt.Sprint(i)))
			w.Nonce = newNonce()
			w.Record.LastWrite = w.Nonce
		}
		statuses, err := b.store.Apply(b.ctx, []credential.Write{w})
		if err == nil && statuses[0] == credential.StatusWritten {
			written.Add(1)
		}
		return err
	})
	assert.Equal(b, int32(1), written.Load())
	assert.Equal(b, h.Record.Revision+1, b.load("alice").Record.Revision)
}

// applySameNonce: two processes settle one attempt differently, both from the
// same revision. The second must not be told that its token was stored.
func applySameNonce(b *bundle) {
	b.due("alice")
	h := b.begun("alice")
	b.apply(credential.Fail(h, *h.Attempt, credential.Outcome{Class: credential.ClassAmbiguous}, b.policy, credential.BySchedule, b.now))
	install := b.install(h, token("second"))
	assert.Equal(b, credential.StatusMoved, b.status(install))
	b.apply(b.install(b.load("alice"), token("second"))) // the attempt is still open, in doubt
}

func applySameID(b *bundle) {
	w := b.login("alice", 0)
	h := w.Result(credential.Held{})
	out := credential.Logout(h, newNonce(), b.now)
	again := credential.Connect(new(out.Result(h)), credential.Login{ID: "alice", Provider: provider, Token: token("again"), ExpiresIn: time.Hour}, b.policy, newNonce(), b.now)
	b.apply(w, out, again)
	assert.Equal(b, credential.StateActive, b.load("alice").Record.State)
	b.requireScore(again.Due, "alice")
}

func applyAttempts(b *bundle) {
	b.due("alice")
	h := b.begun("alice")
	doubt := credential.Fail(h, *h.Attempt, credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}, b.policy, credential.BySchedule, b.now)
	b.apply(doubt)
	stored := b.load("alice")
	assert.Equal(b, doubt.Open, stored.Attempt)
	open, err := b.opened()
	require.NoError(b, err)
	assert.Equal(b, []credential.ID{"alice"}, open, "a doubt is open")
	b.requireScore(doubt.Due, "alice")
	b.apply(credential.Logout(stored, newNonce(), b.now))
	assert.Nil(b, b.load("alice").Attempt)
	open, err = b.opened()
	require.NoError(b, err)
	assert.Empty(b, open)
}

func applyAlternates(b *bundle) {
	b.due("alice")
	h := b.begun("alice")
	alt := credential.Alternate{Nonce: newNonce(), Generation: 1, Token: token("late"), IssuedAt: b.now, Lifetime: time.Hour}
	b.apply(credential.KeepAlternate(h, alt, newNonce(), b.now))
	h = b.load("alice")
	require.Len(b, h.Alternates, 1)
	assert.Equal(b, alt.Nonce, h.Alternates[0].Nonce)
	assert.True(b, h.Alternates[0].Token.Refresh.Equal(alt.Token.Refresh))
	b.apply(b.install(h, token("second")))
	h = b.load("alice")
	require.Len(b, h.Alternates, 1, "a generation later it can still be opened")
	assert.Equal(b, alt.Lifetime, h.Alternates[0].Lifetime)
	assert.Equal(b, alt.IssuedAt, h.Alternates[0].IssuedAt)
	b.apply(credential.InstallAlternate(h, h.Alternates[0], b.policy, newNonce(), credential.BySchedule, b.now))
	assert.Empty(b, b.load("alice").Alternates)
}

func applySpent(b *bundle) {
	b.due("alice")
	b.apply(b.install(b.begun("alice"), token("second")))
	h := b.load("alice")
	assert.True(b, b.store.SpentBefore(h, token("alice").Refresh))
	assert.False(b, b.store.SpentBefore(h, token("second").Refresh), "the current one")
	assert.False(b, b.store.SpentBefore(h, credential.Secret{}))
	for i := range credential.MaxSpent {
		b.apply(b.install(b.forceBegun("alice"), token(fmt.Sprint(i))))
	}
	h = b.load("alice")
	assert.Len(b, h.Record.Spent, credential.MaxSpent)
	assert.False(b, b.store.SpentBefore(h, token("alice").Refresh), "too long ago")
	assert.True(b, b.store.SpentBefore(h, token("second").Refresh))
}

func applyLogout(b *bundle) {
	h := b.due("alice")
	b.apply(credential.KeepAlternate(h, credential.Alternate{Nonce: newNonce(), Generation: 1, Token: token("late")}, newNonce(), b.now))
	b.apply(credential.Logout(b.load("alice"), newNonce(), b.now))
	h = b.load("alice")
	assert.Equal(b, credential.StateLoggedOut, h.Record.State)
	assert.Equal(b, credential.Token{}, h.Token)
	assert.Empty(b, h.Alternates)
	fields, err := b.Client.HGetAll(b.ctx, b.credKey("alice")).Result()
	require.NoError(b, err)
	assert.Empty(b, fields["s"]+fields["a"]+fields["o"], "nothing sealed is left")
	_, ok := b.score("alice")
	assert.False(b, ok)
}

func applyDelete(b *bundle) {
	b.due("alice")
	b.apply(credential.Delete(b.load("alice"), newNonce(), b.now))
	assert.Equal(b, credential.StateDeleted, b.load("alice").Record.State, "a tombstone can be loaded")
	ttl, err := b.Client.PTTL(b.ctx, b.credKey("alice")).Result()
	require.NoError(b, err)
	assert.InDelta(b, float64(96*time.Hour), float64(ttl), float64(time.Hour))
	page, next, err := b.store.List(b.ctx, store.Filter{}, "", 10)
	require.NoError(b, err)
	assert.Empty(b, page)
	assert.Empty(b, next)
	assert.Equal(b, credential.RefusedTerminal, b.begin(ask("alice")).Refusal)
}

func applyBuried(b *bundle) {
	b.due("alice")
	b.apply(credential.Delete(b.load("alice"), newNonce(), b.now))
	require.NoError(b, b.Client.PExpire(b.ctx, b.credKey("alice"), time.Hour).Err())
	grave := b.load("alice")
	b.apply(credential.Repeat(grave, newNonce(), b.now))
	after := b.load("alice")
	assert.Equal(b, grave.Record.Acts+1, after.Record.Acts)
	assert.Equal(b, grave.Record.Version, after.Record.Version)
	ttl, err := b.Client.PTTL(b.ctx, b.credKey("alice")).Result()
	require.NoError(b, err)
	assert.InDelta(b, float64(time.Hour), float64(ttl), float64(time.Minute), "it ends when it was to end")
	_, ok := b.score("alice")
	assert.False(b, ok)
}

func applyRecreate(b *bundle) {
	b.due("alice")
	b.apply(credential.Delete(b.load("alice"), newNonce(), b.now))
	assert.Equal(b, credential.StatusMoved, b.status(b.login("alice", 0)), "a version never decreases: who missed the tombstone reads again")
	grave := b.load("alice")
	b.apply(credential.Connect(&grave, credential.Login{ID: "alice", Provider: provider, Token: token("new"), ExpiresIn: time.Hour}, b.policy, newNonce(), b.now))
	h := b.load("alice")
	assert.Greater(b, h.Record.Version, grave.Record.Version)
	assert.Greater(b, h.Record.Grant, grave.Record.Grant)
	ttl, err := b.Client.PTTL(b.ctx, b.credKey("alice")).Result()
	require.NoError(b, err)
	assert.Negative(b, ttl, "it does not end any more")
	page, _, err := b.store.List(b.ctx, store.Filter{}, "", 10)
	require.NoError(b, err)
	assert.Len(b, page, 1)
}

func applyProvider(b *bundle) {
	h := b.due("alice")
	b.apply(credential.Connect(&h, credential.Login{ID: "alice", Provider: "other", Token: token("new"), ExpiresIn: time.Hour}, b.policy, newNonce(), b.now))
	_, ok := b.score("alice")
	assert.False(b, ok, "it left the index of the provider before")
	_, ok = b.scoreOf("other", "alice")
	assert.True(b, ok)
}

func applyClient(b *bundle) {
	b.fresh("alice")
	b.apply(credential.Trip(nil, provider, "alice", credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured}, newNonce(), b.now))
	id := credential.ClientID(provider)
	h := b.load(id)
	assert.True(b, credential.BreakerOf(h.Record).Open)
	assert.Equal(b, b.now.Add(credential.ProbeEvery), credential.BreakerOf(h.Record).ProbeAt)
	page, _, err := b.store.List(b.ctx, store.Filter{}, "", 10)
	require.NoError(b, err)
	require.Len(b, page, 1)
	assert.Equal(b, credential.ID("alice"), page[0].Record.ID)
	assert.Len(b, b.walk(""), 1)
	_, ok := b.score(id)
	assert.False(b, ok)
}

func applyFull(b *bundle) {
	s := b.open(func(o *store.Options) { o.MaxCredentials = 2 * b.store.Shards() })
	// As many as fit into one shard, and one more.
	var same []credential.ID
	for _, id := range ids(500) {
		if s.ShardOf(id) == 0 && len(same) < 3 {
			same = append(same, id)
		}
	}
	writes := []credential.Write{b.login(same[0], 0), b.login(same[1], 0), b.login(same[2], 0)}
	statuses, err := s.Apply(b.ctx, writes)
	full := new(store.FullError)
	require.ErrorAs(b, err, &full)
	assert.Equal(b, 2*b.store.Shards(), full.Max)
	assert.Equal(b, []credential.Status{credential.StatusWritten, credential.StatusWritten, ""}, statuses)
	b.apply(credential.Logout(b.load(same[0]), newNonce(), b.now)) // what is stored can change
	b.apply(credential.Delete(b.load(same[1]), newNonce(), b.now))
	statuses, err = s.Apply(b.ctx, writes[2:])
	require.NoError(b, err)
	assert.Equal(b, []credential.Status{credential.StatusWritten}, statuses, "a deletion makes room")
}

func applyItems(b *bundle) {
	require.NoError(b, b.Client.Set(b.ctx, b.credKey("bad"), "hands off", 0).Err())
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey("foreign"), "name", "value").Err())
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey("garbage"), "h", "1 garbage").Err())
	list := []credential.ID{"good", "bad", "foreign", "garbage", "fine"}
	writes := make([]credential.Write, 0, len(list))
	for _, id := range list {
		writes = append(writes, b.login(id, 0))
	}
	statuses, err := b.store.Apply(b.ctx, writes)
	items := new(store.ItemsError)
	require.ErrorAs(b, err, &items)
	assert.Equal(b, []credential.Status{credential.StatusWritten, "", "", "", credential.StatusWritten}, statuses)
	require.NoError(b, items.At(0))
	require.ErrorAs(b, items.At(1), new(*store.WrongTypeError))
	require.ErrorAs(b, items.At(2), new(*store.ForeignKeyError))
	require.ErrorAs(b, items.At(3), new(*store.CorruptError))
	assert.Contains(b, err.Error(), "3 of 5")
	assert.Contains(b, err.Error(), b.credKey("bad"))
	assert.NotContains(b, err.Error(), "hands off")
}

func applyUnusable(b *bundle) {
	for name, change := range map[string]func(*credential.Write){
		"a provider with a space":     func(w *credential.Write) { w.Record.Provider = "a b" },
		"a provider with a tag":       func(w *credential.Write) { w.Record.Provider = "a{b}" },
		"no provider":                 func(w *credential.Write) { w.Record.Provider = "" },
		"a provider that is too long": func(w *credential.Write) { w.Record.Provider = strings.Repeat("a", 129) },
		"no state":                    func(w *credential.Write) { w.Record.State = "" },
		"no revision":                 func(w *credential.Write) { w.Record.Revision = 0 },
		"an event of no type":         func(w *credential.Write) { w.Events[0].Type = "credential.made_up" },
		"an event of nobody":          func(w *credential.Write) { w.Events[0].InitiatedBy = "" },
		"an owner with a line break":  func(w *credential.Write) { w.Close, w.Open = false, &credential.Attempt{Owner: "a\nb"} },
		"closed and left open":        func(w *credential.Write) { w.Open = &credential.Attempt{Owner: owner} },
	} {
		w := b.login("alice", 0)
		change(&w)
		good := b.login(credential.ID("good-"+w.Nonce.Short()), 0)
		statuses, err := b.store.Apply(b.ctx, []credential.Write{w, good})
		require.ErrorAs(b, err, new(*store.ItemsError), name)
		assert.Equal(b, []credential.Status{"", credential.StatusWritten}, statuses, name)
		statuses, err = b.store.Apply(b.ctx, []credential.Write{w})
		require.Error(b, err, name)
		assert.Equal(b, []credential.Status{""}, statuses, name)
	}
	list, err := b.store.Load(b.ctx, "alice")
	require.NoError(b, err)
	assert.Nil(b, list[0])
	none, err := b.store.Apply(b.ctx, nil)
	require.NoError(b, err)
	assert.Empty(b, none)
}

func applyVanished(b *bundle) {
	h := b.due("alice")
	require.NoError(b, b.Client.Del(b.ctx, b.credKey("alice")).Err())
	assert.Equal(b, credential.StatusMoved, b.status(credential.Logout(h, newNonce(), b.now)), "a Redis that lost it is not written half of it")
	list, err := b.store.Load(b.ctx, "alice")
	require.NoError(b, err)
	assert.Nil(b, list[0])
}

func loadMany(b *bundle) {
	list := ids(30)
	for i, id := range list {
		if i%3 != 0 {
			b.fresh(id)
		}
	}
	found, err := b.store.Load(b.ctx, list...)
	require.NoError(b, err)
	require.Len(b, found, len(list))
	records, err := b.store.Records(b.ctx, list...)
	require.NoError(b, err)
	for i, id := range list {
		if i%3 == 0 {
			assert.Nil(b, found[i])
			assert.Nil(b, records[i])
			continue
		}
		assert.Equal(b, id, found[i].Record.ID)
		assert.Equal(b, found[i].Record, records[i].Record)
		assert.False(b, found[i].Token.Refresh.IsZero())
		assert.True(b, records[i].Token.Refresh.IsZero(), "Records opens no secret")
	}
	none, err := b.store.Load(b.ctx)
	require.NoError(b, err)
	assert.Empty(b, none)
}

func loadUnreadable(b *bundle) {
	b.due("good")
	b.due("bad")
	b.damage("bad")
	found, err := b.store.Load(b.ctx, "bad", "good", "nobody")
	items := new(store.ItemsError)
	require.ErrorAs(b, err, &items)
	require.ErrorAs(b, items.At(0), new(*store.CorruptError))
	require.NoError(b, items.At(1))
	assert.Nil(b, found[0])
	require.NotNil(b, found[1])
	assert.Nil(b, found[2])
}

// What was decided by a clock that has jumped ahead is not stored: the clock is
// read again, and the write decided anew. What is put back after a loss may come
// from a Redis whose clock was ahead of this one's.
func applyAhead(b *bundle) {
	b.apply(b.login("alice", 0))
	read := 0
	b.store.SetSkewed(func(context.Context) error { read++; return nil })
	run, err := b.store.Run(b.ctx)
	require.NoError(b, err)
	before := b.load("alice")
	there := b.clock()
	near := credential.Logout(before, newNonce(), there.Add(10*time.Second))
	far := credential.Logout(before, newNonce(), there.Add(time.Hour))
	statuses, err := b.store.Apply(b.ctx, []credential.Write{far})
	require.NoError(b, err)
	assert.Equal(b, []credential.Status{credential.StatusMoved}, statuses)
	assert.Equal(b, 1, read)
	assert.Equal(b, before, b.load("alice"))
	b.apply(near)
	assert.Equal(b, 1, read)

	after := b.load("alice")
	ahead := credential.Delete(after, newNonce(), there.Add(time.Hour))
	statuses, err = b.store.Restore(b.ctx, run, []credential.Write{ahead}, false)
	require.NoError(b, err)
	assert.Equal(b, []credential.Status{credential.StatusMoved}, statuses, "decided now")
	assert.Equal(b, 2, read)
	late := credential.Delete(after, newNonce(), there.Add(time.Hour))
	statuses, err = b.store.Restore(b.ctx, run, []credential.Write{late}, true)
	require.NoError(b, err)
	assert.Equal(b, []credential.Status{credential.StatusWritten}, statuses)
}
