package scheduler

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

func TestNothingDueIsLookedAtOncePerPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		b.index.add("acme", b.clock.Now().Add(time.Hour), "far")
		stop := run(t, b.loop)
		elapse(100 * time.Second)
		stop()
		assert.InDelta(t, 100, b.index.lookCount(), 12)
		assert.Empty(t, b.queue.sent())
	})
}

func TestACredentialIsDispatchedWhenItIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		due := b.clock.Now().Add(42*time.Second + 345*time.Millisecond)
		b.index.add("acme", due, "one")
		stop := run(t, b.loop)
		elapse(time.Minute)
		stop()
		sent := b.queue.sent()
		require.NotEmpty(t, sent)
		assert.Equal(t, []credential.ID{"one"}, sent[0].IDs)
		assert.GreaterOrEqual(t, sent[0].at, due)
		assert.LessOrEqual(t, sent[0].at.Sub(due), 100*time.Millisecond)
	})
}

func TestANudgeMakesItLookAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		stop := run(t, b.loop)
		synctest.Wait()
		b.index.add("acme", b.clock.Now(), "one")
		at := b.clock.Now()
		for range 10 {
			b.d.nudge()
		}
		synctest.Wait()
		stop()
		sent := b.queue.sent()
		require.Len(t, sent, 1)
		assert.Equal(t, at, sent[0].at)
	})
}

// However many glances there are, what is due is dispatched within a moment, and
// the index is asked once for all of them.
func TestAGlanceFindsWhatIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		stop := run(t, b.loop)
		synctest.Wait()
		looks := b.index.lookCount()
		glances := func() {
			for range 10 {
				b.d.glance()
				synctest.Wait()
			}
			elapse(50 * time.Millisecond)
		}
		glances()
		assert.Equal(t, 1, b.index.lookCount()-looks, "nothing is due")
		assert.Empty(t, b.queue.sent())

		b.index.add("acme", b.clock.Now(), "one")
		at, looks := b.clock.Now(), b.index.lookCount()
		glances()
		stop()
		sent := b.queue.sent()
		require.Len(t, sent, 1)
		assert.Less(t, sent[0].at.Sub(at), 50*time.Millisecond)
		assert.Equal(t, 2, b.index.lookCount()-looks, "one for them, and one behind what was found")
	})
}

// While a backlog waits it is looked at as often as ever, however much becomes due
// beside it.
func TestGlancesDoNotQuickenABacklogThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, withoutPermits, "acme")
		b.index.add("acme", b.clock.Now().Add(-time.Hour), names("c", 5000)...)
		stop := run(t, b.loop)
		elapse(5 * time.Second)
		inThreeSeconds := func(glance func()) int {
			looks := b.index.lookCount()
			for range 300 {
				glance()
				elapse(10 * time.Millisecond)
			}
			return b.index.lookCount() - looks
		}
		usual := inThreeSeconds(func() {})
		assert.InDelta(t, usual, inThreeSeconds(b.d.glance), float64(usual)/4)
		stop()
	})
}

func TestABacklogIsDispatchedAtOnceInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		all := names("c", 2050)
		b.index.add("acme", b.clock.Now(), all...)
		before := b.clock.Now()
		stop := run(t, b.loop)
		synctest.Wait()
		stop()
		sent := b.queue.sent()
		assert.Len(t, sent, 21)
		for _, batch := range sent {
			assert.LessOrEqual(t, len(batch.IDs), tasks.MaxBatch)
			assert.Equal(t, before, batch.at, "without a wait in between")
		}
		assert.ElementsMatch(t, all, b.queue.ids("acme"))
	})
}

func TestAQueueThatIsFullGetsNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		b.index.add("acme", b.clock.Now(), names("c", 1000)...)
		b.queue.set(func(q *fakeQueue) { q.stuck, q.waiting = true, mostWaiting })
		stop := run(t, b.loop)
		elapse(3 * time.Second)
		assert.Empty(t, b.queue.sent())
		assert.Empty(t, b.index.claimed)
		b.queue.set(func(q *fakeQueue) { q.waiting = mostWaiting - 2 })
		elapse(22 * time.Millisecond)
		stop()
		assert.Len(t, b.queue.ids("acme"), 200, "room for two batches was used soon after there was some")
	})
}

func TestProvidersShareTheRoomOfAQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "a-big", "b-small")
		b.index.add("a-big", b.clock.Now(), names("big", 9000)...)
		b.index.add("b-small", b.clock.Now(), names("small", 100)...)
		b.queue.set(func(q *fakeQueue) { q.stuck, q.waiting = true, mostWaiting-4 })
		stop := run(t, b.loop)
		synctest.Wait()
		stop()
		assert.Len(t, b.queue.ids("b-small"), 100)
		assert.NotEmpty(t, b.queue.ids("a-big"))
	})
}

// tokenBucket is a provider that takes so many per second, served by a worker
// that begins what is dispatched at once.
type tokenBucket struct {
	mu        sync.Mutex
	perSecond float64
	queue     *fakeQueue
	books     *fakeAccount
	begun     int
	tokens    float64
	at        time.Time
}

