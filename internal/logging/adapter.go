package logging

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Asynq is asynq's Logger on top of zerolog.
type Asynq struct{ log zerolog.Logger }

// NewAsynq returns a logger for asynq's servers and schedulers.
func NewAsynq(l zerolog.Logger) Asynq { return Asynq{Component(l, "asynq")} }

// Debug logs at debug level.
func (a Asynq) Debug(args ...any) { a.line(zerolog.DebugLevel, args) }

// Info logs at info level.
func (a Asynq) Info(args ...any) { a.line(zerolog.InfoLevel, args) }

// Warn logs at warn level.
func (a Asynq) Warn(args ...any) { a.line(zerolog.WarnLevel, args) }

// Error logs at error level.
func (a Asynq) Error(args ...any) { a.line(zerolog.ErrorLevel, args) }

// Fatal logs at fatal level. It does not end the process as asynq's own
// logger does: a sent refresh must run to its end, and that is for the
// program's shutdown to see to.
func (a Asynq) Fatal(args ...any) { a.line(zerolog.FatalLevel, args) }

func (a Asynq) line(level zerolog.Level, args []any) {
	a.log.WithLevel(level).Msg(fmt.Sprint(args...))
}

// Redis is go-redis's logger (see redis.SetLogger) on top of zerolog.
type Redis struct{ log zerolog.Logger }

// NewRedis returns a logger for go-redis. It passes at most 10 lines in 10 s:
// while Redis is away, go-redis has one for every failed dial.
func NewRedis(l zerolog.Logger) Redis {
	const lines, period = 10, 10 * time.Second
	return Redis{Component(l, "redis").Sample(&zerolog.BurstSampler{Burst: lines, Period: period})}
}

// Printf logs at warn level: go-redis speaks up when something went wrong,
// except about the topology that Sentinel tells it, which is info.
func (r Redis) Printf(_ context.Context, format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	level := zerolog.WarnLevel
	if strings.HasPrefix(line, "sentinel: ") && !strings.Contains(line, "failed") {
		level = zerolog.InfoLevel
	}
	r.log.WithLevel(level).Msg(line)
}

// Slog returns a logger for libraries that want log/slog.
func Slog(l zerolog.Logger) *slog.Logger {
	return slog.New(slogHandler{zerolog.NewSlogHandler(l)})
}

// slogHandler drops the record's own time: the logger stamps every line.
type slogHandler struct{ next slog.Handler }

func (h slogHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h slogHandler) Handle(ctx context.Context, r slog.Record) error {
	stripped := slog.NewRecord(time.Time{}, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		stripped.AddAttrs(a)
		return true
	})
	return h.next.Handle(ctx, stripped)
}

func (h slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return slogHandler{h.next.WithAttrs(attrs)}
}

func (h slogHandler) WithGroup(name string) slog.Handler {
	return slogHandler{h.next.WithGroup(name)}
}

// HTTPErrors returns a logger for http.Server's ErrorLog. Its lines are warn
// level (no file descriptor left, for one), but a handler's panic is error
// level and a TLS handshake that a client broke off is debug level, so that
// port scanners do not fill the log.
func HTTPErrors(l zerolog.Logger) *log.Logger {
	return log.New(httpErrors{l}, "", 0)
}

type httpErrors struct{ log zerolog.Logger }

// Write logs one call's text as one line.
func (w httpErrors) Write(p []byte) (int, error) {
	level := zerolog.WarnLevel
	switch {
	case bytes.HasPrefix(p, []byte("http: panic")):
		level = zerolog.ErrorLevel
	case bytes.HasPrefix(p, []byte("http: TLS handshake error")):
		level = zerolog.DebugLevel
	}
	w.log.WithLevel(level).Msg(string(bytes.TrimSpace(p)))
	return len(p), nil
}
