//go:build !linux

package clock

import (
	"time"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// started anchors Boot where the system has no boot-time clock that Go offers.
var started = time.Now() //nolint:gochecknoglobals // an anchor of the monotonic clock, never written again

// Boot returns the time since the process was started. Outside Linux it may
// stand still while the machine is suspended.
func Boot() time.Duration { return time.Since(started) + failpoint.Offset(failpoint.ClockBoot) }
