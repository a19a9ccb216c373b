package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// What is put back does not take the place of an attempt that was begun since the
// record was read: begun is all that is new of it, its revision is what it was.
func TestWhatWasBegunMeanwhileStays(t *testing.T) {
	t.Parallel()
	for name, putBack := range map[string]func(b *bundle, heir *node, gone Intent) error{
		"a presentation that the journal of a dead process tells of": func(b *bundle, heir *node, gone Intent) error {
			return heir.recall(b.t.Context(), heir.reader(), gone, "dead", true)
		},
		"the end of the grant": func(b *bundle, heir *node, gone Intent) error {
			ended := credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant}
			return heir.replayEnded(b.t.Context(), heir.reader(), Kept{Intent: gone, Ended: ended}, "dead", true)
		},
		"a token that was received": func(b *bundle, heir *node, gone Intent) error {
			return heir.replayKept(b.t.Context(), heir.reader(), Kept{Intent: gone, Found: credential.Found{Token: b.provider.grant("alice"), ExpiresIn: "3600", Complete: true}})
		},
		"a write": func(b *bundle, heir *node, gone Intent) error {
			h := b.held(heir, "alice")
			h.Attempt = &credential.Attempt{Nonce: gone.Nonce, Owner: "dead", Generation: gone.Generation, Grant: gone.Grant, BegunAt: gone.At}
			w := credential.Fail(h, *h.Attempt, credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited}, b.policy, credential.BySchedule, b.clock.Now())
			all, left := chains{"alice": {{Write: w, After: w.Result(h)}}}, leftovers{}
			made, err := heir.putBackChains(b.t.Context(), "first run", all, false, left)
			assert.Equal(b.t, 1, made)
			assert.Empty(b.t, left)
			assert.Equal(b.t, w.Record.Revision, b.held(heir, "alice").Record.Revision, "it is put back beside the attempt")
			return err
		},
		"an attempt": func(b *bundle, heir *node, gone Intent) error {
			tn := &turn{held: b.held(heir, "alice"), attempt: credential.Attempt{
				Nonce: gone.Nonce, Owner: "heir", Generation: gone.Generation, Grant: gone.Grant, BegunAt: gone.At,
			}}
			heir.ledger.granted(tn)
			made, waiting, err := heir.putBackAttempts(b.t.Context(), "first run", nil, stage{})
			assert.Zero(b.t, made)
			assert.Equal(b.t, 1, waiting, "the next pass looks again")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			heir, other := b.node("heir"), b.node("other")
			b.put(heir, "alice")
			b.due()
			gone := Intent{Nonce: newNonce(), ID: "alice", Generation: 1, Grant: 1, At: b.clock.Now().Add(-time.Second)}
			begun := newNonce()
			heir.store.set(func(s *faultyStore) {
				s.meanwhile = func() {
					answers, err := other.store.Begin(t.Context(), []credential.Begin{{ID: "alice", Nonce: begun, Owner: "other", Lasts: time.Minute}})
					if assert.NoError(t, err) {
						assert.Equal(t, credential.RefusedNot, answers[0].Refusal)
					}
				}
			})
			require.NoError(t, putBack(b, heir, gone))
			open := b.held(heir, "alice").Attempt
			require.NotNil(t, open)
			assert.Equal(t, begun, open.Nonce)
			assert.False(t, open.Doubt)
		})
	}
}

// Of two recoveries of one generation the stored one is the later, unless a write
// that ended it is still missing. Whoever holds the other waits until those have
// put back what they know who may have made one.
func TestALaterRecoveryStays(t *testing.T) {
	t.Parallel()
	for name, ended := range map[string]bool{"another process began it since": false, "it ended before, and its end was lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.node("one"), b.node("two")
			b.put(two, "alice")
			b.due()
			h := b.held(two, "alice")
			now := b.clock.Now()
			doubt := credential.Attempt{Nonce: newNonce(), Owner: "two", Generation: 1, Grant: 1, BegunAt: now, FirstSent: now, RecoverAt: now, Doubt: true}
			write := credential.Write{Nonce: h.Record.LastWrite, Revision: h.Record.Revision, Record: h.Record, Open: &doubt, Due: now}
			statuses, err := two.store.Apply(t.Context(), []credential.Write{write})
			require.NoError(t, err)
			require.Equal(t, []credential.Status{credential.StatusWritten}, statuses)
			answers, err := two.store.Begin(t.Context(), []credential.Begin{{ID: "alice", Nonce: newNonce(), Owner: "two", Lasts: time.Minute, Force: true}})
			require.NoError(t, err)
			stored := answers[0].Held.Attempt
			require.NotNil(t, stored)
			require.True(t, stored.Recovery)

			held := credential.Attempt{Nonce: newNonce(), Owner: "one", Generation: 1, Grant: 1, BegunAt: now.Add(-11 * time.Minute), FirstSent: now, Recovery: true}
			one.ledger.granted(&turn{held: b.held(one, "alice"), attempt: held})
			made, waiting, err := one.putBackAttempts(t.Context(), "first run", nil, stage{heard: true})
			require.NoError(t, err)
			assert.Zero(t, made)
			assert.Equal(t, 1, waiting, "its end may still come")
			assert.Equal(t, stored, b.held(one, "alice").Attempt)

			if ended {
				h := b.held(two, "alice")
				end := credential.Fail(h, *h.Attempt, credential.Outcome{Class: credential.ClassAmbiguous}, b.policy, credential.BySchedule, now)
				_, err := two.store.Apply(t.Context(), []credential.Write{end})
				require.NoError(t, err)
			}
			made, waiting, err = one.putBackAttempts(t.Context(), "first run", nil, stage{heard: true, everyone: true})
			require.NoError(t, err)
			assert.Zero(t, waiting)
			open := b.held(one, "alice").Attempt
			if ended {
				assert.Equal(t, 1, made)
				assert.Equal(t, held.Nonce, open.Nonce)
				return
			}
			assert.Zero(t, made)
			assert.Equal(t, stored, open)
		})
	}
}
