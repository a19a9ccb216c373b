package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/logging"
)

// The libraries take these as they are (go-redis names its interface in an
// internal package, so a call stands for it).
var (
	_ asynq.Logger = logging.Asynq{}
	_              = func(r logging.Redis) { redis.SetLogger(r) }
)

// lines decodes what was logged; a key that occurs twice in a line fails.
func lines(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out.String()) {
		fields := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		assert.Equal(t, 1, strings.Count(line, `"time":`), line)
		all = append(all, fields)
	}
	return all
}

func TestLevelAndTime(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]int{"trace": 5, "debug": 4, "info": 3, "warn": 2, "error": 1, "": 3, "loud": 3} {
		var out bytes.Buffer
		l := logging.New(logging.Options{Level: level, Out: &out})
		l.Trace().Msg("t")
		l.Debug().Msg("d")
		l.Info().Msg("i")
		l.Warn().Msg("w")
		l.Error().Msg("e")
		got := lines(t, &out)
		assert.Len(t, got, want, level)
		stamp, ok := got[0]["time"].(string)
		require.True(t, ok)
		at, err := time.Parse("2006-01-02T15:04:05.000Z", stamp)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), at, time.Hour)
	}
}

func TestConsoleIsReadableAndUncolouredIntoAFile(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := logging.New(logging.Options{Format: logging.Console, Out: &out})
	l.Warn().Str("provider", "acme").Msg("slow")
	assert.Regexp(t, `^\d\d:\d\d:\d\d WRN slow provider=acme\n$`, out.String())
}

func TestAsynqLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := logging.NewAsynq(logging.New(logging.Options{Level: "debug", Out: &out}))
	a.Debug("a", 1)
	a.Info("b")
	a.Warn("c")
	a.Error("d")
	a.Fatal("e") // and the process lives
	var got []string
	for _, f := range lines(t, &out) {
		assert.Equal(t, "asynq", f["component"])
		got = append(got, fmt.Sprint(f["level"], " ", f["message"]))
	}
	assert.Equal(t, []string{"debug a1", "info b", "warn c", "error d", "fatal e"}, got)
}

func TestRedisLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := logging.NewRedis(logging.New(logging.Options{Out: &out}))
	r.Printf(t.Context(), "sentinel: new master=%q addr=%q", "m", "a")
	r.Printf(t.Context(), "sentinel: Sentinels master=%q failed: %s", "m", "x")
	r.Printf(t.Context(), "pool: %d", 1)
	got := lines(t, &out)
	require.Len(t, got, 3)
	assert.Equal(t, []any{"info", "warn", "warn"}, []any{got[0]["level"], got[1]["level"], got[2]["level"]})
	assert.Equal(t, `sentinel: new master="m" addr="a"`, got[0]["message"])
	assert.Equal(t, "redis", got[2]["component"])
}

func TestRedisLinesAreFewWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := logging.NewRedis(logging.New(logging.Options{Out: &out}))
		burst := func() {
			for range 1000 {
				r.Printf(t.Context(), "failed to dial")
			}
		}
		burst()
		assert.Len(t, lines(t, &out), 10)
		<-time.After(11 * time.Second)
		burst()
		assert.Len(t, lines(t, &out), 20)
	})
}

func TestHTTPErrorLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	srv := http.Server{
		ErrorLog:          logging.HTTPErrors(logging.New(logging.Options{Level: "debug", Out: &out})),
		ReadHeaderTimeout: time.Second,
	}
	srv.ErrorLog.Printf("http: TLS handshake error from %s: EOF", "x")
	srv.ErrorLog.Printf("http: panic serving x: y\nstack")
	srv.ErrorLog.Printf("http: Accept error: no file; retrying in 1s")
	got := lines(t, &out)
	require.Len(t, got, 3)
	assert.Equal(t, "debug", got[0]["level"])
	assert.Equal(t, "error", got[1]["level"])
	assert.Equal(t, "http: panic serving x: y\nstack", got[1]["message"])
	assert.Equal(t, "warn", got[2]["level"])
}

func TestSlogLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := logging.Slog(logging.New(logging.Options{Out: &out}))
	s.Debug("hidden")
	s.With("a", 1).Warn("shown", slog.Group("g", "b", 2))
	got := lines(t, &out)
	require.Len(t, got, 1)
	assert.Equal(t, "shown", got[0]["message"])
	assert.EqualValues(t, 1, got[0]["a"])
	assert.EqualValues(t, 2, got[0]["g.b"])
}

// marshaled logs itself as an object that holds a secret.
type marshaled struct{ Token credential.Secret }

func (m marshaled) MarshalZerologObject(e *zerolog.Event) {
	e.Stringer("token", m.Token).Interface("again", m.Token)
}

type nested struct {
	Name    string
	Token   credential.Secret
	pointer *credential.Secret
}

