package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/worker"
)

func TestParseRoles(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		names []string
		want  Roles
		shown string
	}{
		{[]string{"api", "scheduler", "worker"}, Roles{API: true, Scheduler: true, Worker: true}, "api,scheduler,worker"},
		{[]string{" worker", "api "}, Roles{API: true, Worker: true}, "api,worker"},
		{[]string{"scheduler", "scheduler"}, Roles{Scheduler: true}, "scheduler"},
	} {
		got, err := ParseRoles(row.names)
		require.NoError(t, err)
		assert.Equal(t, row.want, got)
		assert.Equal(t, row.shown, strings.Join(got.names(), ","))
	}
	for _, names := range [][]string{nil, {""}, {"api", "cook"}, {"API"}} {
		got, err := ParseRoles(names)
		require.ErrorContains(t, err, "the roles are api, scheduler and worker")
		assert.Zero(t, got)
	}
}

func TestLifecycleStopsLastToFirstWhateverFails(t *testing.T) {
	t.Parallel()
	l := &lifecycle{log: zerolog.Nop()}
	var order []string
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "of the caller")
	broken, stuck := errors.New("broken"), errors.New("stuck")
	for _, row := range []struct {
		name string
		err  error
	}{{"redis", nil}, {"journal", broken}, {"worker", nil}, {"api", stuck}} {
		l.add(row.name, func(ctx context.Context) error {
			assert.Equal(t, "of the caller", ctx.Value(key{}))
			order = append(order, row.name)
			return row.err
		})
	}
	err := l.stop(ctx)
	assert.Equal(t, []string{"api", "worker", "journal", "redis"}, order)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, err, stuck)
	require.EqualError(t, err, "api: stuck\njournal: broken")
	require.NoError(t, l.stop(ctx), "a second time there is nothing left")
	assert.Len(t, order, 4)
}

func TestFixedKeysAreNamed(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "https://id.acme.example/token")
	before := f.load(t)
	assert.Empty(t, fixed(before, f.load(t)))
	f.acme(t)["timeout"] = "7s"
	f.config["schedule"] = map[string]any{"refresh_at": 0.5}
	f.config["subscriptions"] = []any{map[string]any{
		"name": "ui", "url": "https://app.example/hook", "secret": "whsec_" + strings.Repeat("QUFB", 8), "types": []any{"credential.*"},
	}}
	assert.Empty(t, fixed(before, f.load(t)), "all of these take effect at once")

	for key, value := range map[string]any{
		"listen":         "127.0.0.1:1",
		"data_dir":       "./elsewhere",
		"redis":          map[string]any{"url": "redis://127.0.0.1:6399"},
		"keyset":         map[string]any{"file": "./other.json"},
		"log":            map[string]any{"level": "warn"},
		"metrics_listen": "127.0.0.1:2",
		"events":         map[string]any{"retention": "48h"},
		"recovery":       map[string]any{"quarantine": "11m"},
		"offline_reads":  "1m",
	} {
		f := newFolder(t, "https://id.acme.example/token")
		before := f.load(t)
		f.config[key] = value
		changed := fixed(before, f.load(t))
		require.Len(t, changed, 1, key)
		assert.True(t, strings.HasPrefix(changed[0], key), changed[0])
	}

	after := *before
	after.TLS.Cert, after.TLS.Key = "cert.pem", "key.pem"
	assert.Equal(t, []string{"tls"}, fixed(before, &after))
	after = *before
	after.Redis.URL = credential.NewSecret("redis://:another-password@127.0.0.1:6399")
	assert.Equal(t, []string{"redis"}, fixed(before, &after), "only the password changed")
}

func TestStampsChangeWithTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	list := []string{one, two}
	gone := stampsOf(list)
	require.NoError(t, os.WriteFile(one, []byte("a"), 0o600))
	made := stampsOf(list)
	assert.NotEqual(t, gone, made)
	assert.Equal(t, made, stampsOf(list))
	require.NoError(t, os.Chtimes(one, time.Time{}, time.Now().Add(time.Hour)))
	touched := stampsOf(list)
	assert.NotEqual(t, made, touched)
	require.NoError(t, os.Remove(one))
	assert.Equal(t, gone, stampsOf(list))
	assert.Empty(t, stampsOf(nil))
}

func TestSubscriptionsAreTakenAsConfigured(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "https://id.acme.example/token")
	hook := map[string]any{
		"name": "ui", "url": "https://app.example/hook", "secret": "whsec_" + strings.Repeat("QUFB", 8),
		"types": []any{"credential.*"}, "providers": []any{"acme"},
	}
	f.config["subscriptions"] = []any{hook}
	list, err := outlet{}.subscribed(f.load(t))
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, "ui", list[0].Name)
	assert.Equal(t, []string{"acme"}, list[0].Filter.Providers)

	conf := f.load(t)
	conf.Subscriptions[0].Types = []string{"credential.exploded"}
	_, err = outlet{}.subscribed(conf)
	require.ErrorContains(t, err, "subscriptions.ui: ")
	without(t, err.Error(), "QUFBQUFB")
}

