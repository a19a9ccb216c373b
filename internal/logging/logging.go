// Package logging makes the program's logger and gives the libraries it uses
// (asynq, go-redis, net/http and whatever wants log/slog) a way into it, so
// that there is one sink and one format. It holds no logger of its own: each
// is passed by hand.
package logging

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// The formats of [Options].
const (
	JSON    = "json"    // one JSON object a line
	Console = "console" // for people; coloured on a terminal unless NO_COLOR is set
)

// timeFormat is RFC 3339 in UTC with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// Options say what is logged, how and where to.
type Options struct {
	Level  string // trace, debug, info, warn or error; anything else counts as info
	Format string // [JSON] or [Console]; anything else counts as JSON
	Out    io.Writer
}

// New makes a logger. Every line carries "time", in UTC with milliseconds.
// Writes to Out happen one line at a time.
func New(o Options) zerolog.Logger {
	out := zerolog.SyncWriter(o.Out)
	if o.Format == Console {
		out = zerolog.ConsoleWriter{Out: out, NoColor: !colours(o.Out), TimeFormat: time.TimeOnly}
	}
	level, err := zerolog.ParseLevel(o.Level)
	if err != nil || o.Level == "" {
		level = zerolog.InfoLevel
	}
	return zerolog.New(out).Level(level).Hook(stamp{})
}

// Component returns a logger whose lines carry the component's name.
func Component(l zerolog.Logger, name string) zerolog.Logger {
	return l.With().Str("component", name).Logger()
}

// stamp adds the time itself, because zerolog's own format and zone are
// package-wide variables.
type stamp struct{}

func (stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(timeFormat))
}

func colours(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}
