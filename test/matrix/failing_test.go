package matrix

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
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
	require.True(t, c.run())
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