// TestSecretNeverShows logs a secret through every way that takes a value.
func TestSecretNeverShows(t *testing.T) {
	t.Parallel()
	const value = "s3cr3t-value-that-must-not-show"
	secret := credential.NewSecret(value)
	inside := nested{Name: "n", Token: secret, pointer: &secret}
	ways := map[string]func(*zerolog.Event) *zerolog.Event{
		"Interface":        func(e *zerolog.Event) *zerolog.Event { return e.Interface("k", secret) },
		"InterfacePointer": func(e *zerolog.Event) *zerolog.Event { return e.Interface("k", &secret) },
		"InterfaceStruct":  func(e *zerolog.Event) *zerolog.Event { return e.Interface("k", inside) },
		"InterfaceSlice":   func(e *zerolog.Event) *zerolog.Event { return e.Interface("k", []credential.Secret{secret}) },
		"Any":              func(e *zerolog.Event) *zerolog.Event { return e.Any("k", map[string]any{"x": secret}) },
		"Stringer":         func(e *zerolog.Event) *zerolog.Event { return e.Stringer("k", secret) },
		"Stringers":        func(e *zerolog.Event) *zerolog.Event { return e.Stringers("k", []fmt.Stringer{secret}) },
		"Object":           func(e *zerolog.Event) *zerolog.Event { return e.Object("k", marshaled{secret}) },
		"EmbedObject":      func(e *zerolog.Event) *zerolog.Event { return e.EmbedObject(marshaled{secret}) },
		"Array":            func(e *zerolog.Event) *zerolog.Event { return e.Array("k", zerolog.Arr().Interface(secret)) },
		"Dict":             func(e *zerolog.Event) *zerolog.Event { return e.Dict("k", zerolog.Dict().Any("x", secret)) },
		"Err":              func(e *zerolog.Event) *zerolog.Event { return e.Err(fmt.Errorf("bad %v", secret)) },
		"ErrWrapped":       func(e *zerolog.Event) *zerolog.Event { return e.Err(fmt.Errorf("a: %w", fmt.Errorf("b %+v", inside))) },
		"AnErr":            func(e *zerolog.Event) *zerolog.Event { return e.AnErr("k", errors.New(fmt.Sprint(secret))) },
		"Errs":             func(e *zerolog.Event) *zerolog.Event { return e.Errs("k", []error{fmt.Errorf("%q", secret)}) },
		"FieldsMap":        func(e *zerolog.Event) *zerolog.Event { return e.Fields(map[string]any{"k": secret, "s": inside}) },
		"FieldsSlice":      func(e *zerolog.Event) *zerolog.Event { return e.Fields([]any{"k", secret, "p", &secret}) },
		"StrSprintf": func(e *zerolog.Event) *zerolog.Event {
			return e.Str("k", fmt.Sprintf("%s %x %d", secret, secret, secret))
		},
		"StrSprintfGo":      func(e *zerolog.Event) *zerolog.Event { return e.Str("k", fmt.Sprintf("%#v %#v", secret, inside)) },
		"Type":              func(e *zerolog.Event) *zerolog.Event { return e.Type("k", secret) },
		"Msgf":              func(e *zerolog.Event) *zerolog.Event { e.Msgf("it is %v, %+v", secret, inside); return nil },
		"MsgFuncAndFunc":    func(e *zerolog.Event) *zerolog.Event { return e.Func(func(e *zerolog.Event) { e.Any("k", secret) }) },
		"BytesOfMarshalTxt": func(e *zerolog.Event) *zerolog.Event { b, _ := secret.MarshalText(); return e.Bytes("k", b) },
	}
	for name, way := range ways {
		for _, format := range []string{logging.JSON, logging.Console} {
			var out bytes.Buffer
			l := logging.New(logging.Options{Format: format, Out: &out})
			if e := way(l.Info()); e != nil {
				e.Send()
			}
			assert.NotEmpty(t, out.String(), name)
			assert.NotContains(t, out.String(), value, name)
		}
	}

	var out bytes.Buffer
	l := logging.New(logging.Options{Out: &out})
	with := l.With().Any("a", secret).Stringer("b", secret).Interface("c", inside).Fields(map[string]any{"d": secret}).Logger()
	with.Info().Msg("context")
	s := logging.Slog(l).With("with", secret)
	s.Info("slog", "k", secret, slog.Any("any", inside), slog.Group("g", "x", &secret))
	s.WithGroup("w").Info("slog", "map", map[string]any{"x": secret})
	logging.NewAsynq(l).Error("asynq ", secret, inside)
	logging.NewRedis(l).Printf(t.Context(), "redis %v %+v", secret, inside)
	logging.HTTPErrors(l).Printf("http %v", secret)
	require.Len(t, lines(t, &out), 6)
	assert.NotContains(t, out.String(), value)
	assert.Contains(t, out.String(), "<secret>")
}
