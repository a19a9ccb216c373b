// Package schedule says when periodic work is due: it reads cron expressions
// and "@every" intervals, refuses those that would fire too often or never,
// and numbers the moments at which they fire, so that replicas and restarts
// agree on them.
//
// Everything is in UTC and a pure function of its arguments; nothing here
// looks at a clock.
package schedule
