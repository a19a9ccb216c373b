package matrix

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/oracle"
)

// A cell fails if its point is never reached, and if any of what was seen had
// been a little different.
func TestACellCanFail(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	way, ok := wayTo(failpoint.CommitStored)
	require.True(t, ok)
	c := newCell(t, row{point: failpoint.CommitStored, way: way, mode: healthy, kind: strict}, nil, new(tally))
	c.furnish(build(t))
	require.Empty(t, c.run())
	_, why := c.reached(failpoint.LateKept, 100*time.Millisecond)
	assert.Contains(t, why, "late.kept was never reached; hit so far: \"commit.stored kill")

	sound := c.evidence()
	require.Empty(t, oracle.Check(sound))
	require.NotEmpty(t, sound.Reads)
	for name, tamper := range map[string]func(e *oracle.Evidence){
		"P1": func(e *oracle.Evidence) {
			again := e.Ledger[0]
			again.Seq, again.Received = 1000, again.Received+int64(time.Second)
			e.Ledger = append(e.Ledger, again)
		},
		"P2": func(e *oracle.Evidence) { e.Live = func(string) bool { return false } },
		"P3": func(e *oracle.Evidence) { e.Acked[0].Version = 1000 },
		"P4": func(e *oracle.Evidence) { e.Log = e.Log[:len(e.Log)-1] },
		"P5": func(e *oracle.Evidence) { e.Reads[0].ExpiresAt = e.Reads[0].At },
		"P6": func(e *oracle.Evidence) { e.Final[0].State = "reauth_required" },
		"P7": func(e *oracle.Evidence) { e.Canaries = []string{"somewhere"} },
		"P8": func(e *oracle.Evidence) { e.Settled = -1 },
		"P9": func(e *oracle.Evidence) {
			for range 2 {
				again := e.Ledger[len(e.Ledger)-1]
				again.Seq, again.Received = again.Seq+1, again.Received+int64(time.Second)
				again.Verdict, again.RotatedAt, again.NewGeneration = "revoked", 0, 0
				again.Generation = 1000
				e.Ledger = append(e.Ledger, again)
			}
		},
	} {
		e := sound
		e.Ledger, e.Acked, e.Log = slices.Clone(e.Ledger), slices.Clone(e.Acked), slices.Clone(e.Log)
		e.Reads, e.Final = slices.Clone(e.Reads), slices.Clone(e.Final)
		tamper(&e)
		found := oracle.Check(e)
		assert.True(t, slices.ContainsFunc(found, func(v oracle.Violation) bool { return v.Promise == name }), "%s: %v", name, found)
	}
}

// Only an answer that came after a whole timeout of waiting counts as too late:
// a process that gives up before is found out.
func TestAnAnswerThatCameTooLate(t *testing.T) {
	t.Parallel()
	asked := time.Now()
	at := func(after time.Duration) int64 { return asked.Add(after).UnixNano() }
	calls := []waited{{"g1", asked}}
	for name, row := range map[string]struct {
		entry practice.Entry
		late  bool
	}{
		"after the timeout":             {practice.Entry{Grant: "g1", Received: at(timeout + 660*time.Millisecond), RepliedAt: at(timeout + 670*time.Millisecond)}, true},
		"the process had gone":          {practice.Entry{Grant: "g1", Received: at(timeout + 660*time.Millisecond)}, true},
		"in time":                       {practice.Entry{Grant: "g1", Received: at(time.Millisecond), RepliedAt: at(timeout / 2)}, false},
		"of a call before":              {practice.Entry{Grant: "g1", Received: at(-time.Millisecond), RepliedAt: at(timeout)}, false},
		"of another login":              {practice.Entry{Grant: "g2", Received: at(timeout), RepliedAt: at(timeout)}, false},
		"taken at once, answered later": {practice.Entry{Grant: "g1", Received: at(time.Millisecond), RepliedAt: at(timeout)}, true},
	} {
		assert.Equal(t, row.late, answeredTooLate(row.entry, calls), name)
		assert.False(t, answeredTooLate(row.entry, nil), name)
	}
}

// On a busy machine a call for one more token may come to the provider when the
// process does not wait any more. The stored token works all the same, and the
// reply counts as lost.
func TestALateAnswerFailsNoCell(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	way, ok := wayTo(failpoint.CommitStored)
	require.True(t, ok)
	c := newCell(t, row{point: failpoint.CommitStored, way: way, mode: healthy, kind: strict}, nil, new(tally))
	c.furnish(build(t))
	require.Empty(t, c.run())
	all, err := c.b.List(t.Context())
	require.NoError(t, err)
	_, err = c.provider.AddFault(practice.Fault{Kind: practice.KindSlow, Rotate: practice.MomentBefore, Delay: timeout + 660*time.Millisecond, Count: 1})
	require.NoError(t, err)
	c.once(c.b.API, second, all[second].Generation)
	e := c.evidence()
	require.Empty(t, oracle.Check(e))
	cut := 0
	for _, is := range e.Cut {
		if is {
			cut++
		}
	}
	assert.GreaterOrEqual(t, cut, 1)
}
