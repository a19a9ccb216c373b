package chaos

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/practice"
)

// stepLength is how long a step of a plan takes at least: a lane that is
// behind holds all steps up.
const stepLength = 200 * time.Millisecond

const (
	replicas  = 3
	thirdHost = 2 // the replica with a data_dir of its own
)

// The names of the providers.
const (
	strict = "strict" // rotates, and a second presentation ends the grant
	grace  = "grace"  // rotates, and the previous token works for a while
	plain  = "plain"  // does not rotate
)

func providerNames() []string { return []string{strict, grace, plain} }

// An act is one fault of a plan.
type act struct {
	Step  int    `json:"step"`
	Lane  string `json:"lane"` // who is hit; acts of a lane follow each other
	Kind  string `json:"kind"`
	Lasts int    `json:"lasts"`          // steps
	N     uint64 `json:"n"`              // a random number of its own
	What  string `json:"what,omitempty"` // a rule of failpoints, a form of reply, a kind of cut
}

func (a act) String() string {
	return strings.TrimSpace(fmt.Sprintf("step %d: %s %s %s (%d steps)", a.Step, a.Lane, a.Kind, a.What, a.Lasts))
}

// length is how long it lasts.
func (a act) length() time.Duration { return time.Duration(a.Lasts) * stepLength }

// pick chooses one of several by the act's own number.
func pick[T any](a act, from ...T) T { return from[a.N%uint64(len(from))] }

// The lanes.
const (
	laneRedis = "redis"
	laneOwner = "owner"
	laneHook  = "hook"
)

func laneReplica(n int) string                { return fmt.Sprintf("r%d", n) }
func laneToRedis(n int) string                { return fmt.Sprintf("r%d-redis", n) }
func laneToProvider(n int, who string) string { return fmt.Sprintf("r%d-%s", n, who) }

// A habit is a kind of fault and how often it comes.
type habit struct {
	kind   string
	weight int
	lanes  []string
	least  int      // steps that it lasts
	most   int      // likewise
	rest   int      // steps that its lane is left alone afterwards
	whats  []string // one of them is chosen
	redis  string   // only with this kind of Redis; empty is any
}

// planner draws acts. The same seed gives the same acts at the same steps,
// whatever comes of them.
type planner struct {
	draw   *rand.Rand
	habits []habit
	total  int
	free   map[string]int // the step at which a lane is free again
	step   int
	queued []act
}

// drawsPerStep is how often a step looks for a fault; most of what is looked
// for finds its lane taken, or finds nothing wanted.
const drawsPerStep = 2

func newPlanner(seed uint64, redis string, only *regexp.Regexp) *planner {
	p := &planner{draw: rand.New(rand.NewPCG(seed, uint64(len(redis)))), free: map[string]int{}}
	for _, h := range habits() {
		if (h.redis != "" && h.redis != redis) || (only != nil && !only.MatchString(h.kind)) {
			continue
		}
		p.habits = append(p.habits, h)
		p.total += h.weight
	}
	return p
}

// next returns the next act.
func (p *planner) next() act {
	for len(p.queued) == 0 {
		p.step++
		for range drawsPerStep {
			p.look()
		}
	}
	a := p.queued[0]
	p.queued = p.queued[1:]
	return a
}

// look draws a fault; it comes to nothing where its lane is taken.
func (p *planner) look() {
	at := p.draw.IntN(p.total)
	var h habit
	for _, h = range p.habits {
		if at -= h.weight; at < 0 {
			break
		}
	}
	a := act{
		Step: p.step, Kind: h.kind, Lane: h.lanes[p.draw.IntN(len(h.lanes))],
		Lasts: h.least + p.draw.IntN(h.most-h.least+1), N: p.draw.Uint64(),
	}
	if len(h.whats) > 0 {
		a.What = h.whats[p.draw.IntN(len(h.whats))]
	}
	if p.free[a.Lane] > p.step {
		return
	}
	p.free[a.Lane] = p.step + a.Lasts + h.rest
	p.queued = append(p.queued, a)
}

