package journal

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// submitted is everything that was handed to a journal for one nonce.
type submitted struct {
	records []any // oldest first
	failed  []bool
	sure    int // that one, or a later one, must be there; -1 if none must
	dropped bool
}

// TestPowerCutNeverLosesWhatWasAcknowledged goes through random calls on a
// disk that fails in two places, cuts the power, and replays what is left.
func TestPowerCutNeverLosesWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(*testing.T) { cutThePower(rt) })
	})
}

func cutThePower(t *rapid.T) {
	d := newMemDisk()
	failure := rapid.SampledFrom([]error{errDisk, unix.ENOSPC}).Draw(t, "failure")
	first := once(rapid.SampledFrom(steps).Draw(t, "step"), rapid.Int64Range(1, 60).Draw(t, "nth"), failure)
	second := once(rapid.SampledFrom(steps).Draw(t, "second step"), rapid.Int64Range(1, 60).Draw(t, "its nth"), failure)
	d.hook = func(s step, name string) error { return errors.Join(first(s, name), second(s, name)) }
	d.failAfter = rapid.Bool().Draw(t, "after it took effect")
	d.limit = rapid.SampledFrom([]int64{0, 6 << 10, 14 << 10, 20 << 10, 40 << 10}).Draw(t, "limit")
	const maxReply = 200
	j, err := create(d, "/journal", "owner-1", Options{SegmentSize: 512, MaxReply: maxReply})
	if err != nil {
		require.ErrorIs(t, err, failure)
		return
	}
	calls := &faultyCalls{t: t, j: j, known: map[credential.Nonce]*submitted{}}
	for range rapid.IntRange(0, 150).Draw(t, "calls") {
		calls.one(maxReply)
	}
	j.mu.Lock()
	calls.broken = j.broken != nil
	j.mu.Unlock()
	calls.verify(afterCrash(t, d, rapid.Uint64().Draw(t, "cut")))
	if err := j.Close(); err != nil {
		require.ErrorIs(t, err, failure)
	}
}

type faultyCalls struct {
	t      *rapid.T
	j      *Journal
	last   uint64
	known  map[credential.Nonce]*submitted
	open   []uint64 // intents that may be sent
	broken bool     // at the end
}

// submit notes what is about to be written, and returns what is to be called
// with the result.
func (c *faultyCalls) submit(n credential.Nonce, record any) (acknowledge func(error)) {
	s := c.known[n]
	if s == nil {
		s = &submitted{sure: -1}
		c.known[n] = s
	}
	s.records, s.failed = append(s.records, record), append(s.failed, false)
	at := len(s.records) - 1
	return func(err error) {
		if err == nil {
			s.sure = at
			return
		}
		s.failed[at] = true
		known := errors.Is(err, ErrBroken) || errors.Is(err, ErrNoRoom) || errors.Is(err, errDisk)
		require.True(c.t, known, "%v", err)
	}
}

func (c *faultyCalls) one(maxReply int) {
	size := rapid.IntRange(0, maxReply).Draw(c.t, "size")
	switch rapid.IntRange(0, 10).Draw(c.t, "call") {
	case 10:
		pass(rapid.SampledFrom([]time.Duration{firstPause / 2, firstPause, lastPause}).Draw(c.t, "pass"))
	case 0, 1, 2:
		intents := make([]Intent, rapid.IntRange(1, 3).Draw(c.t, "intents"))
		acknowledge := make([]func(error), len(intents))
		for i := range intents {
			c.last++
			intents[i] = intent(c.last)
			acknowledge[i] = c.submit(intents[i].Nonce, intents[i])
		}
		err := c.j.Intent(context.Background(), intents)
		for i := range intents {
			acknowledge[i](err)
			if err == nil {
				c.open = append(c.open, intents[i].Generation)
			}
		}
	case 3, 4, 5:
		if len(c.open) == 0 {
			return
		}
		k := keep(c.open[0], strings.Repeat("k", max(1, size)))
		c.open = c.open[1:]
		acknowledge := c.submit(k.Nonce, k)
		err := c.j.Keep(k)
		require.NotErrorIs(c.t, err, ErrNoRoom, "room for a reply is set aside")
		acknowledge(err)
	case 6:
		c.last++
		ch := change(c.last, strings.Repeat("c", max(1, size)))
		acknowledge := c.submit(ch.Nonce, ch)
		acknowledge(c.j.Change(context.Background(), ch))
	default:
		if c.last == 0 {
			return
		}
		var nonces []credential.Nonce
		for range rapid.IntRange(1, 8).Draw(c.t, "drops") {
			n := rapid.Uint64Range(max(1, c.last-min(c.last, 20)), c.last).Draw(c.t, "dropped")
			nonces = append(nonces, nonce(n))
			c.known[nonce(n)].dropped = true
			for i, o := range c.open {
				if o == n {
					c.open = append(c.open[:i], c.open[i+1:]...)
					break
				}
			}
		}
		c.j.Drop(nonces...)
	}
}

// verify compares what was found with what was submitted.
func (c *faultyCalls) verify(r Records) {
	found := map[credential.Nonce]any{}
	for _, i := range r.Intents {
		found[i.Nonce] = i
	}
	for _, k := range r.Keeps {
		found[k.Nonce] = k
	}
	for _, ch := range r.Changes {
		found[ch.Nonce] = ch
	}
	for n, record := range found {
		s := c.known[n]
		require.NotNil(c.t, s, "a record that nobody wrote")
		at := -1
		for i := range s.records {
			if assert.ObjectsAreEqual(s.records[i], record) {
				at = i
			}
		}
		require.GreaterOrEqual(c.t, at, 0, "a record as nobody wrote it")
		if !s.dropped {
			require.GreaterOrEqual(c.t, at, s.sure, "an older record than was acknowledged")
		}
		if !c.broken {
			require.False(c.t, s.failed[at], "a record that its caller was told has failed")
		}
	}
	for n, s := range c.known {
		if s.sure >= 0 && !s.dropped {
			require.Contains(c.t, found, n, "an acknowledged record is lost")
		}
	}
}
