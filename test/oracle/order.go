package oracle

import (
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// Call is what was seen of a call right before the process that made it. The
// moments are Unix ns.
type Call struct {
	Asked int64 // it had been asked
	Left  int64 // its process had hung up or died, and had no reply; 0: it did neither
}

// Late tells which senders of calls had left before the provider looked at them:
// those whose call waited on the provider's machine for as long as its sender waits
// for a reply, and whose reply did not arrive.
func Late(ledger []practice.Entry, timeout time.Duration) map[uint64]Call {
	calls := make(map[uint64]Call, len(ledger))
	for _, e := range ledger {
		one := Call{Asked: e.Arrived}
		if e.Received-e.Arrived >= int64(timeout) && !e.Delivered && !e.InAir {
			one.Left = e.Arrived + int64(timeout)
		}
		calls[e.Seq] = one
	}
	return calls
}

// Overtaken counts the logins that ended because the provider looked at a call
// after one that was made when its sender had left.
func Overtaken(e Evidence) int {
	c, count := newTrial(e), 0
	for _, f := range c.families {
		if c.overtaken(f) {
			count++
		}
	}
	return count
}

// enter adds a call to those about its grant. The ledger has them in the order
// in which the provider looked at them, which may be seconds after their senders
// left: such a one counts from when it was asked, and stands before all that
// were asked when its sender had left. All others stay as they are.
func (c *trial) enter(f *family, e practice.Entry) {
	at := len(f.entries)
	if way := c.Calls[e.Seq]; way.Left != 0 {
		e.Received = way.Asked
		if first := slices.IndexFunc(f.entries, func(later practice.Entry) bool { return c.leftBefore(e, later) }); first >= 0 {
			at = first
		}
	}
	f.entries = slices.Insert(f.entries, at, e)
}

// leftBefore reports whether the sender of a had left, without a reply, before b
// was asked.
func (c *trial) leftBefore(a, b practice.Entry) bool {
	left := c.Calls[a.Seq].Left
	return left != 0 && left <= c.Calls[b.Seq].Asked
}

// overtaken reports whether a grant was ended for reuse by a call that the
// provider looked at too late: what had spent its token was asked when its
// sender had left. Who asked then could not know, and P1 says whether he was
// allowed to.
func (c *trial) overtaken(f *family) bool {
	return slices.ContainsFunc(f.entries, func(late practice.Entry) bool {
		return late.Verdict == practice.OutcomeReuse && slices.ContainsFunc(f.entries, func(e practice.Entry) bool {
			return e.Generation == late.Generation && e.RotatedAt != 0 && c.leftBefore(late, e)
		})
	})
}
