package redisconn

import "time"

// Promise is what a server promises about acknowledged writes, as of a moment
// ago. It is never changed once it was published.
type Promise struct {
	View      View // the last that there was
	Level     Level
	Loss      time.Duration // of [LossWindow]
	Findings  []Finding     // of [Assess]
	Away      bool          // the server did not answer the last time, or was not asked yet
	AwaySince time.Time     // the first time that it did not; zero while it answers
}

// unasked is what is known before the first view: nothing.
func unasked() Promise {
	return Promise{Level: LevelUnknown, Loss: LossWindow(View{}, View{}), Away: true}
}

// next is what is known after another view, or after none could be had. What
// was known before an outage stays: whoever keeps writes for the time in which
// Redis may lose them does not count an outage towards it.
func (p Promise) next(v View, err error, now time.Time) Promise {
	if err != nil {
		p.Away = true
		if p.AwaySince.IsZero() {
			p.AwaySince = now
		}
		return p
	}
	return Promise{View: v, Level: v.Level(), Loss: LossWindow(v, p.View), Findings: Assess(v, p.View)}
}

// Words say what a crash of the server can lose.
func (p Promise) Words() string {
	switch p.Level {
	case LevelInProcess:
		return "in-process store: what changed since the last snapshot is lost with the process; received tokens are in the journal"
	case LevelEveryWrite:
		return "appendfsync always: an acknowledged write is on disk"
	case LevelEverySecond:
		return "appendfsync everysec: a crash of the machine can lose the last second or more; the journal keeps received tokens meanwhile"
	case LevelSystem:
		return "appendfsync no: a crash of the machine can lose the last minute; the journal keeps received tokens meanwhile"
	case LevelSnapshots:
		return "no append-only file: a crash of Redis loses what changed since its last snapshot; the journal keeps received tokens until the next one"
	case LevelMemory:
		return "it persists nothing: its next restart loses every credential"
	case LevelUnknown:
	}
	return "unknown, Redis does not say"
}

// Trouble are the findings that are not in order, the worst first.
func (p Promise) Trouble() []Finding {
	var list []Finding
	for _, f := range p.Findings {
		if f.Severity != SeverityOK {
			list = append(list, f)
		}
	}
	return list
}

// Connected is how many replicas there are, whether they keep up or not.
func (p Promise) Connected() int { return max(len(p.View.Replicas), p.View.Durability.Replicas) }

// Confirmed reports whether a beginning can be waited for until nothing takes
// it back.
func (p Promise) Confirmed() bool { return !p.Away && p.View.Waits().Enough }
