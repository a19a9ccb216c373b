package clock

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// Boot returns the time since the machine was booted, suspension included
// (CLOCK_BOOTTIME, clock_gettime(2)).
func Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // has existed since Linux 2.6.39
	}
	return time.Duration(ts.Nano()) + failpoint.Offset(failpoint.ClockBoot)
}
