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
	strict  = "strict"  // rotates, and a second presentation ends the grant
	lasting = "lasting" // likewise, and its access tokens live so long that a last resort may come too early
	grace   = "grace"   // rotates, and the previous token works for a while
	plain   = "plain"   // does not rotate
)

func providerNames() []string { return []string{strict, lasting, grace, plain} }

// An act is one fault of a plan, or what an owner does amid them.
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
	laneRedis  = "redis"
	laneOwner  = "owner"
	laneHook   = "hook"
	laneKeyset = "keyset"
)

func laneReplica(n int) string                { return fmt.Sprintf("r%d", n) }
func laneInside(n int) string                 { return fmt.Sprintf("r%d-inside", n) }
func laneToRedis(n int) string                { return fmt.Sprintf("r%d-redis", n) }
func laneToProvider(n int, who string) string { return fmt.Sprintf("r%d-%s", n, who) }

// longAct is how many steps an act lasts that is begun early, to be over in time.
const longAct = 60

// restartRest leaves time for refreshes between two restarts of Redis: after
// each of them nothing is begun for three seconds at least.
const restartRest = 32

// hookRest lets a delivery that failed be made once more, 5 s later, before the
// next fault on its way: the wait after a second failure is longer than a
// campaign.
const hookRest = 40

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
	deck   []habit        // each kind once: none is left to chance
	step   int
	queued []act
}

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
		p.deal()
		p.look()
	}
	a := p.queued[0]
	p.queued = p.queued[1:]
	return a
}

// deal plays the first card of the deck whose lane is free. A new deck is made
// when all were played.
func (p *planner) deal() {
	if len(p.deck) == 0 {
		p.deck = slices.Clone(p.habits)
		p.draw.Shuffle(len(p.deck), func(i, j int) { p.deck[i], p.deck[j] = p.deck[j], p.deck[i] })
		slices.SortStableFunc(p.deck, func(a, b habit) int { // the longest first
			return max(b.least, longAct) - max(a.least, longAct)
		})
	}
	for n, h := range p.deck {
		if p.put(h) {
			p.deck = slices.Delete(p.deck, n, n+1)
			return
		}
	}
}

// look draws a fault by weight; it comes to nothing where its lane is taken.
func (p *planner) look() {
	at := p.draw.IntN(p.total)
	for _, h := range p.habits {
		if at -= h.weight; at < 0 {
			p.put(h)
			return
		}
	}
}

// put plans a fault of a kind, unless the lane that it would hit is taken.
func (p *planner) put(h habit) bool {
	a := act{
		Step: p.step, Kind: h.kind, Lane: h.lanes[p.draw.IntN(len(h.lanes))],
		Lasts: h.least + p.draw.IntN(h.most-h.least+1), N: p.draw.Uint64(),
	}
	if len(h.whats) > 0 {
		a.What = h.whats[p.draw.IntN(len(h.whats))]
	}
	if p.free[a.Lane] > p.step {
		return false
	}
	p.free[a.Lane] = p.step + a.Lasts + h.rest
	p.queued = append(p.queued, a)
	return true
}

// The kinds of acts: faults, and owners' ordinary changes.
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

	kindRotate = "keyset rotated and applied"

	kindLogin  = "owner logged in again"
	kindLogout = "owner logged out and in"
	kindDelete = "owner deleted and stored again"
	kindSame   = "owner stored the same token again"
)

// ofOwners reports whether a kind is no fault, but what owners do every day.
func ofOwners(kind string) bool {
	return slices.Contains([]string{kindLogin, kindLogout, kindDelete, kindSame}, kind)
}

