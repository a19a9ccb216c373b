package refresh

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// vouching has the provider be asked about tokens, and answer so.
func (b *bundle) vouching(answer func() credential.Outcome) Target {
	b.provider.set(func(p *fakeProvider) { p.vouch = answer })
	target := b.target()
	target.Verify = true
	return target
}

// What the reply to a verification tells of the user is kept as that of any other:
// beside a call for user data it only fills what is empty.
func TestAVerificationTellsOfTheUser(t *testing.T) {
	t.Parallel()
	told := credential.UserData(`{"plan":"pro"}`)
	connected, changed := credential.EventConnected, credential.EventUserDataChanged
	for name, row := range map[string]struct {
		known  string
		source bool
		answer credential.Outcome
		data   string
		uid    string
		events []credential.EventType
	}{
		"where nothing is known": {
			answer: credential.Outcome{Class: credential.ClassOK, UserData: told, Subject: "uid-1"},
			data:   string(told), uid: "uid-1", events: []credential.EventType{connected, changed},
		},
		"what is known": {
			known: string(told), answer: credential.Outcome{Class: credential.ClassOK, UserData: told},
			data: string(told), events: []credential.EventType{connected},
		},
		"what has changed": {
			known: `{"plan":"free"}`, answer: credential.Outcome{Class: credential.ClassOK, UserData: told},
			data: string(told), events: []credential.EventType{connected, changed},
		},
		"beside the source": {
			known: `{"plan":"free"}`, source: true, answer: credential.Outcome{Class: credential.ClassOK, UserData: told, Subject: "uid-1"},
			data: `{"plan":"free"}`, uid: "uid-1", events: []credential.EventType{connected},
		},
		"before the source": {
			source: true, answer: credential.Outcome{Class: credential.ClassOK, UserData: told},
			data: string(told), events: []credential.EventType{connected, changed},
		},
		"in a failure": {
			answer: credential.Outcome{Class: credential.ClassTransient, UserData: told, Subject: "uid-1"},
			events: []credential.EventType{connected},
		},
		"nothing": {
			known: `{"plan":"free"}`, answer: credential.Outcome{Class: credential.ClassOK},
			data: `{"plan":"free"}`, events: []credential.EventType{connected},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			login := b.login("alice")
			login.UserData = credential.UserData(row.known)
			if row.known == "" {
				login.UserData = nil
			}
			_, err := n.Put(t.Context(), login, Expect{})
			require.NoError(t, err)
			target := b.vouching(func() credential.Outcome { return row.answer })
			target.Policy.AsksUserData = row.source
			n.SetTargets(t.Context(), []Target{target})
			for range 2 {
				asked, refused, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
				require.NoError(t, err)
				assert.Equal(t, 1, asked)
				assert.Zero(t, refused)
			}
			h := b.held(n, "alice")
			assert.Equal(t, row.data, string(h.UserData))
			assert.Equal(t, row.uid, h.Record.Subject)
			assert.EqualValues(t, 1, h.Record.Generation)
			assert.Equal(t, row.events, b.events(n, "alice"))
		})
	}
}

// A token that a verification brings in place of the one that was asked about is
// not lost to a store that is away, nor is its life.
func TestATokenThatAVerificationBringsOutlivesTheStore(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		dies bool
		told time.Duration
	}{
		"in this process":                  {},
		"in its heir":                      {dies: true},
		"with a life, in this process":     {told: 2 * life},
		"with a life, in its heir":         {told: 2 * life, dies: true},
		"with a short life, in this place": {told: life / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			before := b.put(n, "alice")
			n.SetTargets(t.Context(), []Target{b.vouching(func() credential.Outcome {
				n.away()
				token := credential.Token{Access: credential.NewSecret(mark + "renamed")}
				return credential.Outcome{Class: credential.ClassOK, Token: token, ExpiresIn: row.told}
			})})
			b.clock.advance(time.Minute)
			sentAt := b.clock.Now()
			done := start(func() (int, error) {
				asked, _, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
				return asked, err
			})
			soon(t, n.store.refused, "what is stored first")
			soon(t, n.store.refused, "the same again")
			served, err := n.Token(t.Context(), "alice", 0)
			require.NoError(t, err)
			assert.Equal(t, mark+"renamed", served.Token.Access.Reveal(), "the old one may be dead")
			last := n
			if row.dies {
				n.die()
				last = b.node("two")
				b.settle(last)
			} else {
				n.store.heal()
			}
			soon(t, done, "the verification")
			h := b.held(last, "alice")
			assert.Equal(t, mark+"renamed", h.Token.Access.Reveal())
			assert.Equal(t, before.Token.Refresh, h.Token.Refresh)
			lasts := before.Record.Lifetime
			if row.told != 0 {
				lasts = row.told
			}
			assert.Equal(t, sentAt.Add(lasts), h.Record.ExpiresAt)
			assert.Nil(t, h.Attempt)
		})
	}
}

