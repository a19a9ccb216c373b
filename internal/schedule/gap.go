package schedule

import (
	"math/bits"
	"time"

	"github.com/robfig/cron/v3"
)

// The window in which gaps are looked for: 28 years, after which weekdays,
// dates and leap days meet in the same way again (until 2100). A cron
// expression fires at the same times on each of its days, so it is enough to
// walk the days.
const (
	firstYear = 2024
	lastYear  = firstYear + 28
)

type gap struct{ from, to time.Time }

func (g gap) length() time.Duration { return g.to.Sub(g.from) }

// shortestGap finds the shortest time between two consecutive fires, and the
// first place where it occurs; false if the expression never fires.
func shortestGap(spec *cron.SpecSchedule) (gap, bool) {
	times := timesOfDay(spec)
	if len(times) == 0 {
		return gap{}, false
	}
	days := matchingDays(spec)
	first := days(time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second))
	if first.IsZero() {
		return gap{}, false
	}

	var best gap
	consider := func(from, to time.Time) {
		if best.to.IsZero() || to.Sub(from) < best.length() {
			best = gap{from, to}
		}
	}
	for i := range len(times) - 1 {
		consider(first.Add(times[i]), first.Add(times[i+1]))
	}
	// What lies between the last fire of a day and the first of the next one
	// depends on how far apart these days are; none are closer than a day.
	overnight := times[0] - times[len(times)-1]
	for at := first; ; {
		if !best.to.IsZero() && best.length() <= day+overnight {
			return best, true
		}
		next := days(at)
		if next.IsZero() || next.Year() >= lastYear {
			break
		}
		consider(at.Add(times[len(times)-1]), next.Add(times[0]))
		at = next
	}
	return best, !best.to.IsZero()
}

// timesOfDay lists when, after midnight, the expression fires on its days.
// The two fields are bit sets, the bit's number being the minute or hour.
func timesOfDay(spec *cron.SpecSchedule) []time.Duration {
	times := make([]time.Duration, 0, bits.OnesCount64(spec.Hour)+bits.OnesCount64(spec.Minute))
	for hour := range 24 {
		for minute := range 60 {
			if spec.Hour&(1<<hour) != 0 && spec.Minute&(1<<minute) != 0 {
				times = append(times, time.Duration(hour)*time.Hour+time.Duration(minute)*time.Minute)
			}
		}
	}
	return times
}

// matchingDays returns a function that finds the first day after t, at
// midnight, on which the expression fires; the zero time if there is none
// within five years.
func matchingDays(spec *cron.SpecSchedule) func(t time.Time) time.Time {
	if spec.Dom == 0 || spec.Month == 0 || spec.Dow == 0 {
		return func(time.Time) time.Time { return time.Time{} } // an empty list, such as ","
	}
	midnight := *spec
	midnight.Hour, midnight.Minute, midnight.Second = 1, 1, 1
	return midnight.Next
}
