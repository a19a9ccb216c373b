package app

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// supervisor is what systemd is to a service: a socket that is told things.
type supervisor struct{ conn *net.UnixConn }

// supervise makes this test the supervisor of the process, with a watchdog of
// that period unless it is zero. Its tests cannot run beside others.
func supervise(t *testing.T, watchdog time.Duration) *supervisor {
	t.Helper()
	dir, err := os.MkdirTemp("", "rdn-") //nolint:usetesting // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", address)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("WATCHDOG_USEC", "")
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	}
	return &supervisor{conn}
}

// next returns what it is told next.
func (s *supervisor) next(t *testing.T) string {
	t.Helper()
	require.NoError(t, s.conn.SetReadDeadline(time.Now().Add(patience)))
	message := make([]byte, 4096)
	n, err := s.conn.Read(message)
	require.NoError(t, err)
	return string(message[:n])
}

// keep goes on reading until the end of the test: a supervisor that does not
// listen holds up those who speak.
func (s *supervisor) keep(t *testing.T) *logged {
	t.Helper()
	require.NoError(t, s.conn.SetReadDeadline(time.Time{}))
	heard, done := newLogged(), make(chan struct{})
	go func() {
		defer close(done)
		message := make([]byte, 4096)
		for {
			n, err := s.conn.Read(message)
			if err != nil {
				return
			}
			if _, err := heard.Write(append(message[:n:n], '\n')); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, s.conn.SetReadDeadline(time.Now()))
		<-done
	})
	return heard
}

// quiet says that nothing was told.
func (s *supervisor) quiet(t *testing.T) {
	t.Helper()
	require.NoError(t, s.conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := s.conn.Read(make([]byte, 4096))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestSupervisorIsTold(t *testing.T) {
	s := supervise(t, 0)
	d := systemd{zerolog.Nop()}
	d.ready()
	assert.Equal(t, "READY=1", s.next(t))
	d.reloading()
	assert.Equal(t, "RELOADING=1", s.next(t))
	d.stopping()
	assert.Equal(t, "STOPPING=1", s.next(t))
	d.watch(t.Context(), func() { t.Error("there is no watchdog to feed") })
}

func TestWatchdogIsFedByTheLivingOnly(t *testing.T) {
	s := supervise(t, 4*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	asked, answer, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		systemd{zerolog.Nop()}.watch(ctx, func() {
			select {
			case asked <- struct{}{}:
				<-answer
			case <-ctx.Done(): // a tick may come with it
			}
		})
	}()
	<-asked
	s.quiet(t)
	answer <- struct{}{}
	assert.Equal(t, "WATCHDOG=1", s.next(t))
	<-asked
	cancel()
	close(answer)
	<-done
}

func TestWithoutASupervisorNothingIsSaid(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	log := newLogged()
	d := systemd{zerolog.New(log)}
	d.ready()
	assert.Empty(t, log.String())
}

func TestSupervisorThatIsGoneIsWarnedAbout(t *testing.T) {
	s := supervise(t, 0)
	path := s.conn.LocalAddr().String()
	require.NoError(t, os.Remove(path))
	log := newLogged()
	systemd{zerolog.New(log)}.ready()
	assert.Contains(t, log.String(), "systemd could not be told")
	assert.Contains(t, log.String(), "READY=1")
}