// keeping hears of what goes into the journal, and of permits that go back.
type keeping struct {
	Journal
	Permits

	say func(string)
}

func (k keeping) Keep(kept Kept) func() error {
	durable := k.Journal.Keep(kept)
	return func() error {
		err := durable()
		k.say("kept")
		return err
	}
}

func (k keeping) Return(ctx context.Context, provider, id string, n int) error {
	k.say("returned")
	return k.Permits.Return(ctx, provider, id, n)
}

// The new token is in the journal before its permit is somebody else's; what the
// tokens that are refused wait for comes after, with permits of their own.
func TestWhatAVerificationBringsIsKeptBeforeItsPermitIsFree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	bob := b.put(n, "bob")
	target := b.vouching(func() credential.Outcome {
		return credential.Outcome{Class: credential.ClassOK, Token: credential.Token{Access: credential.NewSecret(mark + "renamed")}}
	})
	target.Limits = Limits{Concurrency: 2}
	n.SetTargets(t.Context(), []Target{target})
	b.provider.set(func(p *fakeProvider) { p.dead = map[string]bool{bob.Token.Access.Reveal(): true} })
	said := make(chan string, 100)
	k := keeping{Journal: n.journal, Permits: n.permits, say: func(what string) { said <- what }}
	n.Engine.journal, n.permits = k, k
	asked, refused, err := n.Verify(t.Context(), acme, []credential.ID{"alice", "bob"})
	require.NoError(t, err)
	assert.Equal(t, 2, asked)
	assert.Equal(t, 1, refused)
	assert.Equal(t, "kept", <-said)
	assert.Equal(t, "returned", <-said)
	assert.EqualValues(t, 2, b.held(n, "bob").Record.Generation)
	assert.Equal(t, mark+"renamed", b.held(n, "alice").Token.Access.Reveal())
}

// A provider that is paused amid a look at its tokens is left alone until the next
// one.
func TestAPauseEndsAVerification(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.put(n, "bob")
	target := b.vouching(func() credential.Outcome {
		_, err := n.PauseProvider(t.Context(), acme, true)
		assert.NoError(t, err)
		return credential.Outcome{Class: credential.ClassOK}
	})
	target.Limits = Limits{Concurrency: 1}
	n.SetTargets(t.Context(), []Target{target})
	done := start(func() (int, error) {
		asked, _, err := n.Verify(t.Context(), acme, []credential.ID{"alice", "bob"})
		return asked, err
	})
	got := soon(t, done, "the end of the look")
	require.NoError(t, got.err)
	assert.Equal(t, 1, got.value)
}

// refusing is the word of a provider that it does not take a token any more.
func refusing() credential.Outcome {
	return credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonRejected, Detail: "HTTP 401"}
}

// accessOnly stores a token of alice's that nothing can replace.
func (b *bundle) accessOnly(n *node, access string) {
	b.t.Helper()
	token := credential.Token{Access: credential.NewSecret(mark + access)}
	_, err := n.Put(b.t.Context(), credential.Login{ID: "alice", Provider: acme, Token: token, ExpiresIn: life}, Expect{})
	require.NoError(b.t, err)
}

