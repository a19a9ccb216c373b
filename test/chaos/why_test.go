package chaos

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/oracle"
)

const (
	// nearly is how much less than its whole timeout a replica may seem to have
	// waited for a reply: its time begins before the tap has the request, by 310 ms
	// on a machine at a load of 27.
	nearly = 400 * time.Millisecond
	// about is how far apart a fault and what it does may be noted.
	about = 500 * time.Millisecond
)

// endless is a provider's fault of which a process reads as much as it ever reads
// of a reply, which does not take it long, and then hangs up.
const endless = string(practice.KindMalformed) + ":" + string(practice.FormEndless)

// laneBusy is the error of an act that was left out.
const laneBusy = "its lane was busy"

// faults are those that may have kept replies from their replicas.
type faults struct {
	done  []done
	kills []oracle.Kill
}

// why names the injected fault for which the reply to a call did not come, "" if
// there is none. Where the replica hung up first, only its own death explains it,
// or that it had waited for as long as it is told to.
func (f faults) why(provider string, e practice.Entry, c call) string {
	from, to := e.Received, max(e.RepliedAt, e.Received+int64(exchangeTime))
	if c.Asked != 0 {
		from = c.Asked
	}
	if c.Ended != 0 {
		to = c.Ended
	}
	replica := laneReplica(c.Replica)
	switch killed := f.killed(replica, from, to); {
	case c.Number == 0 && c.From == 0:
		return "" // whose it was is not known
	case killed:
		return "its process was killed"
	case unreadable(e.Fault):
		return e.Fault
	case c.Left && e.Fault == endless:
		return e.Fault // it reads so much of a reply and no more
	case c.Left && time.Duration(c.Ended-c.Asked) >= exchangeTime-nearly:
		return "it came too late"
	case c.Left:
		return ""
	case breaksOff(e.Fault):
		return e.Fault
	case c.Asked == 0 && e.Fault == string(practice.KindSlow) && (e.RepliedAt == 0 || e.RepliedAt-e.Received >= int64(exchangeTime)):
		return e.Fault // in a folder of before the taps told who hung up
	case f.spoilt(laneToProvider(c.Replica, provider), from, to):
		return "the way was spoilt"
	default:
		return ""
	}
}

// breaksOff reports whether a provider's fault ends the connection before the
// end of the reply.
func breaksOff(fault string) bool {
	kind, form, _ := strings.Cut(fault, ":")
	switch practice.Kind(kind) {
	case practice.KindLost, practice.KindCut, practice.KindHang:
		return true
	case practice.KindMalformed:
		return slices.Contains([]practice.Form{
			practice.FormCutChunks, practice.FormWrongContentLength, practice.FormEndless, practice.FormDrip,
		}, practice.Form(form))
	case practice.KindStatus, practice.KindSlow:
		return false
	default:
		return false
	}
}

func (f faults) killed(replica string, from, to int64) bool {
	return slices.ContainsFunc(f.kills, func(k oracle.Kill) bool {
		at := k.At.UnixNano()
		return k.Owner == replica && at >= from-int64(about) && at <= to+int64(about)
	})
}

// spoilt reports whether something was done to a lane meanwhile. Its end counts
// as well: then a good link takes the place of the bad one.
func (f faults) spoilt(lane string, from, to int64) bool {
	return slices.ContainsFunc(f.done, func(d done) bool {
		return d.Lane == lane && d.Err != laneBusy && d.Began.UnixNano() <= to+int64(about) && d.Ended.UnixNano() >= from-int64(about)
	})
}

// whys are the reasons for all replies that did not come, or what is known of
// those that have none.
func (f faults) whys(provider string, ledger []practice.Entry, by map[uint64]call) *oracle.Reasons {
	r := &oracle.Reasons{Known: map[uint64]string{}, Else: map[uint64]string{}}
	for _, e := range ledger {
		if e.Delivered {
			continue
		}
		c := by[e.Seq]
		if why := f.why(provider, e, c); why != "" {
			r.Known[e.Seq] = why
			continue
		}
		switch {
		case c.Left:
			r.Else[e.Seq] = fmt.Sprintf("%s hung up %s after it had asked", laneReplica(c.Replica), time.Duration(c.Ended-c.Asked))
		case c.From == 0:
			r.Else[e.Seq] = "nobody knows who had asked"
		default:
			r.Else[e.Seq] = laneReplica(c.Replica) + " did not hang up"
		}
	}
	return r
}