// The kinds of faults.
const (
	kindKill      = "replica killed"
	kindFreeze    = "replica stopped and continued"
	kindDeploy    = "replica deployed"
	kindPointKill = "killed at a failpoint"
	kindPointFail = "failed at a failpoint"
	kindSlowDisk  = "journal's disk slow"
	kindFullDisk  = "journal's disk full"
	kindBootJump  = "boot clock jumped"
	kindWallJump  = "wall clock jumped"

	kindDeaf    = "partition (silence)"
	kindCutOff  = "partition (reset)"
	kindLatency = "latency"
	kindNarrow  = "bandwidth"
	kindSliced  = "slices"
	kindRefused = "partition (refused)"

	kindRedisKill     = "redis killed"
	kindRedisStop     = "redis stopped and started"
	kindRedisFreeze   = "redis frozen"
	kindRedisTail     = "redis lost its tail"
	kindRedisFull     = "redis out of memory"
	kindRedisReadOnly = "redis read-only"
	kindRedisPause    = "redis paused for clients"
	kindRedisFlush    = "redis forgot its scripts"
	kindFailover      = "redis failed over"

	kindStatus    = "provider error status"
	kindSlow      = "provider slow"
	kindHang      = "provider hangs"
	kindLost      = "provider's reply lost"
	kindCut       = "provider's reply cut"
	kindMalformed = "provider's reply malformed"
	kindRevoke    = "user withdrew a grant"

	kindLogin  = "owner logged in again"
	kindLogout = "owner logged out and in"
	kindDelete = "owner deleted and stored again"
	kindSame   = "owner stored the same token again"
)

func habits() []habit {
	var procs, toRedis, toProvider []string
	for n := range replicas {
		procs = append(procs, laneReplica(n))
		toRedis = append(toRedis, laneToRedis(n))
		for _, who := range providerNames() {
			toProvider = append(toProvider, laneToProvider(n, who))
		}
	}
	all := providerNames()
	list := []habit{
		{kind: kindKill, weight: 10, lanes: procs, least: 0, most: 10, rest: 10},
		{kind: kindFreeze, weight: 6, lanes: procs, least: 5, most: 25, rest: 10},
		{kind: kindDeploy, weight: 4, lanes: procs, least: 0, most: 5, rest: 10},
		{kind: kindPointKill, weight: 14, lanes: procs, least: 10, most: 15, rest: 5, whats: killRules()},
		{kind: kindPointFail, weight: 5, lanes: procs, least: 10, most: 10, rest: 0, whats: failRules()},
		{kind: kindSlowDisk, weight: 5, lanes: procs, least: 5, most: 15, rest: 5},
		{kind: kindFullDisk, weight: 5, lanes: procs, least: 5, most: 15, rest: 5},
		{kind: kindBootJump, weight: 3, lanes: procs, least: 5, most: 10, rest: 5},
		{kind: kindWallJump, weight: 3, lanes: procs, least: 5, most: 10, rest: 5},

		{kind: kindRedisKill, weight: 6, lanes: []string{laneRedis}, least: 0, most: 10, rest: 12},
		{kind: kindRedisStop, weight: 4, lanes: []string{laneRedis}, least: 0, most: 10, rest: 12},
		{kind: kindRedisFreeze, weight: 4, lanes: []string{laneRedis}, least: 5, most: 20, rest: 12},
		{kind: kindRedisTail, weight: 8, lanes: []string{laneRedis}, least: 0, most: 5, rest: 12, redis: everysec},
		{kind: kindRedisFull, weight: 4, lanes: []string{laneRedis}, least: 5, most: 15, rest: 10},
		{kind: kindRedisReadOnly, weight: 4, lanes: []string{laneRedis}, least: 5, most: 15, rest: 10},
		{kind: kindRedisPause, weight: 4, lanes: []string{laneRedis}, least: 5, most: 15, rest: 10},
		{kind: kindRedisFlush, weight: 4, lanes: []string{laneRedis}, least: 0, most: 0, rest: 5},
		{kind: kindFailover, weight: 8, lanes: []string{laneRedis}, least: 0, most: 10, rest: 15, redis: everysec, whats: []string{"in order", "lagging", "killed"}},

		{kind: kindStatus, weight: 8, lanes: all, least: 2, most: 8, rest: 3, whats: []string{"429", "503", "500", "502", "504", "408"}},
		{kind: kindSlow, weight: 8, lanes: all, least: 2, most: 8, rest: 3, whats: []string{"before", "after"}},
		{kind: kindHang, weight: 5, lanes: all, least: 1, most: 3, rest: 3, whats: []string{"before", "never"}},
		{kind: kindLost, weight: 6, lanes: all, least: 1, most: 2, rest: 3},
		{kind: kindCut, weight: 10, lanes: all, least: 1, most: 3, rest: 3, whats: places()},
		{kind: kindMalformed, weight: 12, lanes: all, least: 1, most: 3, rest: 3, whats: forms()},
		{kind: kindRevoke, weight: 2, lanes: all, least: 0, most: 0, rest: 3},

		{kind: kindLogin, weight: 8, lanes: []string{laneOwner}, least: 0, most: 0, rest: 2},
		{kind: kindLogout, weight: 4, lanes: []string{laneOwner}, least: 1, most: 5, rest: 2},
		{kind: kindDelete, weight: 5, lanes: []string{laneOwner}, least: 0, most: 5, rest: 2},
		{kind: kindSame, weight: 6, lanes: []string{laneOwner}, least: 0, most: 0, rest: 2},
	}
	for _, kind := range []string{kindDeaf, kindCutOff, kindLatency, kindNarrow, kindSliced, kindRefused} {
		list = append(list,
			habit{kind: kind + " to redis", weight: 4, lanes: toRedis, least: 3, most: 15, rest: 10},
			habit{kind: kind + " to provider", weight: 4, lanes: toProvider, least: 3, most: 15, rest: 10},
			habit{kind: kind + " to receiver", weight: 1, lanes: []string{laneHook}, least: 3, most: 15, rest: 5},
		)
	}
	return list
}

