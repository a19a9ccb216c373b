package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// way is how a point is reached.
type way struct {
	// before is what another process leaves, before A starts armed and reaches
	// the point by itself.
	before func(c *cell, z *harness.Instance)
	// ready is done before A is armed and the mark is set.
	ready func(c *cell, a *harness.Instance)
	// trigger is done once A is armed.
	trigger func(c *cell, a *harness.Instance)
	// armsItself: trigger arms A.
	armsItself bool
	hit        int           // which hit of the point, from its arming; 0: the first
	loss       bool          // Redis loses its tail on the way to the point
	hook       bool          // a webhook is subscribed
	abroad     bool          // the journal of what dies is out of reach
	early      bool          // A is armed from its start
	calm       bool          // nothing falls due before the point is reached
	long       time.Duration // how much longer the point is waited for, beside the other cells
}

// wayTo tells how a point is reached; false for a clock.
func wayTo(point failpoint.Point) (way, bool) {
	if ofSlot(point) {
		return way{before: unsweeps}, true
	}
	group, _, _ := strings.Cut(string(point), ".")
	switch group {
	case "clock":
		return way{}, false
	case "owner":
		return way{trigger: change}, true
	case "adopt":
		return way{before: diesAt("keep.noted", refresh)}, true
	case "restore", "barrier":
		return way{trigger: losesTail, loss: true}, true
	case "ended":
		return way{trigger: withdrawn}, true
	case "doubt", "recover":
		return way{trigger: unheard}, true
	case "dispatch", "task":
		return way{ready: swept, trigger: waits}, true
	}
	switch point {
	case failpoint.DeliveryFailed:
		return way{trigger: refused, hook: true}, true
	case failpoint.ReplayChange:
		return way{before: diesAt("owner.noted", change)}, true
	case failpoint.ReplayKept, failpoint.ReplayRemove:
		return way{before: diesAt("keep.noted", refresh)}, true
	case failpoint.ReplayAttempt:
		return way{before: diesAt("wire.written", unanswered)}, true
	case failpoint.StoreClaimed:
		return way{ready: swept, trigger: waits}, true
	case failpoint.JournalCreated, failpoint.JournalAllocate:
		return way{before: stops}, true
	case failpoint.JournalWrite, failpoint.JournalWritten, failpoint.JournalSynced:
		return way{trigger: refresh, hit: 2}, true // the first is the intent's
	case failpoint.JournalRewritten, failpoint.JournalRenamed:
		return way{trigger: fills, calm: true, long: time.Minute}, true
	case failpoint.LateKept:
		return way{trigger: comesLate, armsItself: true, abroad: true}, true
	case failpoint.EventTrim:
		return way{trigger: refresh, long: time.Minute}, true
	case failpoint.WireDialled:
		return way{trigger: refresh, early: true}, true // a connection that stands is used again
	default:
		return way{trigger: refresh, hook: group == "delivery"}, true
	}
}

// ofSlot reports whether the point is on the way of a periodic fetch, which
// begins with the start of a process that finds its slot neither stored nor
// done.
func ofSlot(point failpoint.Point) bool {
	switch point {
	case failpoint.DispatchSlot, failpoint.TaskSlot, failpoint.TaskPage, failpoint.TaskFinish:
		return true
	default:
		return false
	}
}

// refresh asks A for a newer token.
func refresh(c *cell, a *harness.Instance) {
	c.beside(func() {
		c.loginAgain(a)
		_ = a.Refresh(c.ctx, main) // A may die over it
	})
}

// waits lets main fall due.
func waits(c *cell, a *harness.Instance) {
	c.beside(func() { c.loginAgain(a) })
}

// unanswered asks A for a newer token of a provider that rotates at once and
// takes its time to answer: what dies once it has asked has no reply, however
// long its death takes.
func unanswered(c *cell, a *harness.Instance) {
	c.t.Helper()
	_, err := c.provider.AddFault(practice.Fault{Kind: practice.KindSlow, Rotate: practice.MomentBefore, Delay: timeout / 2, Count: 1})
	require.NoError(c.t, err)
	refresh(c, a)
}

// loginAgain brings main a new login if the one it had is over: on a busy machine
// a reply may have come too late before the cell began, and at a strict provider
// that costs the login. Without one the point would never be reached.
func (c *cell) loginAgain(a *harness.Instance) {
	over := false
	harness.Until(c.ctx, harness.Patience, func() (bool, string) {
		var r harness.Record
		if err := a.Call(c.ctx, http.MethodGet, harness.CredentialPath(main), nil, &r); err != nil {
			return true, "" // A has come to the point
		}
		over = r.State == "reauth_required"
		return over || !r.InDoubt, "main is in doubt"
	})
	if over {
		_ = c.login(a.API, main, life)
	}
}

// refused is a refresh whose event the receiver does not take at once.
func refused(c *cell, a *harness.Instance) {
	c.hook.Refuse(1)
	refresh(c, a)
}

