package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

const few = 40

// bench builds both programs, and gives the runs a folder whose name is short
// enough for a socket.
func bench(t *testing.T) (bin programs, folder string) {
	t.Helper()
	testproc.SkipWithoutRedis(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH, and the programs have to be built")
	}
	folder, err := os.MkdirTemp("", "crash-") //nolint:usetesting // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(folder)) })
	bin, err = build(t.Context(), folder)
	require.NoError(t, err)
	return bin, folder
}

func TestRuns(t *testing.T) {
	t.Parallel()
	bin, folder := bench(t)
	for name, p := range map[string]plan{
		// Whether the plain worker loses anything is not asked: it is counted.
		"kill plain strict":    {scenario: scenarioKill, contender: plainContender(2 * time.Second), reuse: practice.ReuseStrict},
		"kill refreshd strict": {scenario: scenarioKill, contender: refreshdContender(), reuse: practice.ReuseStrict},
		"kill refreshd grace":  {scenario: scenarioKill, contender: refreshdContender(), reuse: practice.ReuseGrace},
		"slow plain strict":    {scenario: scenarioSlow, contender: plainContender(time.Second), reuse: practice.ReuseStrict},
		"slow refreshd strict": {scenario: scenarioSlow, contender: refreshdContender(), reuse: practice.ReuseStrict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.credentials, p.latency, p.quiet, p.seed = few, time.Second, 1500*time.Millisecond, 7
			if p.scenario == scenarioSlow {
				p.latency = 3500 * time.Millisecond
			}
			c, err := p.carryOut(t.Context(), bin, filepath.Join(folder, strings.ReplaceAll(name, " ", "-")))
			require.NoError(t, err)
			t.Logf("%+v", c)
			checkSums(t, p, c)
			if p.contender.name == refreshdContender().name {
				checkRefreshd(t, p, c)
			}
		})
	}
}

// checkSums holds the counts against each other.
func checkSums(t *testing.T, p plan, c counts) {
	t.Helper()
	assert.Equal(t, few, c.Credentials)
	assert.GreaterOrEqual(t, c.Sent, few, "each was sent")
	assert.Positive(t, c.Rest, "it came to rest")
	assert.Zero(t, c.Unsettled)
	assert.LessOrEqual(t, c.Revoked, c.Lost, "a family that was revoked is a credential lost")
	assert.Equal(t, c.Lost, c.LostReply+c.LostDying+c.LostUnexcused)
	if p.reuse == practice.ReuseStrict {
		assert.Equal(t, c.Twice, c.Revoked, "whatever comes back burns its family")
	}
	if p.scenario == scenarioSlow {
		assert.Zero(t, c.InAir, "nobody was killed")
		assert.Equal(t, c.Lost, c.LostUnexcused, "no answer was lost")
	}
}

// checkRefreshd holds refreshd to what it promises.
func checkRefreshd(t *testing.T, p plan, c counts) {
	t.Helper()
	assert.Zero(t, c.LostUnexcused, "lost, and its answer had been delivered in time")
	if p.reuse == practice.ReuseGrace {
		assert.Zero(t, c.Lost, "a lost answer is asked for again within the grace")
	}
	if p.scenario == scenarioSlow {
		assert.Equal(t, few, c.Sent)
		assert.Zero(t, c.Lost)
	}
}