func habits() []habit {
	var procs, inside, toRedis, toProvider []string
	for n := range replicas {
		procs, inside = append(procs, laneReplica(n)), append(inside, laneInside(n))
		toRedis = append(toRedis, laneToRedis(n))
		for _, who := range providerNames() {
			toProvider = append(toProvider, laneToProvider(n, who))
		}
	}
	all := []string{strict, grace, plain} // where calls come all the time
	list := []habit{
		{kind: kindKill, weight: 10, lanes: procs, least: 0, most: 10, rest: 10},
		{kind: kindFreeze, weight: 6, lanes: procs, least: 5, most: 25, rest: 10},
		{kind: kindDeploy, weight: 4, lanes: procs, least: 0, most: 5, rest: 10},
		{kind: kindPointKill, weight: 20, lanes: procs, least: 15, most: 20, rest: 2, whats: killRules()},
		{kind: kindPointFail, weight: 5, lanes: inside, least: 10, most: 10, rest: 0, whats: failRules()},
		{kind: kindSlowDisk, weight: 5, lanes: inside, least: 5, most: 15, rest: 5},
		{kind: kindFullDisk, weight: 5, lanes: inside, least: 5, most: 15, rest: 5},
		{kind: kindBootJump, weight: 3, lanes: procs, least: 5, most: 10, rest: 5},
		{kind: kindWallJump, weight: 3, lanes: inside, least: 30, most: 40, rest: 5},

		{kind: kindRedisKill, weight: 6, lanes: []string{laneRedis}, least: 0, most: 10, rest: restartRest},
		{kind: kindRedisStop, weight: 4, lanes: []string{laneRedis}, least: 0, most: 10, rest: restartRest},
		{kind: kindRedisFreeze, weight: 4, lanes: []string{laneRedis}, least: 5, most: 20, rest: 15},
		{kind: kindRedisTail, weight: 8, lanes: []string{laneRedis}, least: 0, most: 5, rest: restartRest, redis: everysec},
		{kind: kindRedisFull, weight: 4, lanes: []string{laneRedis}, least: 5, most: 15, rest: 15},
		{kind: kindRedisReadOnly, weight: 4, lanes: []string{laneRedis}, least: 5, most: 15, rest: restartRest},
		{kind: kindRedisPause, weight: 4, lanes: []string{laneRedis}, least: 5, most: 15, rest: 15},
		{kind: kindRedisFlush, weight: 4, lanes: []string{laneRedis}, least: 0, most: 0, rest: 5},
		{kind: kindFailover, weight: 8, lanes: []string{laneRedis}, least: 0, most: 10, rest: restartRest, redis: everysec, whats: []string{"in order", "lagging", "killed"}},

		{kind: kindStatus, weight: 8, lanes: all, least: 2, most: 8, rest: 3, whats: []string{"429", "503", "500", "502", "504", "408"}},
		{kind: kindSlow, weight: 8, lanes: all, least: 2, most: 8, rest: 3, whats: []string{"before", "after"}},
		{kind: kindHang, weight: 5, lanes: all, least: 1, most: 3, rest: 3, whats: []string{"before", "never"}},
		{kind: kindLost, weight: 6, lanes: all, least: 1, most: 2, rest: 3},
		{kind: kindCut, weight: 10, lanes: all, least: 1, most: 3, rest: 3, whats: places()},
		{kind: kindMalformed, weight: 12, lanes: all, least: 1, most: 3, rest: 3, whats: forms()},
		{kind: kindLost, weight: 3, lanes: []string{lasting}, least: 15, most: 25, rest: 3},
		{kind: kindMalformed, weight: 4, lanes: []string{lasting}, least: 15, most: 25, rest: 3, whats: forms()},
		{kind: kindRevoke, weight: 2, lanes: all, least: 0, most: 0, rest: 3},

		{kind: kindRotate, weight: 1, lanes: []string{laneKeyset}, least: 85, most: 95, rest: 30},

		{kind: kindLogin, weight: 8, lanes: []string{laneOwner}, least: 0, most: 0, rest: 2},
		{kind: kindLogout, weight: 4, lanes: []string{laneOwner}, least: 1, most: 5, rest: 2},
		{kind: kindDelete, weight: 5, lanes: []string{laneOwner}, least: 0, most: 5, rest: 2},
		{kind: kindSame, weight: 6, lanes: []string{laneOwner}, least: 0, most: 0, rest: 2},
	}
	for _, kind := range []string{kindDeaf, kindCutOff, kindLatency, kindNarrow, kindSliced, kindRefused} {
		list = append(list,
			habit{kind: kind + " to redis", weight: 4, lanes: toRedis, least: 3, most: 15, rest: 10},
			habit{kind: kind + " to provider", weight: 4, lanes: toProvider, least: 3, most: 15, rest: 10},
			habit{kind: kind + " to receiver", weight: 1, lanes: []string{laneHook}, least: 3, most: 15, rest: hookRest},
		)
	}
	return list
}

// onTheWay are the points that a process passes all the time. The others need
// something to have gone wrong before, or a start.
func onTheWay(p failpoint.Point) bool {
	group, _, _ := strings.Cut(string(p), ".")
	switch group {
	case "begin", "intent", "send", "keep", "commit", "permit", "store", "wire", "release", "dispatch", "delivery", "event", "task", "owner":
		return !slices.Contains([]failpoint.Point{
			failpoint.DispatchSlot, failpoint.TaskSlot, failpoint.TaskPage, failpoint.TaskFinish, failpoint.EventTrim, failpoint.DeliveryFailed,
		}, p)
	default:
		return slices.Contains([]failpoint.Point{
			failpoint.JournalWrite, failpoint.JournalWritten, failpoint.JournalSynced, failpoint.JournalDrop,
		}, p)
	}
}

// killRules are rules that end a process at each point, at the first hit or
// somewhat later. Points that are passed all the time come more often.
func killRules() []string {
	var rules []string
	for _, p := range failpoint.All() {
		switch {
		case p == failpoint.ClockBoot || p == failpoint.ClockWall:
		case onTheWay(p):
			for _, nth := range []int{1, 2, 5} {
				rules = append(rules, fmt.Sprintf("%s=kill@%d", p, nth))
			}
		default:
			rules = append(rules, fmt.Sprintf("%s=kill@1", p))
		}
	}
	return rules
}

// failRules are rules that give an error where the program has to live with
// one. Those that throw a reply away which has come are left out: the ledger
// does not show which one it was.
func failRules() []string {
	var rules []string
	for _, p := range failpoint.All() {
		if slices.Contains([]failpoint.Point{failpoint.WireWritten, failpoint.WireHeaders, failpoint.KeepBefore}, p) {
			continue
		}
		if onTheWay(p) {
			rules = append(rules, string(p)+"=fail@2", string(p)+"=fail@9")
		} else if p != failpoint.ClockBoot && p != failpoint.ClockWall {
			rules = append(rules, string(p)+"=fail@1")
		}
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
		assert.Equal(t, slices.Contains(h.lanes, laneOwner), ofOwners(h.kind), h.kind)
	}
	for _, a := range first(7, always) {
		assert.NotContains(t, []string{kindRedisTail, kindFailover}, a.Kind)
	}
}
