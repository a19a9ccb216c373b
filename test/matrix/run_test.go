package matrix

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// run brings the cell to its point, disturbs it there, and lets it settle. It
// returns why the point was not reached, "" where it was.
func (c *cell) run() string {
	c.t.Helper()
	c.prepare()
	if c.way.long > 0 {
		c.leave()
	}
	hit, why := c.reached(c.point, hitWithin+c.way.long)
	if why != "" {
		return why
	}
	c.disturb(hit)
	c.settle()
	return ""
}

// prepare starts A, or what is before A, and does what leads to the point.
func (c *cell) prepare() {
	c.t.Helper()
	if c.way.before != nil {
		z := c.house.Start(c.environment("")...)
		c.mu.Lock()
		c.a = z
		c.mu.Unlock()
		c.populate(z.API)
		c.setMark()
		c.way.before(c, z)
		c.mu.Lock()
		c.a = nil
		c.mu.Unlock()
		c.armed = c.house.Run(c.environment(c.rule())...)
		return
	}
	early := ""
	if c.way.early {
		early = c.rule()
	}
	a := c.house.Start(c.environment(early)...)
	c.armed, c.owner = a.Process, a.Owner
	c.mu.Lock()
	c.a = a
	c.mu.Unlock()
	c.populate(a.API)
	if c.way.ready != nil {
		c.way.ready(c, a)
	}
	c.setMark()
	if !c.way.armsItself && !c.way.early {
		c.arm(c.rule())
	}
	if c.way.trigger != nil {
		c.way.trigger(c, a)
	}
}

// died notes the end of A, or a standstill from which it will not come back.
func (c *cell) died(at time.Time) {
	kill := oracle.Kill{Owner: c.owner, At: at}
	switch {
	case c.way.abroad: // it stood still before
	case replyMayBeLost(c.point) || c.mode == away:
		c.stood = at
	default:
		kill.Kept = []string{main, second, third}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills = append(c.kills, kill)
}

// disturb is what happens at the point. Afterwards a neighbour runs.
func (c *cell) disturb(hit time.Time) {
	c.t.Helper()
	switch c.mode {
	case healthy:
		_, err := c.armed.Wait(c.within(harness.Patience))
		require.NoError(c.t, err)
		c.died(hit)
		c.gone()
		c.neighbour()
	case dead:
		c.halt(hit)
		c.neighbour()
		require.NoError(c.t, c.server.Kill())
		c.end()
		require.NoError(c.t, c.server.Restart(c.ctx))
	case tail:
		c.halt(hit)
		c.neighbour()
		c.lose(hit)
		c.end()
	case fail:
		if replyMayBeLost(c.point) {
			c.stood = hit // the reply was read by nobody
		}
		c.neighbour()
		if c.a != nil {
			c.read("A", c.a.API)
		}
	case resume:
		if replyMayBeLost(c.point) {
			c.stood = hit // its time is over before it goes on
		}
		require.NoError(c.t, c.armed.Pause())
		c.neighbour()
		harness.Pass(c.ctx, deadline+time.Second)
		require.NoError(c.t, c.armed.Resume())
	case away:
		require.NoError(c.t, c.armed.Pause())
		c.died(hit) // as far as others can see
		c.house2()
		harness.Pass(c.ctx, silence+quarantine+2*time.Second)
		require.NoError(c.t, c.armed.Resume())
	}
}

// halt waits until A stands still at the point.
func (c *cell) halt(hit time.Time) {
	c.t.Helper()
	require.NoError(c.t, c.armed.Pause())
	c.died(hit)
}

// end kills A.
func (c *cell) end() {
	c.t.Helper()
	require.NoError(c.t, c.armed.Kill())
	c.gone()
}

// gone forgets A as somebody to talk to.
func (c *cell) gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.a != nil && c.a.Process == c.armed {
		c.a = nil
	}
}

// neighbour starts B, unless it runs.
func (c *cell) neighbour() {
	c.t.Helper()
	if c.b != nil {
		return
	}
	c.serve(c.house)
}

// house2 starts B on another machine.
func (c *cell) house2() {
	c.t.Helper()
	if c.b != nil {
		return
	}
	c.serve(c.house.Neighbour(c.t))
}

func (c *cell) serve(h *harness.House) {
	c.t.Helper()
	b := h.Start("GOMAXPROCS=1")
	c.mu.Lock()
	c.b = b
	c.mu.Unlock()
	c.read("B", b.API)
}

