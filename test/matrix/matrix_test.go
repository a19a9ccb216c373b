package matrix

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/oracle"
)

// sideBySide is how many cells run at a time. Those that only wait for a slow
// clock of the program's own are not counted.
const sideBySide = 16

// mode is what happens at the point.
type mode string

const (
	healthy mode = "healthy"
	dead    mode = "dead"
	tail    mode = "tail"
	fail    mode = "fail"
	resume  mode = "resume"
	away    mode = "away"
)

// kind is what the provider does with refresh tokens.
type kind string

const (
	strict kind = "strict"
	grace  kind = "grace"
	still  kind = "still" // does not rotate
)

// kindsOf are the kinds of provider with which a point can be reached: where
// nothing rotates, a lost reply is no doubt, and a late one brings nothing new.
func kindsOf(point failpoint.Point) []kind {
	switch point {
	case failpoint.DoubtBefore, failpoint.RecoverBefore, failpoint.LateKept:
		return []kind{strict, grace}
	default:
		return []kind{strict, grace, still}
	}
}

// row is one cell of the matrix.
type row struct {
	point failpoint.Point
	way   way
	mode  mode
	kind  kind
}

// modesOf are the modes that a point has, each with its providers.
func modesOf(point failpoint.Point) map[mode][]kind {
	kinds := kindsOf(point)
	var slow []kind // none
	if inAttempt(point) {
		slow = []kind{strict}
	}
	return map[mode][]kind{
		healthy: kinds, dead: kinds, tail: kinds, fail: kinds, resume: slow, away: slow,
	}
}

// inAttempt reports whether the point lies between the begin and the commit of
// an attempt.
func inAttempt(point failpoint.Point) bool {
	switch point {
	case failpoint.BeginAnswered, failpoint.IntentBefore, failpoint.IntentNoted, failpoint.SendBefore, failpoint.SendAnswered,
		failpoint.KeepBefore, failpoint.KeepNoted, failpoint.CommitBefore, failpoint.StoreBegun, failpoint.StoreApply,
		failpoint.WireDialled, failpoint.WireWrite, failpoint.WireWritten, failpoint.WireHeaders:
		return true
	default:
		return false
	}
}

// replyMayBeLost reports whether a process that dies at the point may have
// been sent a reply that no journal holds yet.
func replyMayBeLost(point failpoint.Point) bool {
	switch point {
	case failpoint.WireWritten, failpoint.WireHeaders, failpoint.KeepBefore, failpoint.EndedBefore, failpoint.JournalWrite, failpoint.JournalWritten:
		return true
	default:
		return false
	}
}

// tally counts over all cells.
type tally struct {
	cells, hits, missed, vanished, violations, lost, excused atomic.Int64
}

// mayMiss is how many cells may come to their point at their second attempt only:
// what leads there is the test's own doing, and a machine that stands still for
// seconds can spoil it. What a cell saw once it was there is never tried again.
const mayMiss = 4

// TestCrashMatrix stops the program at every point there is. See the package
// comment for the names of the cells.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	if testing.Short() {
		t.Skip("takes minutes; the other tests of this package show that a cell can fail")
	}
	began := time.Now()
	program := build(t)
	slots := make(chan struct{}, sideBySide)
	var sum tally
	t.Cleanup(func() {
		t.Logf("crash matrix: %d cells, %d points hit, %d cells tried twice, %d records set back by a lost tail, %d violations, %d credentials lost (%d of them for a reply that died without grace), %.0f s",
			sum.cells.Load(), sum.hits.Load(), sum.missed.Load(), sum.vanished.Load(), sum.violations.Load(), sum.lost.Load(), sum.excused.Load(), time.Since(began).Seconds())
	})
	for _, point := range failpoint.All() {
		way, ok := wayTo(point)
		if !ok {
			continue // a clock, which is no place
		}
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			for mode, kinds := range modesOf(point) {
				t.Run(string(mode), func(t *testing.T) {
					t.Parallel()
					for _, kind := range kinds {
						t.Run(string(kind), func(t *testing.T) {
							t.Parallel()
							one := row{point: point, way: way, mode: mode, kind: kind}
							sum.cells.Add(1)
							runCell(t, program, one, slots, &sum)
						})
					}
				})
			}
		})
	}
}

func build(t testing.TB) string {
	t.Helper()
	return testproc.Build(t, testproc.BuildOptions{Package: "github.com/refreshd/refreshd/cmd/refreshd", Tags: "failpoints"})
}

// runCell runs one cell and judges it.
func runCell(t *testing.T, program string, one row, slots chan struct{}, sum *tally) {
	t.Helper()
	c, why := toPoint(t, program, one, slots, sum)
	if why != "" {
		t.Logf("once more: %s", why)
		if sum.missed.Add(1) > mayMiss {
			t.Errorf("more than %d cells did not come to their point at once", mayMiss)
		}
		if c, why = toPoint(t, program, one, slots, sum); why != "" {
			t.Fatal(why)
		}
	}
	sum.hits.Add(1)
	evidence := c.evidence()
	for _, v := range oracle.Check(evidence) {
		sum.violations.Add(1)
		t.Errorf("%s", v)
	}
	lost, excused := oracle.Lost(evidence)
	sum.lost.Add(int64(lost))
	sum.excused.Add(int64(excused))
	if t.Failed() {
		t.Log(story(evidence))
	}
}

// toPoint runs a cell, and returns why it did not come to its point.
func toPoint(t *testing.T, program string, one row, slots chan struct{}, sum *tally) (c *cell, why string) {
	t.Helper()
	slots <- struct{}{}
	began := time.Now()
	defer func() { t.Logf("the cell took %s", time.Since(began).Round(time.Millisecond)) }()
	c = newCell(t, one, slots, sum)
	t.Cleanup(c.leave)
	c.furnish(program)
	if why = c.run(); why != "" {
		c.leave()
	}
	return c, why
}

// story tells what the provider and the log saw.
func story(e oracle.Evidence) string {
	text := "the provider's ledger:\n"
	for _, entry := range e.Ledger {
		text += fmt.Sprintf("  %d %s grant %s generation %d -> %d: %s (%s) fault %q, delivered %t, in the air %d\n",
			entry.Seq, time.Unix(0, entry.Received).UTC().Format("05.000"), entry.Grant, entry.Generation, entry.NewGeneration,
			entry.Outcome, entry.Verdict, entry.Fault, entry.Delivered, entry.Concurrent)
	}
	text += "the event log:\n"
	for _, event := range e.Log {
		text += fmt.Sprintf("  %s %s %s -> %s (%s)\n", event.At.UTC().Format("05.000"), event.ID, event.Type, event.State, event.Reason)
	}
	for _, k := range e.Kills {
		text += fmt.Sprintf("kill of %s at %s, kept %v\n", k.Owner, k.At.UTC().Format("05.000"), k.Kept)
	}
	for _, f := range e.Final {
		text += fmt.Sprintf("final: %s %s (%s) version %d generation %d in doubt %t grant %s\n", f.ID, f.State, f.Reason, f.Version, f.Generation, f.InDoubt, f.Grant)
	}
	return text
}
