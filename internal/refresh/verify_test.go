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
