package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Floor is the shortest allowed gap between two fetches.
const Floor = 15 * time.Minute

// Options are what an expression is checked against.
type Options struct {
	// Floor is the shortest allowed gap between two fires; zero allows any.
	Floor time.Duration
}

// Schedule is one checked expression. It implements robfig's cron.Schedule.
// The zero value means "not set": it never fires.
type Schedule struct {
	expr     string
	every    time.Duration      // for "@every", else zero
	spec     *cron.SpecSchedule // for cron expressions, else nil
	interval time.Duration
}

// Parse reads the expression of a fetch schedule: no gap may be shorter than
// [Floor].
func Parse(expr string) (Schedule, error) {
	return Options{Floor: Floor}.Parse(expr)
}

// Parse reads a cron expression of five fields (minute, hour, day of month,
// month, day of week), a descriptor such as @hourly, or "@every d" with d in
// whole seconds. Errors name the expression and the remedy; one about the
// floor also names the shortest gap and two moments at which it occurs.
func (o Options) Parse(expr string) (Schedule, error) {
	text := strings.TrimSpace(expr)
	switch {
	case text == "":
		return Schedule{}, errors.New(`the schedule is empty; write "@every 15m" or a cron expression like "*/30 * * * *"`)
	case strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ="):
		// robfig/cron v3.0.1 slices out of range on some of these, and
		// replicas in different zones must agree anyway.
		return Schedule{}, fmt.Errorf("%q carries a time zone; schedules are in UTC, remove the prefix", expr)
	}
	if arg, ok := strings.CutPrefix(text, "@every"); ok && (arg == "" || arg[0] == ' ' || arg[0] == '\t') {
		return o.parseEvery(text, strings.TrimSpace(arg))
	}
	return o.parseCron(text)
}

func (o Options) parseEvery(expr, arg string) (Schedule, error) {
	d, err := ParseDuration(arg)
	switch {
	case err != nil:
		return Schedule{}, fmt.Errorf("%q: %w", expr, err)
	case d <= 0:
		return Schedule{}, fmt.Errorf("%q: the interval must be above zero", expr)
	case d%time.Second != 0:
		return Schedule{}, fmt.Errorf("%q: the interval must be in whole seconds", expr)
	case d < o.Floor:
		return Schedule{}, fmt.Errorf("%q: gap of %s between two fires; the shortest allowed is %s", expr, short(d), short(o.Floor))
	}
	return Schedule{expr: expr, every: d, interval: d}, nil
}

func (o Options) parseCron(expr string) (Schedule, error) {
	parsed, err := cron.ParseStandard(expr)
	if err != nil {
		return Schedule{}, fmt.Errorf("%q is not a schedule (%w); write \"@every 15m\" or five fields like \"*/30 * * * *\"", expr, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return Schedule{}, fmt.Errorf("%q is not a schedule; write \"@every 15m\" or five fields like \"*/30 * * * *\"", expr)
	}
	spec.Location = time.UTC
	gap, found := shortestGap(spec)
	if !found {
		return Schedule{}, fmt.Errorf("%q never fires: no such date exists; check its day and month", expr)
	}
	if gap.length() < o.Floor {
		return Schedule{}, fmt.Errorf("%q: gap of %s between %s and %s; the shortest allowed is %s",
			expr, short(gap.length()), stamp(gap.from), stamp(gap.to), short(o.Floor))
	}
	return Schedule{expr: expr, spec: spec, interval: gap.length()}, nil
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }

// String returns the expression as it was written, without surrounding space.
func (s Schedule) String() string { return s.expr }

// IsZero reports whether the schedule is not set.
func (s Schedule) IsZero() bool { return s.expr == "" }

// Interval is the shortest time between two fires.
func (s Schedule) Interval() time.Duration { return s.interval }

// Next returns the first fire after t, in UTC. It is the zero time if there
// is none within five years.
func (s Schedule) Next(t time.Time) time.Time {
	switch {
	case s.every > 0:
		return time.Unix((s.slotOf(t)+1)*s.seconds(), 0).UTC()
	case s.spec != nil:
		return s.spec.Next(t.UTC())
	default:
		return time.Time{}
	}
}

// Slot numbers the latest fire at or before t: for "@every d" it is
// ⌊Unix time / d⌋, for a cron expression the Unix time of that fire in
// seconds. Slots grow with t, and two processes that look at the same moment
// get the same one. It is zero if nothing fired in the twelve years before t.
func (s Schedule) Slot(t time.Time) int64 {
	switch {
	case s.every > 0:
		return s.slotOf(t)
	case s.spec != nil:
		return s.latestFire(t)
	default:
		return 0
	}
}

func (s Schedule) seconds() int64 { return int64(s.every / time.Second) }

func (s Schedule) slotOf(t time.Time) int64 {
	unix, d := t.Unix(), s.seconds()
	slot := unix / d
	if unix%d < 0 { // Go rounds towards zero; before 1970 that is upwards
		slot--
	}
	return slot
}

// latestFire looks back in doubling steps until a fire lies in between, then
// halves the step down to the second: cron expressions can only be asked for
// what comes next.
func (s Schedule) latestFire(t time.Time) int64 {
	const lookBack = 12 * 366 * day
	now := t.Unix()
	firedBy := func(from int64) bool { // is there a fire in (from, now]?
		next := s.spec.Next(time.Unix(from, 0).UTC())
		return !next.IsZero() && next.Unix() <= now
	}
	step := max(int64(s.interval/time.Second), 1)
	for !firedBy(now - step) {
		if step > int64(lookBack/time.Second) {
			return 0
		}
		step *= 2
	}
	low, high := now-step, now // a fire lies in (low, now], none in (high, now]
	for high-low > 1 {
		mid := low + (high-low)/2
		if firedBy(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// UnmarshalText reads the expression of a fetch schedule, as [Parse] does.
func (s *Schedule) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
