package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/test/harness"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/practice"
)

// errNothingDone says that a fault found nothing to act on: it is not counted.
var errNothingDone = errors.New("nothing to act on")

// inject does what an act says and undoes what has to be undone. It comes back
// early when ctx ends, with everything undone.
func (c *campaign) inject(ctx context.Context, a act) error {
	switch {
	case a.Lane == laneRedis:
		return c.onRedis(ctx, a)
	case a.Lane == laneOwner:
		return c.byOwner(ctx, a)
	case a.Lane == laneKeyset:
		return c.rotateKeyset(ctx, a)
	case a.Lane == laneHook:
		return c.onLink(ctx, a, c.house.hook)
	case c.house.providers[a.Lane] != nil:
		return c.onProvider(ctx, a, c.house.providers[a.Lane])
	}
	for _, r := range c.house.replicas {
		to, isLink := strings.CutPrefix(a.Lane, r.name()+"-")
		switch {
		case a.Lane == r.name():
			return c.onReplica(ctx, a, r)
		case a.Lane == laneInside(r.n):
			return c.inside(ctx, a, r)
		case isLink && to == laneRedis:
			return c.onLink(ctx, a, r.toRedis)
		case isLink && r.ways[to] != nil:
			return c.onLink(ctx, a, r.ways[to])
		}
	}
	return fmt.Errorf("there is no lane %q", a.Lane)
}

func (c *campaign) onLink(ctx context.Context, a act, l *link) error {
	kind, _, _ := strings.Cut(a.Kind, " to ")
	if err := l.spoil(kind, a.N); err != nil {
		return errors.Join(err, l.mend())
	}
	harness.Pass(ctx, a.length())
	return l.mend()
}

// onReplica does something to a process.
func (c *campaign) onReplica(ctx context.Context, a act, r *replica) error {
	if err := r.check(ctx, false); err != nil {
		return err
	}
	always := context.WithoutCancel(ctx)
	switch a.Kind {
	case kindKill:
		err := r.kill()
		if c.sabotage == sabotageJournal {
			err = errors.Join(err, os.RemoveAll(filepath.Join(r.data, "journal")))
		}
		harness.Pass(ctx, a.length())
		return errors.Join(err, r.start(always))
	case kindFreeze:
		if err := r.proc.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		harness.Pass(ctx, a.length())
		return r.proc.signal(syscall.SIGCONT)
	case kindDeploy:
		err := r.stop()
		harness.Pass(ctx, a.length())
		return errors.Join(err, r.start(always))
	case kindPointKill:
		return c.killAtPoint(ctx, a, r)
	case kindBootJump:
		// That clock never goes back: the next start undoes the jump.
		rule := pick(a, "clock.boot=jump:1h", "clock.boot=jump:7s", "clock.boot=jump:45s")
		if err := r.addRule(rule); err != nil {
			return err
		}
		harness.Pass(ctx, a.length())
		err := r.stop()
		return errors.Join(err, r.dropRules(rule), r.start(always))
	default:
		return fmt.Errorf("a replica knows no %q", a.Kind)
	}
}

// inside does something to what a process works with, whatever becomes of the
// process meanwhile.
func (c *campaign) inside(ctx context.Context, a act, r *replica) error {
	switch a.Kind {
	case kindPointFail:
		if breaksJournal(a.What) { // what comes until it is mended is in memory alone
			r.unwritable(time.Now())
			defer func() { r.writable(time.Now().Add(firstHeal)) }()
		}
		return c.underRule(ctx, a, r, a.What)
	case kindSlowDisk:
		delay := pick(a, 50*time.Millisecond, 150*time.Millisecond, 300*time.Millisecond)
		point := pick(a, "journal.write", "journal.written")
		if point == "journal.write" {
			// A record waits for the write before it, and then for its own. Behind a
			// slow sync it would be the kernel's at once.
			r.slowed(2 * delay)
			defer r.slowed(0)
		}
		defer harness.Pass(context.WithoutCancel(ctx), delay+stepLength) // until the last one is through
		return c.underRule(ctx, a, r, fmt.Sprintf("%s=delay:%s@*", point, delay))
	case kindFullDisk:
		return c.fullDisk(ctx, a, r)
	case kindWallJump:
		return c.underRule(ctx, a, r, pick(a, "clock.wall=jump:-1h", "clock.wall=jump:1h", "clock.wall=jump:8760h", "clock.wall=jump:-40s"))
	default:
		return fmt.Errorf("the inside of a replica knows no %q", a.Kind)
	}
}

