package service

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
)

// Two processes refresh rotating tokens of a strict provider: every generation
// is presented once, the client never waits in vain, and subscribers see every
// version.
func TestEveryGenerationIsPresentedOnce(t *testing.T) {
	t.Parallel()
	steady(t, load{
		credentials: 60, life: 6 * time.Second, lasts: 25 * time.Second, minTTL: 1500 * time.Millisecond, refuseEvery: 151,
	})
}

func TestSoakEveryGenerationIsPresentedOnce(t *testing.T) {
	soak(t)
	steady(t, load{
		credentials: 200, life: 20 * time.Second, lasts: 5 * time.Minute, minTTL: 5 * time.Second, refuseEvery: 151,
	})
}

func steady(t *testing.T, l load) {
	t.Helper()
	w := l.start(t)
	w.run(nil)
	assert.Empty(t, w.asker.later)
	assert.Empty(t, w.asker.dead)
	w.living(0).awaitState(t, "active", l.credentials)
	w.awaitSubscribers()
	w.stop()

	sum := w.provider.Summary()
	t.Logf("ledger: %d presentations, %d rotations, at most %d of a credential in the air", sum.Presentations, sum.Rotations, sum.MaxConcurrentPerGrant)
	assert.Zero(t, sum.InAir)
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.GenerationsPresentedTwice)
	assert.EqualValues(t, 1, sum.MaxConcurrentPerGrant)
	assert.Zero(t, sum.Undelivered)
	assert.Equal(t, sum.Presentations, sum.ByOutcome[practice.OutcomeRotated], "none came to anything else")
	next := map[string]uint32{}
	for _, e := range w.provider.Ledger(practice.LedgerQuery{}) {
		require.Equal(t, next[e.Grant]+1, e.Generation, "%s: the generations follow each other", e.Subject)
		next[e.Grant] = e.Generation
	}
	assert.Len(t, next, l.credentials)
	for grant, presented := range next {
		assert.Greater(t, int(presented), int(l.lasts/l.life)-1, "%s was refreshed all the time", grant)
	}
}

// One of the two is killed again and again, amid exchanges. What it held is
// taken up by the other, and no login is lost but where the provider had spent
// the token and its reply did not arrive.
func TestKilledProcessesLoseNothing(t *testing.T) {
	t.Parallel()
	t.Run("rotated with the reply", func(t *testing.T) {
		t.Parallel()
		killing(t, load{
			credentials: 60, life: 6 * time.Second, lasts: 25 * time.Second, minTTL: 1500 * time.Millisecond,
			killEvery: 6 * time.Second, latency: 700 * time.Millisecond,
		})
	})
	t.Run("rotated before the reply", func(t *testing.T) {
		t.Parallel()
		killing(t, load{
			credentials: 40, life: 6 * time.Second, lasts: 20 * time.Second, minTTL: 1500 * time.Millisecond,
			killEvery: 6 * time.Second, latency: 300 * time.Millisecond, rotateFirst: true,
		})
	})
}

func TestSoakKilledProcessesLoseNothing(t *testing.T) {
	soak(t)
	for _, rotateFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("rotate first %t", rotateFirst), func(t *testing.T) {
			killing(t, load{
				credentials: 200, life: 20 * time.Second, lasts: 5 * time.Minute, minTTL: 5 * time.Second,
				killEvery: 20 * time.Second, latency: 700 * time.Millisecond, rotateFirst: rotateFirst,
			})
		})
	}
}

// kill is one death: the process ended between the two moments.
type kill struct {
	owner         string
	before, after time.Time
	starved       *starvation // until then; nil if it was not looked at
	received      int         // replies in its journal
	open          int         // attempts that it left open
}

// takeUpTime is how soon a neighbour has taken up what a killed process held.
const takeUpTime = 5 * time.Second

// takenUp is the line in which a process says what it took up of owner's: how
// many replies, how many open attempts, and when.
func takenUp(owner string) string {
	return `"owner":"` + owner + `","received":(\d+),"open":(\d+).*"time":"([^"]+)","message":"took up what a dead process left"`
}