func TestSchedulesAreTheProvidersOwnOrTheCommonOne(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "https://id.acme.example/token")
	f.config["schedule"] = map[string]any{"fetch": "@every 20m"}
	assert.Equal(t, "@every 20m", schedulesOf(f.load(t))["acme"].String())
	f.acme(t)["fetch"] = "*/30 * * * *"
	assert.Equal(t, "*/30 * * * *", schedulesOf(f.load(t))["acme"].String())
}

func TestAdminKeyIsMadeOnceAndWorks(t *testing.T) {
	t.Parallel()
	s, dir, log := openStore(t), t.TempDir(), newLogged()
	require.NoError(t, ensureAdminKey(t.Context(), s, dir, zerolog.New(log)))
	path := filepath.Join(dir, "admin.key")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	text := strings.TrimSuffix(string(data), "\n")
	assert.NotContains(t, log.String(), text)
	assert.Contains(t, log.String(), path)
	key, err := s.KeyByHash(t.Context(), sha256.Sum256([]byte(text)))
	require.NoError(t, err)
	assert.Equal(t, store.KeySpec{Name: "admin", Scopes: []string{string(api.ScopeAdmin)}}, key.KeySpec)

	require.NoError(t, os.Remove(path))
	require.NoError(t, ensureAdminKey(t.Context(), s, dir, zerolog.New(log)))
	assert.NoFileExists(t, path, "lost on purpose stays lost")

	// A store without keys is a new one: what the file says opens nothing.
	require.NoError(t, os.WriteFile(path, []byte("of another store\n"), 0o600))
	fresh := openStore(t)
	require.NoError(t, ensureAdminKey(t.Context(), fresh, dir, zerolog.New(log)))
	data, err = os.ReadFile(path)
	require.NoError(t, err)
	_, err = fresh.KeyByHash(t.Context(), sha256.Sum256([]byte(strings.TrimSpace(string(data)))))
	require.NoError(t, err)
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, list, 1, "nothing else is left behind")
}

// Two first starts of one folder make one key, and the file has it.
func TestFirstStartsAtOnceMakeOneAdminKey(t *testing.T) {
	t.Parallel()
	keys, dir, log := openStore(t), t.TempDir(), newLogged()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "journal"), 0o700))
	var starts sync.WaitGroup
	for range 8 {
		starts.Go(func() {
			conf := &config.Config{DataDir: dir}
			s := &service{opts: Options{Roles: Roles{Worker: true}}, running: conf, log: zerolog.New(log), store: keys}
			s.conf.Store(conf)
			assert.NoError(t, s.ensureAdminKey(t.Context()))
		})
	}
	starts.Wait()
	list, err := keys.ListKeys(t.Context())
	require.NoError(t, err)
	assert.Len(t, list, 1)
	data, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	require.NoError(t, err)
	_, err = keys.KeyByHash(t.Context(), sha256.Sum256([]byte(strings.TrimSpace(string(data)))))
	assert.NoError(t, err)
}

// A start that could not write the file has set up nothing: the next one can.
func TestAdminKeyThatCannotBeWrittenIsNotStored(t *testing.T) {
	t.Parallel()
	s, dir := openStore(t), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "admin.key"), 0o700)) // in the way
	require.ErrorContains(t, ensureAdminKey(t.Context(), s, dir, zerolog.Nop()), "admin key: ")
	require.ErrorContains(t, ensureAdminKey(t.Context(), s, filepath.Join(dir, "missing"), zerolog.Nop()), "admin key: ")
	keys, err := s.ListKeys(t.Context())
	require.NoError(t, err)
	assert.Empty(t, keys)
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, list, 1, "no half-written key is left")
}

func TestSlotInOtherHandsIsToldToTheWorker(t *testing.T) {
	t.Parallel()
	s := fetchSlots{openStore(t)}
	progress, started, err := s.StartSlot(t.Context(), "fetch:acme", 7, "me", time.Minute)
	require.NoError(t, err)
	require.True(t, started)
	assert.Empty(t, progress.Cursor)
	require.NoError(t, s.SaveSlot(t.Context(), "fetch:acme", 7, "me", worker.Progress{Cursor: "1:2", Counts: map[string]int64{"seen": 3}}, time.Minute))
	err = s.SaveSlot(t.Context(), "fetch:acme", 7, "you", worker.Progress{}, time.Minute)
	require.ErrorIs(t, err, worker.ErrSlotLost)
	require.ErrorIs(t, err, store.ErrLeaseLost)
	require.ErrorIs(t, s.FinishSlot(t.Context(), "fetch:acme", 7, "you", nil, "finished"), worker.ErrSlotLost)
	state, err := slotStates(s).Slot(t.Context(), "fetch:acme")
	require.NoError(t, err)
	assert.EqualValues(t, 7, state.Running)
	require.NoError(t, s.FinishSlot(t.Context(), "fetch:acme", 7, "me", map[string]int64{"seen": 3}, "finished"))
	state, err = slotStates(s).Slot(t.Context(), "fetch:acme")
	require.NoError(t, err)
	assert.EqualValues(t, 7, state.Done)
	assert.Zero(t, state.Running)
}