// breaksJournal reports whether a rule makes a write of the journal fail.
func breaksJournal(rule string) bool {
	point, _, _ := strings.Cut(rule, "=")
	return slices.Contains([]failpoint.Point{failpoint.JournalWrite, failpoint.JournalWritten, failpoint.JournalSynced}, failpoint.Point(point))
}

// killAtPoint starts a replica with a rule that kills it, and starts it again
// when that has happened.
func (c *campaign) killAtPoint(ctx context.Context, a act, r *replica) error {
	before := r.fired(a.What)
	point, _, _ := strings.Cut(a.What, "=")
	if a.N%3 == 0 || !onTheWay(failpoint.Point(point)) { // a rule may find the process at work, or coming up after a kill
		if err := r.kill(); err != nil {
			return err
		}
	}
	if err := r.addRule(a.What); err != nil {
		return err
	}
	if !r.proc.running() {
		if err := r.start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	timer := time.NewTimer(a.length())
	defer timer.Stop()
	select {
	case <-r.proc.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	err := errors.Join(r.dropRules(a.What), r.check(context.WithoutCancel(ctx), true))
	if err == nil && r.fired(a.What) == before {
		return errNothingDone
	}
	return err
}

// underRule lets a rule of failpoints stand for a while.
func (c *campaign) underRule(ctx context.Context, a act, r *replica, rule string) error {
	before := r.fired(rule)
	if err := r.addRule(rule); err != nil {
		return err
	}
	harness.Pass(ctx, a.length())
	if err := r.dropRules(rule); err != nil {
		return err
	}
	if r.fired(rule) == before {
		return errNothingDone
	}
	return nil
}

// fullDisk fills the disk of a replica that has one of its own.
func (c *campaign) fullDisk(ctx context.Context, a act, r *replica) error {
	if r.disk == "" {
		rule := pick(a, "journal.allocate=full@*", "journal.write=full@*")
		if rule == "journal.write=full@*" { // the room that is promised to replies is refused as well
			r.unwritable(time.Now())
			defer func() { r.writable(time.Now().Add(healPause)) }()
		}
		return c.underRule(ctx, a, r, rule)
	}
	ballast := filepath.Join(r.disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return err
	}
	// What is left in the end is less than a block.
	for _, size := range []int{1 << 20, 4 << 10, 1} {
		_, err = io.Copy(f, io.LimitReader(zeros(size), 2*diskSize))
		if err == nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, f.Close(), os.Remove(ballast))
	}
	harness.Pass(ctx, a.length())
	return errors.Join(f.Close(), os.Remove(ballast))
}

// zeros reads as zeros, a number of bytes at a time.
type zeros int

func (z zeros) Read(b []byte) (int, error) {
	n := min(len(b), int(z))
	clear(b[:n])
	return n, nil
}

// onProvider makes a provider misbehave.
func (c *campaign) onProvider(ctx context.Context, a act, p *provider) error {
	f := practice.Fault{Count: 1 + int(a.N%5)}
	switch a.Kind {
	case kindRevoke:
		return c.withdraw(p, a)
	case kindStatus:
		f.Kind = practice.KindStatus
		f.Count = 0
		f.Status, _ = strconv.Atoi(a.What)
		if f.Status == http.StatusTooManyRequests {
			f.RetryAfter = "1"
		}
	case kindSlow:
		f.Kind, f.Rotate, f.Count = practice.KindSlow, practice.Moment(a.What), 0
		f.Delay = pick(a, 300*time.Millisecond, 900*time.Millisecond, 1500*time.Millisecond)
	case kindHang:
		f.Kind, f.Rotate = practice.KindHang, practice.Moment(a.What)
	case kindLost:
		f.Kind = practice.KindLost
	case kindCut:
		f.Kind, f.Place = practice.KindCut, practice.Place(a.What)
	case kindMalformed:
		f.Kind, f.Form = practice.KindMalformed, practice.Form(a.What)
		if f.Form == practice.FormDrip {
			f.Delay = pick(a, 2*time.Millisecond, 20*time.Millisecond)
		}
	default:
		return fmt.Errorf("a provider knows no %q", a.Kind)
	}
	id, err := p.AddFault(f)
	if err != nil {
		return err
	}
	harness.Pass(ctx, a.length())
	hits := 0
	for _, state := range p.Faults() {
		if state.ID == id {
			hits = state.Hits
		}
	}
	p.RemoveFault(id)
	if hits == 0 {
		return errNothingDone
	}
	return nil
}

// onRedis does something to the master.
func (c *campaign) onRedis(ctx context.Context, a act) error {
	r := c.house.redis
	m := r.current()
	always := context.WithoutCancel(ctx)
	switch a.Kind {
	case kindRedisKill:
		err := m.Kill()
		harness.Pass(ctx, a.length())
		return errors.Join(err, m.Restart(always))
	case kindRedisStop:
		err := m.Stop()
		harness.Pass(ctx, a.length())
		return errors.Join(err, m.Restart(always))
	case kindRedisFreeze:
		if err := m.Pause(); err != nil {
			return err
		}
		harness.Pass(ctx, a.length())
		return m.Resume()
	case kindRedisTail:
		err := m.Kill()
		lost, cutErr := r.cutTail(a.N)
		c.note("%d bytes of the newest writes are gone", lost)
		harness.Pass(ctx, a.length())
		return errors.Join(err, cutErr, m.Restart(always))
	case kindRedisFull:
		err := m.do(ctx, "CONFIG", "SET", "maxmemory", "1mb")
		harness.Pass(ctx, a.length())
		return errors.Join(err, m.do(always, "CONFIG", "SET", "maxmemory", "0"))
	case kindRedisReadOnly:
		err := m.do(ctx, "REPLICAOF", "127.0.0.1", "1")
		harness.Pass(ctx, a.length())
		return errors.Join(err, m.do(always, "REPLICAOF", "NO", "ONE"))
	case kindRedisPause:
		err := m.do(ctx, "CLIENT", "PAUSE", a.length().Milliseconds(), pick(a, "ALL", "WRITE"))
		harness.Pass(ctx, a.length())
		return err
	case kindRedisFlush:
		return m.do(ctx, "SCRIPT", "FLUSH")
	case kindFailover:
		return c.failOver(ctx, a)
	default:
		return fmt.Errorf("redis knows no %q", a.Kind)
	}
}

// failOver makes the replica the master: what it had not got yet is gone.
func (c *campaign) failOver(ctx context.Context, a act) error {
	r := c.house.redis
	if r.other == nil || r.synced(ctx) != nil {
		return errNothingDone
	}
	always := context.WithoutCancel(ctx)
	old := r.current()
	var err error
	switch a.What {
	case "lagging":
		err = r.follows.toxic("latency", "downstream", map[string]any{"latency": 100 + a.N%700})
		harness.Pass(ctx, time.Second)
		err = errors.Join(err, old.Kill())
	case "killed":
		err = old.Kill()
	}
	harness.Pass(ctx, a.length())
	// The old one's clients are led away before there are two masters.
	return errors.Join(err, r.promote(always), c.house.lead(), r.follows.mend(), c.rejoin(always, old))
}

// rejoin brings the old master back, as a replica.
func (c *campaign) rejoin(ctx context.Context, old *node) error {
	r := c.house.redis
	if err := old.do(ctx, "PING"); err != nil {
		if err := old.Restart(ctx); err != nil {
			return err
		}
	}
	return r.follow(ctx, old)
}