// change is one of the owner's changes: a logout, a login of a new user, a
// login again, by the kind of provider.
func change(c *cell, a *harness.Instance) {
	c.beside(func() {
		switch c.kind {
		case strict:
			if done, err := a.Logout(c.ctx, main); err == nil {
				c.ack(done)
			}
		case grace:
			_ = c.login(a.API, "acme:newcomer", quiet)
		case still:
			_ = c.login(a.API, main, quiet)
		}
	})
}

// diesAt lets a process do something and kills it amid.
func diesAt(point string, do func(*cell, *harness.Instance)) func(*cell, *harness.Instance) {
	return func(c *cell, z *harness.Instance) {
		c.t.Helper()
		c.arm(point + "=kill")
		do(c, z)
		_, err := z.Wait(c.within(harness.Patience))
		require.NoError(c.t, err)
		hit := c.awaitHit(failpoint.Point(point))
		kill := oracle.Kill{Owner: z.Owner, At: hit}
		if !replyMayBeLost(failpoint.Point(point)) {
			kill.Kept = []string{main, second, third}
		}
		c.mu.Lock()
		c.kills = append(c.kills, kill)
		c.mu.Unlock()
		c.arm("")
	}
}

// stops ends a process in order.
func stops(c *cell, z *harness.Instance) {
	c.t.Helper()
	_, err := z.Stop()
	require.NoError(c.t, err)
}

// unsweeps ends a process in order and makes Redis forget its fetch.
func unsweeps(c *cell, z *harness.Instance) {
	c.t.Helper()
	swept(c, z)
	stops(c, z)
	c.forget("rd:{slots}:*")
	c.setMark()
}

// swept waits until the fetch of the start is over.
func swept(c *cell, a *harness.Instance) {
	c.t.Helper()
	_, err := a.WaitFor(c.within(harness.Patience), regexp.MustCompile(`"message":"fetch ended"`))
	require.NoError(c.t, err)
}

// withdrawn asks A for a newer token of a user who has ended the grant at the
// provider.
func withdrawn(c *cell, a *harness.Instance) {
	c.t.Helper()
	c.mu.Lock()
	grant := c.pending[main][0]
	c.mu.Unlock()
	require.True(c.t, c.provider.Revoke(grant))
	refresh(c, a)
}

// unheard asks A for a newer token and lets the provider swallow the reply. It has rotated where it
// grants a grace; where it does not, nothing has happened, so that nothing is
// lost.
func unheard(c *cell, a *harness.Instance) {
	c.t.Helper()
	f := practice.Fault{Kind: practice.KindLost, Count: 1, Rotate: practice.MomentNever}
	if c.kind == grace {
		f.Rotate = practice.MomentBefore
	}
	_, err := c.provider.AddFault(f)
	require.NoError(c.t, err)
	refresh(c, a)
}

// losesTail lets Redis lose a refresh that A has made. A reply that came too late
// on a busy machine has cost the login at a strict provider: then there is another.
func losesTail(c *cell, a *harness.Instance) {
	c.t.Helper()
	harness.Eventually(c.t, harness.Patience, func() (bool, string) {
		err := c.ask(a.API, main)
		if err != nil && c.late(main) {
			err = errors.Join(err, c.login(a.API, main, life))
		}
		return err == nil, fmt.Sprint(err)
	})
	require.NoError(c.t, c.server.Kill())
	gone, err := c.tail.Cut(c.mark)
	require.NoError(c.t, err)
	require.Positive(c.t, gone)
	require.NoError(c.t, c.server.Restart(c.ctx))
}

// fills makes A's journal long, with logins that replace each other: it is
// written anew when most of 32 MiB are of the past. The tokens are so long that
// the provider would not know them.
func fills(c *cell, a *harness.Instance) {
	padding := strings.Repeat("x", 65_000)
	for n := range 8 {
		id := fmt.Sprintf("%s%d", filler, n)
		c.beside(func() {
			for puts := 0; c.ctx.Err() == nil && !c.enough.Load(); puts++ {
				m := c.mint("filler", quiet)
				m.AccessToken += "." + padding
				m.RefreshToken += "." + padding
				done, err := a.Put(c.ctx, id, m)
				if err != nil {
					return // A died over it
				}
				c.ack(done)
				if puts > 40 { // long enough: what follows lets A look again
					harness.Pass(c.ctx, 200*time.Millisecond)
				}
			}
		})
	}
}

// comesLate lets A stand still with a reply in its journal until somebody on
// another machine has taken its attempt, and then go on.
func comesLate(c *cell, a *harness.Instance) {
	c.t.Helper()
	c.arm("keep.noted=stop", c.rule())
	refresh(c, a)
	hit := c.awaitHit(failpoint.KeepNoted)
	require.NoError(c.t, a.Pause())
	c.stood = hit
	c.house2()
	before := c.stored()
	harness.Eventually(c.t, harness.Patience, func() (bool, string) {
		now := c.stored()
		return now["o"] == "" && revision(now) != revision(before), "nobody took the attempt of the process that stands still"
	})
	assert.NoError(c.t, a.Resume())
}

// within is a context for a wait.
func (c *cell) within(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(c.ctx, limit, errors.New("waited for too long"))
	c.t.Cleanup(cancel)
	return ctx
}