// killRules are rules that end a process at each point, at the first hit or
// somewhat later.
func killRules() []string {
	var rules []string
	for _, p := range failpoint.All() {
		if p == failpoint.ClockBoot || p == failpoint.ClockWall {
			continue
		}
		for _, nth := range []int{1, 3, 20} {
			rules = append(rules, fmt.Sprintf("%s=kill@%d", p, nth))
		}
	}
	return rules
}

// failRules are rules that give an error where the program has to live with
// one.
func failRules() []string {
	var rules []string
	for _, p := range failpoint.All() {
		if p == failpoint.ClockBoot || p == failpoint.ClockWall {
			continue
		}
		rules = append(rules, string(p)+"=fail@2")
	}
	return rules
}

func places() []string {
	return []string{
		string(practice.PlaceHeaders), string(practice.PlaceBeforeRefreshToken),
		string(practice.PlaceInRefreshToken), string(practice.PlaceAfterRefreshToken),
	}
}

// forms are the malformed replies that leave a grant and the client alive and
// do not lie about the life of the access token: what they say of the rest is
// the client's to find out.
func forms() []string {
	lies := []practice.Form{
		practice.FormExpiresString, practice.FormExpiresStringS, practice.FormExpiresFloat, practice.FormExpiresHuge,
		practice.FormExpiresObject, practice.FormExpiresZero, practice.FormExpiresNegative,
		practice.FormRedirect307, practice.FormRedirect308, // the operator's: they pause the client for a minute
	}
	var list []string
	for _, form := range practice.Forms() {
		if !slices.Contains(lies, form) {
			list = append(list, string(form))
		}
	}
	return list
}

func TestThePlanFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	first := func(seed uint64, redis string) []act {
		p := newPlanner(seed, redis, nil)
		list := make([]act, 5000)
		for i := range list {
			list[i] = p.next()
		}
		return list
	}
	plan := first(7, everysec)
	assert.Equal(t, plan, first(7, everysec))
	assert.NotEqual(t, plan, first(8, everysec))
	assert.NotEqual(t, plan, first(7, always))
	busy, kinds := map[string]int{}, map[string]bool{}
	for i, a := range plan {
		kinds[a.Kind] = true
		require.GreaterOrEqual(t, a.Step, busy[a.Lane], "%s: its lane is still busy", a)
		busy[a.Lane] = a.Step + a.Lasts
		if i > 0 {
			require.GreaterOrEqual(t, a.Step, plan[i-1].Step)
		}
	}
	for _, h := range habits() {
		assert.True(t, kinds[h.kind], "%s is drawn within so many", h.kind)
	}
	for _, a := range first(7, always) {
		assert.NotContains(t, []string{kindRedisTail, kindFailover}, a.Kind)
	}
}