// lose takes away what Redis wrote since the mark, and shows that it is gone.
// The neighbour stands still meanwhile, lest it puts anything back before we
// have looked.
func (c *cell) lose(hit time.Time) {
	c.t.Helper()
	if c.b != nil {
		require.NoError(c.t, c.b.Pause())
		defer func() { assert.NoError(c.t, c.b.Resume()) }()
	}
	before := c.stored()
	size, sinceMark := c.cutAt(hit)
	require.NoError(c.t, c.server.Kill())
	bytes, err := c.tail.Cut(size)
	require.NoError(c.t, err)
	require.NoError(c.t, c.server.Restart(c.ctx))
	after := c.stored()
	if sinceMark && !maps.Equal(before, c.marked) {
		assert.Positive(c.t, bytes, "bytes of the append-only file that are gone")
		assert.Equal(c.t, revision(c.marked), revision(after), "the record is back where it was at the mark")
		assert.NotEqual(c.t, before, after, "writes really vanished")
		c.sum.vanished.Add(1)
	}
}

// revision is what the head of a stored record says, "" where nothing is
// stored.
func revision(fields map[string]string) string { return fields["h"] }

// settle waits until everything is well, or over, and asks each credential for
// one more token.
func (c *cell) settle() {
	c.t.Helper()
	c.provider.ClearFaults()
	began := time.Now()
	at := c.b.API
	why, ok := harness.Until(c.ctx, settledWithin, func() (bool, string) {
		all, err := at.List(c.ctx)
		if err != nil {
			return false, err.Error()
		}
		for id, r := range all {
			fresh := r.State == "active" && !r.InDoubt && r.ExpiresAt.After(time.Now())
			if over := r.State == "reauth_required" || r.State == "logged_out"; !fresh && !over {
				return false, fmt.Sprintf("%s is %s (%s), in doubt %t", id, r.State, r.Reason, r.InDoubt)
			}
		}
		return true, ""
	})
	if !ok {
		c.t.Logf("not settled: %s", why)
		return
	}
	c.settled = time.Since(began)
	calm := quiet
	_, err := c.provider.Configure(practice.SettingsPatch{AccessTTL: &calm}) // nothing falls due while evidence is gathered
	require.NoError(c.t, err)
	all, err := at.List(c.ctx)
	require.NoError(c.t, err)
	for id, r := range all {
		if r.State == "active" && !strings.HasPrefix(id, filler) {
			c.once(at, id, r.Generation)
		}
	}
}

// once gets a newer token for a credential: the one that is stored works. It is
// the provider that knows; on a busy machine its answer may come when the
// process has waited for its timeout already.
func (c *cell) once(at *harness.API, id string, generation uint64) {
	c.t.Helper()
	why, ok := harness.Until(c.ctx, harness.Patience, func() (bool, string) {
		err := c.ask(at, id)
		if err == nil || c.late(id) {
			return true, ""
		}
		var r harness.Record
		if gone := at.Call(c.ctx, http.MethodGet, harness.CredentialPath(id), nil, &r); gone != nil {
			return false, gone.Error()
		}
		return r.State != "active" && r.State != "degraded" && r.State != "expired" || r.Generation > generation, err.Error()
	})
	if !ok {
		c.t.Errorf("%s cannot be refreshed once more: %s", id, why)
	}
}

// waited is a call of the test's own for a newer token that failed after its
// process had had the time to wait for a whole timeout.
type waited struct {
	grant string
	since time.Time
}

// ask asks for a newer token.
func (c *cell) ask(at *harness.API, id string) error {
	asked := time.Now()
	err := at.Refresh(c.ctx, id)
	if err != nil && time.Since(asked) >= timeout {
		grant := c.grantOf(id)
		c.mu.Lock()
		c.waited = append(c.waited, waited{grant, asked})
		c.mu.Unlock()
	}
	return err
}

// late reports whether the provider has taken the token of a credential in such
// a call, and answered when the timeout was over.
func (c *cell) late(id string) bool {
	grant := c.grantOf(id)
	return slices.ContainsFunc(c.provider.Ledger(practice.LedgerQuery{}), func(e practice.Entry) bool {
		return e.Grant == grant && (e.Verdict == practice.OutcomeRotated || e.Verdict == practice.OutcomeRefreshed || e.Verdict == practice.OutcomeGrace) &&
			c.tooLate(e)
	})
}

// tooLate reports whether an answer came when nobody waited for it any more, by
// no fault of the process's: the timeout had passed since the test had asked.
func (c *cell) tooLate(e practice.Entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return answeredTooLate(e, c.waited)
}

func answeredTooLate(e practice.Entry, calls []waited) bool {
	return slices.ContainsFunc(calls, func(w waited) bool {
		return w.grant == e.Grant && e.Received >= w.since.UnixNano() && (e.RepliedAt == 0 || e.RepliedAt >= w.since.Add(timeout).UnixNano())
	})
}
