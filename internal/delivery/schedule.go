package delivery

import (
	"errors"
	"fmt"
	"time"
)

// RetrySchedule returns the waits before each delivery of one event, as
// Standard Webhooks recommends them. After the last one the endpoint is
// disabled; its cursor stays.
func RetrySchedule() []time.Duration {
	return []time.Duration{
		0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// CheckSchedule refuses a schedule that does not begin with 0, the first
// delivery, or repeats one after less than 10 ms.
func CheckSchedule(schedule []time.Duration) error {
	if len(schedule) == 0 || schedule[0] != 0 {
		return errors.New("a schedule begins with 0s, the first delivery of an event")
	}
	for i, wait := range schedule[1:] {
		if wait < minWait {
			return fmt.Errorf("wait %d of the schedule is %s; %s is the shortest", i+1, wait, minWait)
		}
	}
	return nil
}