// A token that its provider does not take any more, and that nothing can replace, is
// not handed out until its expiry: its user is asked for, once, and nobody asks again.
func TestATokenThatIsRefusedAndCannotBeReplacedIsOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.accessOnly(n, "first")
	n.SetTargets(t.Context(), []Target{b.vouching(refusing)})
	for fetch := range 2 {
		asked, refused, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
		require.NoError(t, err)
		assert.Equal(t, 1-fetch, asked)
		assert.Equal(t, 1-fetch, refused)
	}
	_, err := n.Token(t.Context(), "alice", 0)
	state := new(StateError)
	require.ErrorAs(t, err, &state)
	assert.Equal(t, StateError{State: credential.StateReauthRequired, Reason: credential.ReasonRejected, Since: b.clock.Now()}, *state)
	assert.Equal(t, 2, b.provider.verified, "the first answer is confirmed")
	entries, err := n.store.Events(t.Context(), 0, "0", 10, 0)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	told := entries[1].Event
	assert.Equal(t, credential.EventReauthRequired, told.Type)
	assert.Equal(t, credential.StateActive, told.PreviousState)
	assert.Equal(t, credential.ReasonRejected, told.Reason)
	assert.Equal(t, credential.BySchedule, told.InitiatedBy)
	assert.Equal(t, "HTTP 401", b.held(n, "alice").Record.LastAttempt.Detail)

	b.accessOnly(n, "second")
	_, err = n.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.Equal(t, []credential.EventType{
		credential.EventConnected, credential.EventReauthRequired, credential.EventReauthorized,
	}, b.events(n, "alice"))
}

// What cannot be taken back is done on the second answer alone, and only to the
// token that it is about.
func TestOneRefusalEndsNothing(t *testing.T) {
	t.Parallel()
	const owners = "owner's"
	for name, row := range map[string]struct {
		second credential.Outcome
		wish   func(b *bundle, n *node) // of the owner, while the second answer is on its way
		state  credential.State
		access string
	}{
		"it is taken again":   {second: credential.Outcome{Class: credential.ClassOK}, state: credential.StateActive, access: "first"},
		"nobody can tell":     {second: credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}, state: credential.StateActive, access: "first"},
		"another token comes": {second: refusing(), wish: func(b *bundle, n *node) { b.accessOnly(n, owners) }, state: credential.StateActive, access: owners},
		"its owner ends it": {second: refusing(), wish: func(b *bundle, n *node) {
			_, err := n.Logout(b.t.Context(), "alice", Expect{})
			require.NoError(b.t, err)
		}, state: credential.StateLoggedOut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.accessOnly(n, "first")
			answers := []credential.Outcome{refusing(), row.second}
			n.SetTargets(t.Context(), []Target{b.vouching(func() credential.Outcome {
				answer := answers[0]
				answers = answers[1:]
				if len(answers) == 0 && row.wish != nil {
					row.wish(b, n)
				}
				return answer
			})})
			asked, refused, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
			require.NoError(t, err)
			assert.Equal(t, 1, asked)
			assert.Equal(t, 1, refused)
			assert.Empty(t, answers, "both were asked for")
			h := b.held(n, "alice")
			assert.Equal(t, row.state, h.Record.State)
			assert.NotContains(t, b.events(n, "alice"), credential.EventReauthRequired)
			if row.access != "" {
				assert.Equal(t, mark+row.access, h.Token.Access.Reveal())
			}
		})
	}
}

// Where a login is kept it brings the next token, and nobody is asked for.
func TestARefusedTokenIsReplacedByTheKeptLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	brings := func(access string) {
		token := credential.Token{Access: credential.NewSecret(mark + access)}
		o := &credential.Outcome{Class: credential.ClassOK, Token: token, ExpiresIn: life}
		b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return o } })
	}
	brings("first")
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	require.False(t, b.held(n, "alice").Record.HasRefresh)
	brings("second")
	n.SetTargets(t.Context(), []Target{b.vouching(refusing)})
	_, refused, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Equal(t, 1, refused)
	assert.Equal(t, 1, b.provider.verified, "what can be replaced needs no second answer")
	assert.Equal(t, mark+"second", b.held(n, "alice").Token.Access.Reveal())
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed}, b.events(n, "alice"))
}

// Where the store came back without its last writes, a newer login may be in
// somebody's journal: nobody is asked for before it is put back.
func TestNoTokenIsOverWhileTheStoreIsPutRight(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.accessOnly(n, "first")
	n.SetTargets(t.Context(), []Target{b.vouching(refusing)})
	n.barrier.mode.Store(int32(passWrites))
	_, refused, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Equal(t, 1, refused)
	assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
	n.barrier.mode.Store(int32(passAll))
	_, _, err = n.Verify(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Equal(t, credential.StateReauthRequired, b.held(n, "alice").Record.State)
}