// killAgainAndAgain kills the processes in turn, and starts each again when
// the other one has taken up what it held.
func (w *loaded) killAgainAndAgain(ctx context.Context) {
	tick := time.NewTicker(w.killEvery)
	defer tick.Stop()
	for n := 0; ; n = (n + 1) % 2 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		eventually(w.t, patience, func() (bool, string) {
			return w.provider.Summary().InAir > 3, "no exchanges to be killed amid"
		})
		victim, survivor := w.pair[n], w.pair[(n+1)%2]
		k := kill{owner: victim.owner, before: time.Now()}
		w.set(n, nil)
		require.NoError(w.t, victim.Kill())
		k.after = time.Now()
		match := survivor.says(w.t, takenUp(victim.owner))
		var err error
		k.received, err = strconv.Atoi(match[1])
		require.NoError(w.t, err)
		k.open, err = strconv.Atoi(match[2])
		require.NoError(w.t, err)
		at, err := time.Parse(time.RFC3339, match[3])
		require.NoError(w.t, err)
		if soaking() { // a machine that is busy with other tests says little about time
			assert.LessOrEqual(w.t, at.Sub(k.before), takeUpTime, "until the neighbour took up what it held")
		}
		w.t.Logf("killed: %d attempts open, %d replies in the journal, taken up after %s", k.open, k.received, at.Sub(k.before).Round(time.Millisecond))
		w.kills = append(w.kills, k)
		w.set(n, w.house.start())
	}
}

func killing(t *testing.T, l load) {
	t.Helper()
	w := l.start(t)
	w.run(w.killAgainAndAgain)
	open := 0
	for _, k := range w.kills {
		open += k.open
	}
	assert.Positive(t, open, "the kills hit amid exchanges")

	var all map[string]harness.Record
	eventually(t, patience, func() (bool, string) {
		all = w.living(0).list(t)
		waiting := map[string]int{}
		for _, r := range all {
			if (r.State != "active" && r.State != "reauth_required") || r.InDoubt {
				waiting[fmt.Sprintf("%s, in doubt %t", r.State, r.InDoubt)]++
			}
		}
		return len(waiting) == 0, fmt.Sprintf("still %v", waiting)
	})
	require.Len(t, all, l.credentials, "no credential is lost")
	w.awaitSubscribers()
	w.stop()
	w.checkLedger(all)
}

// lost says whether the client did not get the reply to a presentation that
// spent its token: for certain, or because it was handed to a process that was
// about to die.
func (w *loaded) lost(e practice.Entry) (certain, dying bool) {
	if e.RotatedAt == 0 {
		return false, false
	}
	if !e.Delivered {
		return true, false
	}
	for _, k := range w.kills {
		if e.RepliedAt > k.before.Add(-50*time.Millisecond).UnixNano() && e.RepliedAt < k.after.UnixNano() {
			return false, true
		}
	}
	return false, false
}

// checkLedger holds the end of every credential against the provider's ledger.
func (w *loaded) checkLedger(all map[string]harness.Record) {
	w.t.Helper()
	sum := w.provider.Summary()
	assert.Zero(w.t, sum.InAir)
	assert.EqualValues(w.t, 1, sum.MaxConcurrentPerGrant, "of a credential in the air")
	ended, undelivered, dying := 0, 0, 0
	last := map[string]practice.Entry{} // by subject: what spent the newest generation
	excused := map[string]bool{}        // subjects with a lost reply
	for _, e := range w.provider.Ledger(practice.LedgerQuery{}) {
		if e.Twice {
			before := last[e.Subject]
			certain, perhaps := w.lost(before)
			assert.True(w.t, certain || perhaps, "%s: generation %d was presented again, although its reply had been delivered %s before the nearest kill",
				e.Subject, e.Generation, w.beforeKill(before))
		}
		certain, perhaps := w.lost(e)
		if certain {
			undelivered++
		}
		if perhaps {
			dying++
		}
		if certain || perhaps {
			excused[e.Subject] = true
		}
		if e.RotatedAt != 0 {
			last[e.Subject] = e
		}
	}
	for id, r := range all {
		if r.State != "reauth_required" {
			continue
		}
		ended++
		assert.True(w.t, excused["user-"+id[len("acme:user-"):]], "%s ended in reauth_required (%s), and no reply of its was lost", id, r.Reason)
		assert.Equal(w.t, "lost_rotation", r.Reason, id)
	}
	w.t.Logf("ledger: %d presentations, %d rotations, %d replies undelivered, %d delivered within 50 ms of a kill; %d of %d credentials ended in reauth_required",
		sum.Presentations, sum.Rotations, undelivered, dying, ended, len(all))
	assert.EqualValues(w.t, undelivered, sum.Undelivered)
	assert.LessOrEqual(w.t, ended, undelivered+dying)
	for id := range w.asker.dead {
		assert.Equal(w.t, "reauth_required", all[id].State, "%s: the client was told that only a person can mend it", id)
	}
}

// beforeKill tells how long before the next kill a reply was sent.
func (w *loaded) beforeKill(e practice.Entry) string {
	for _, k := range w.kills {
		if ahead := k.after.UnixNano() - e.RepliedAt; ahead > 0 {
			return time.Duration(ahead).String()
		}
	}
	return "(no kill followed)"
}
