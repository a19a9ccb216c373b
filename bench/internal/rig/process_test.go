package rig

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell starts a shell that carries out the script.
func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(t.Context(), t.TempDir(), Command{
		Name: "shell", Path: "sh", Args: []string{"-c", script}, Env: []string{"GREETING=hello"}, In: strings.NewReader("there\n"), Tail: 12,
	})
	require.NoError(t, err)
	t.Cleanup(p.End)
	return p
}

func patience(within time.Duration) Patience {
	return Patience{What: "it was ready", Late: "not before it was ready", Within: within, Every: time.Millisecond}
}

// isReady waits until the program has said so.
func isReady(t *testing.T, p *Process) {
	t.Helper()
	require.NoError(t, p.Until(t.Context(), patience(20*time.Second), func(context.Context) (bool, error) {
		return p.Tail() == "ready", nil
	}))
}

func TestProgramThatEndsByItself(t *testing.T) {
	t.Parallel()
	well := shell(t, `read name; echo "more than is shown: $GREETING $name"`)
	require.NoError(t, well.Wait())
	assert.Equal(t, "hello there", well.Tail())
	err := shell(t, `echo sorry; exit 3`).Wait()
	require.EqualError(t, err, "shell: exit status 3; the end of its log:\nsorry")
}

func TestProgramThatIsStopped(t *testing.T) {
	t.Parallel()
	p := shell(t, `trap 'echo "in order"; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	isReady(t, p)
	p.End()
	assert.Contains(t, p.Tail(), "in order")
}

func TestProgramsThatAreKilled(t *testing.T) {
	t.Parallel()
	const deaf = `trap 'echo refused' TERM; echo ready; while :; do sleep 0.01; done`
	one, other := shell(t, deaf), shell(t, deaf)
	isReady(t, one)
	isReady(t, other)
	require.NoError(t, Kill(one, other))
	require.NoError(t, Kill(one), "who has ended may be killed again")
	for _, p := range []*Process{one, other} {
		require.ErrorContains(t, p.Wait(), "signal: killed")
		assert.Equal(t, "ready", p.Tail())
	}
}

func TestWhatDoesNotCome(t *testing.T) {
	t.Parallel()
	asked := func(context.Context) (bool, error) { return false, errors.New("not yet") }
	gone := shell(t, `echo sorry`)
	require.NoError(t, gone.Wait())
	err := gone.Until(t.Context(), patience(20*time.Second), asked)
	require.EqualError(t, err, "shell ended before it was ready: not yet; the end of its log:\nsorry")

	slow := shell(t, `echo ready; while :; do sleep 0.01; done`)
	isReady(t, slow)
	err = slow.Until(t.Context(), patience(time.Millisecond), asked)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "shell: not before it was ready: context deadline exceeded\nnot yet; the end of its log:\nready")
}