func (b *tokenBucket) room(provider string, horizon time.Duration) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*b.perSecond, b.perSecond)
	b.at = now
	begin := min(len(b.queue.ids(provider))-b.begun, int(b.tokens))
	b.tokens -= float64(begin)
	before := 0
	for _, batch := range b.queue.sent() {
		if batch.Provider != provider || begin == 0 {
			continue
		}
		began := min(max(before+len(batch.IDs)-b.begun, 0), begin)
		b.books.done(provider, batch.Reservation, began)
		b.begun, begin, before = b.begun+began, begin-began, before+len(batch.IDs)
	}
	return int(b.tokens + b.perSecond*horizon.Seconds()), nil
}

func TestALimitedProvidersBacklogIsClaimedAsItIsServed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ waiting, replicas int }{
		"begun at once": {0, 1}, "behind other batches": {manyWaiting, 1},
		"begun at once, of three replicas": {0, 3}, "behind other batches, of three replicas": {manyWaiting, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bucket := &tokenBucket{perSecond: 50, tokens: 50, at: time.Now()}
				b := newBench(t, bucket.room, "acme")
				bucket.queue, bucket.books, b.queue.waiting, b.books.waits = b.queue, b.books, tt.waiting, true
				b.index.add("acme", b.clock.Now(), names("c", 6000)...)
				loops := []func(context.Context){b.loop}
				for range tt.replicas - 1 {
					other := b.replica(bucket.room, "acme")
					loops = append(loops, func(ctx context.Context) { other.loop(ctx, 0) })
				}
				stop := run(t, loops...)
				elapse(20 * time.Second)
				stop()
				sent := len(b.queue.ids("acme"))
				assert.LessOrEqual(t, sent, 50+(20+2)*50, "no more than the provider takes")
				assert.GreaterOrEqual(t, sent, 20*50, "and no less")
				assert.LessOrEqual(t, b.index.records, tt.replicas*(6000+sent), "no record is read twice but of those whose claims have run out")
				assert.LessOrEqual(t, b.index.pages, tt.replicas*21*2*7, "the index once a poll, and what is new")
			})
		})
	}
}

func TestOfABacklogTheLivingGoBeforeTheDeadAndTheNearestToDeathFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		left := 5
		b := newBench(t, func(string, time.Duration) (int, error) { return left, nil }, "acme")
		b.d.recoverWithin = func(provider string) time.Duration { return map[string]time.Duration{"acme": time.Minute}[provider] }
		now := b.clock.Now()
		b.index.expires = map[credential.ID]credential.Millis{
			"dead-old": now - 5000, "dead-new": now - 1000, "lives-long": now + 90_000, "lives-short": now + 10_000, "lives-middle": now + 50_000,
		}
		b.index.sent = map[credential.ID]credential.Millis{"dead-saved": now - 60_000, "dead-new": now - 60_001}
		b.index.add("acme", now-1, "dead-saved", "dead-old", "dead-new", "lives-long", "lives-short", "lives-middle")
		stop := run(t, b.loop)
		synctest.Wait()
		stop()
		assert.Equal(t, []credential.ID{"dead-saved", "lives-short", "lives-middle", "lives-long", "dead-old"}, b.queue.ids("acme"))
	})
}

// What becomes due while a backlog is worked off has the highest due times of all.
func TestANewcomerThatDiesSoonIsClaimedBeforeALongBacklog(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]time.Duration{"of the dead": -time.Hour, "of those that live long": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(string, time.Duration) (int, error) { return 5, nil }, "acme")
				now := b.clock.Now()
				b.index.expires = map[credential.ID]credential.Millis{}
				for i, id := range names("old", 8000) {
					b.index.add("acme", now.Add(-time.Hour).Add(time.Duration(i)*time.Millisecond), id)
					b.index.expires[id] = now.Add(life)
				}
				stop := run(t, b.loop)
				elapse(3 * time.Second)
				urgent := names("urgent", 40)
				b.index.set(func(f *fakeIndex) {
					for _, id := range urgent {
						f.expires[id] = now.Add(time.Minute)
					}
				})
				b.index.add("acme", b.clock.Now(), urgent...)
				before := len(b.queue.ids("acme"))
				elapse(1500 * time.Millisecond)
				stop()
				claimed := b.queue.ids("acme")[before:]
				first := slices.Index(claimed, urgent[0])
				require.GreaterOrEqual(t, first, 0, "claimed soon after it became due")
				got := slices.Clone(claimed[first:])
				got = got[:min(len(got), len(urgent))]
				for _, id := range got {
					assert.Contains(t, urgent, id, "and nobody else before the last of them")
				}
				assert.NotEmpty(t, b.index.claimsOf("old-aaa"))
			})
		})
	}
}

func TestAPausedProviderIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(provider string, _ time.Duration) (int, error) {
			if provider == "paused" {
				return 0, nil
			}
			return mostOverdue, nil
		}, "paused", "well")
		b.index.add("paused", b.clock.Now(), "p")
		b.index.add("well", b.clock.Now(), "w")
		stop := run(t, b.loop)
		elapse(time.Second)
		stop()
		assert.Empty(t, b.queue.ids("paused"))
		assert.Equal(t, []credential.ID{"w"}, b.queue.ids("well"))
		assert.Empty(t, b.index.claimsOf("p"))
	})
}

func TestOneProvidersTroubleIsLoggedOnceAndStopsNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "broken", "well")
		b.index.fail["broken"] = errAway
		stop := run(t, b.loop)
		elapse(10 * time.Second)
		b.index.add("well", b.clock.Now(), "w")
		elapse(2 * time.Second)
		assert.Equal(t, []credential.ID{"w"}, b.queue.ids("well"))
		require.Len(t, b.log.all(), 1)
		assert.Contains(t, b.log.all()[0], "broken")
		b.index.set(func(f *fakeIndex) { f.fail = nil })
		elapse(2 * time.Second)
		stop()
		require.Len(t, b.log.all(), 2)
		assert.Contains(t, b.log.all()[1], "dispatched again")
	})
}

func TestWhatTheQueueDoesNotTakeIsDueAgainAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		all := names("c", 250)
		b.index.add("acme", b.clock.Now(), all...)
		b.queue.set(func(q *fakeQueue) { q.err = errAway })
		stop := run(t, b.loop)
		synctest.Wait()
		assert.Subset(t, b.index.released, all)
		b.queue.set(func(q *fakeQueue) { q.err = nil })
		elapse(1200 * time.Millisecond)
		stop()
		assert.ElementsMatch(t, all, b.queue.ids("acme"))
	})
}

func TestAClaimWhoseAnswerIsLostIsSentAgainAndClaimsNothingTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		b.index.add("acme", b.clock.Now(), "a", "b")
		b.index.loseNext = claimRounds - 1
		stop := run(t, b.loop)
		elapse(time.Second)
		stop()
		assert.Equal(t, []credential.ID{"a", "b"}, b.queue.ids("acme"))
		assert.Len(t, b.index.claimsOf("a"), 1)
	})
}

func TestAClaimWithoutAnyAnswerRunsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		b.index.add("acme", b.clock.Now(), "a")
		b.index.loseNext = claimRounds
		stop := run(t, b.loop)
		elapse(4 * time.Second)
		assert.Empty(t, b.queue.sent())
		elapse(2 * time.Second)
		stop()
		assert.Equal(t, []credential.ID{"a"}, b.queue.ids("acme"))
	})
}

// stopOnClaim is an index that ends the dispatcher when it has claimed.
type stopOnClaim struct {
	*fakeIndex

	stop context.CancelFunc
}

func (s stopOnClaim) Claim(ctx context.Context, shard int, provider string, ids []credential.ID, nonce credential.Nonce, lasts time.Duration) ([]credential.ID, error) {
	defer s.stop()
	return s.fakeIndex.Claim(ctx, shard, provider, ids, nonce, lasts)
}

func TestAStopGivesBackWhatIsNotEnqueuedYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		b.index.add("acme", b.clock.Now(), "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		b.d.index = stopOnClaim{b.index, cancel}
		b.d.loop(ctx, 0)
		assert.Empty(t, b.queue.sent())
		assert.ElementsMatch(t, []credential.ID{"a", "b"}, b.index.released)
	})
}

func TestTwoDispatchersHandOutNoIDTwiceWithinItsHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "acme")
		other := b.replica(endless, "acme")
		var all []credential.ID
		for wave := range 10 {
			ids := names(string(rune('k'+wave)), 300)
			b.index.add("acme", b.clock.Now().Add(time.Duration(wave)*130*time.Millisecond), ids...)
			all = append(all, ids...)
		}
		stop := run(t, b.loop, func(ctx context.Context) { other.loop(ctx, 0) })
		elapse(4 * time.Second)
		first := b.queue.ids("acme")
		requireNoRepeats(t, first)
		assert.ElementsMatch(t, all, first)
		b.index.done(all[:2000]...)
		elapse(10 * time.Second)
		stop()
		for _, id := range all[2000:] {
			claims := b.index.claimsOf(id)
			require.GreaterOrEqual(t, len(claims), 2, "what nobody refreshed comes back")
			for i := range len(claims) - 1 {
				require.GreaterOrEqual(t, claims[i+1].Sub(claims[i]), claimLasts)
			}
		}
	})
}

func TestProvidersComeAndGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, endless, "old")
		stop := run(t, b.loop)
		synctest.Wait()
		b.d.setProviders([]string{"new"})
		synctest.Wait()
		b.index.add("old", b.clock.Now(), "o")
		b.index.add("new", b.clock.Now(), "n")
		elapse(2 * time.Second)
		stop()
		assert.Empty(t, b.queue.ids("old"))
		assert.True(t, slices.Contains(b.queue.ids("new"), "n"))
	})
}