// Each row is a reply that did not come, and whether anything was done to it.
func TestWhyAReplyDidNotCome(t *testing.T) {
	t.Parallel()
	const received = int64(time.Minute)
	at := func(after time.Duration) int64 { return received + int64(after) }
	moment := func(after time.Duration) time.Time { return time.Unix(0, at(after)) }
	left := func(after time.Duration) call {
		return call{Replica: 1, Number: 1, From: received, To: received, way: way{Asked: received, Ended: at(after), Left: true}}
	}
	cutOff := left(20 * time.Millisecond)
	cutOff.Left = false
	act := func(lane string, from, to time.Duration) faults {
		return faults{done: []done{{act: act{Lane: lane}, Began: moment(from), Ended: moment(to)}}}
	}
	kill := func(owner string, after time.Duration) faults {
		return faults{kills: []oracle.Kill{{Owner: owner, At: moment(after)}}}
	}
	busy := act("r1-strict", 0, time.Second)
	busy.done[0].Err = laneBusy
	const slow, lost, flood = "slow", "lost", "malformed:flood_1xx"
	for name, row := range map[string]struct {
		faults faults
		fault  string
		call   call
		why    string
	}{
		"nothing":                          {faults{}, "", cutOff, ""},
		"nobody knows who asked":           {act("r0-strict", 0, time.Second), lost, call{}, ""},
		"lost by the provider":             {faults{}, lost, cutOff, lost},
		"an error that came whole":         {faults{}, "status", cutOff, ""},
		"the way was spoilt":               {act("r1-strict", -time.Second, 10*time.Millisecond), "", cutOff, "the way was spoilt"},
		"the way was mended before":        {act("r1-strict", -3*time.Second, -2*time.Second), "", cutOff, ""},
		"the way was spoilt later":         {act("r1-strict", 2*time.Second, 3*time.Second), "", cutOff, ""},
		"the way of another":               {act("r2-strict", -time.Second, time.Second), "", cutOff, ""},
		"the way to another":               {act("r1-grace", -time.Second, time.Second), "", cutOff, ""},
		"an act that was left out":         {busy, "", cutOff, ""},
		"killed":                           {kill("r1", 10*time.Millisecond), "", left(20 * time.Millisecond), "its process was killed"},
		"another was killed":               {kill("r2", 10*time.Millisecond), "", left(20 * time.Millisecond), ""},
		"killed long after":                {kill("r1", 5*time.Second), "", left(20 * time.Millisecond), ""},
		"it waited for its timeout":        {faults{}, slow, left(exchangeTime), "it came too late"},
		"it gave up early":                 {faults{}, "", left(exchangeTime / 2), ""},
		"it gave up early, and it is slow": {faults{}, slow, left(exchangeTime / 2), ""},
		"it gave up early, on a bad way":   {act("r1-strict", -time.Second, time.Second), "", left(exchangeTime / 2), ""},
		"it gave up early, with a fault":   {faults{}, "malformed:drip", left(exchangeTime / 2), ""},
		"it hung up on an endless reply":   {faults{}, endless, left(exchangeTime / 2), endless},
		"it hung up on a flood":            {faults{}, flood, left(time.Millisecond), flood},
	} {
		assert.Equal(t, row.why, row.faults.why(strict, practice.Entry{Seq: 1, Received: received, Fault: row.fault}, row.call), name)
	}
	reasons := faults{}.whys(strict, []practice.Entry{
		{Seq: 1, Received: received}, {Seq: 2, Received: received, Fault: lost}, {Seq: 3, Received: received, Delivered: true}, {Seq: 4},
	}, map[uint64]call{1: left(exchangeTime / 2), 2: cutOff, 3: cutOff})
	assert.Equal(t, map[uint64]string{2: lost}, reasons.Known)
	assert.Equal(t, map[uint64]string{1: "r1 hung up 500ms after it had asked", 4: "nobody knows who had asked"}, reasons.Else)
}
