package subscription

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

const canary = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// memory is a store in memory, which several books may share.
type memory struct {
	mu       sync.Mutex
	records  map[string]Record
	deleted  map[string]credential.Millis
	revision uint64
	now      credential.Millis
	err      error  // of the next calls
	besides  error  // of Read, beside what it returns
	meddle   func() // called before the next Save or Remove
	forgot   []string
}

func newMemory() *memory {
	return &memory{records: map[string]Record{}, deleted: map[string]credential.Millis{}, now: 1_800_000_000_000}
}

func (m *memory) Revision(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision, m.err
}

func (m *memory) Read(context.Context) (Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stored{Deleted: maps.Clone(m.deleted), Revision: m.revision}
	for _, name := range slices.Sorted(maps.Keys(m.records)) {
		s.Records = append(s.Records, m.records[name])
	}
	return s, errors.Join(m.err, m.besides)
}

// before lets somebody else come first, once.
func (m *memory) before() {
	m.mu.Lock()
	meddle := m.meddle
	m.meddle = nil
	m.mu.Unlock()
	if meddle != nil {
		meddle()
	}
}

func (m *memory) Save(_ context.Context, r Record) (Record, error) {
	m.before()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return Record{}, m.err
	}
	if m.records[r.Name].Version != r.Version {
		return Record{}, ErrChanged
	}
	r.Version++
	r.UpdatedAt = m.now
	if r.CreatedAt == 0 {
		r.CreatedAt = m.now
	}
	m.records[r.Name] = r
	m.revision++
	return r, nil
}

func (m *memory) Remove(_ context.Context, name string, version uint64) error {
	m.before()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[name].Version != version {
		return ErrChanged
	}
	delete(m.records, name)
	m.deleted[name] = m.now
	m.revision++
	return nil
}

func (m *memory) Forget(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.deleted, name)
	m.forgot = append(m.forgot, name)
	m.revision++
	return nil
}

func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *memory) clock() credential.Millis {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// bundle is a book and what it has applied.
type bundle struct {
	*Book

	log     bytes.Buffer
	applied [][]string // names, each time
	refuse  error      // of Apply
}

func setup(m *memory) *bundle {
	b := &bundle{}
	b.Book = NewBook(Options{
		Store: m, Now: m.clock, Log: zerolog.New(&b.log), Rules: rules,
		Apply: func(_ context.Context, list []Entry) error {
			if b.refuse != nil {
				return b.refuse
			}
			names := make([]string, len(list))
			for i, entry := range list {
				names[i] = entry.Name
			}
			b.applied = append(b.applied, names)
			return nil
		},
	})
	return b
}

// last is what was applied last.
func (b *bundle) last() []string {
	if len(b.applied) == 0 {
		return nil
	}
	return b.applied[len(b.applied)-1]
}

func rules() Rules { return Rules{Provider: func(name string) bool { return name == "acme" }} }

func settings(name string) Settings {
	return Settings{
		Name: name, URL: "https://hooks.example/" + name, Format: FormatWebhook, Types: []string{"*"}, Enabled: true,
		Secrets: []SigningSecret{{Secret: credential.NewSecret(canary)}},
	}
}

func nothing() func() { return func() {} }

func TestBookFromCreationToDeletion(t *testing.T) {
	t.Parallel()
	m := newMemory()
	b := setup(m)
	require.NoError(t, b.SetConfigured(t.Context(), []Settings{settings("fixed")}, nothing))
	wanted := settings("ui")
	wanted.Providers, wanted.Prefix, wanted.Labels = []string{"acme"}, "a:", map[string]string{"team": "blue"}
	wanted.Retry = []time.Duration{10 * time.Millisecond, time.Hour}
	made, err := b.Create(t.Context(), wanted)
	require.NoError(t, err)
	assert.Equal(t, uint64(1), made.Version)
	assert.Equal(t, m.now, made.CreatedAt)
	assert.Equal(t, []string{"fixed", "ui"}, b.last())
	found, err := b.Find(t.Context(), "ui")
	require.NoError(t, err)
	assert.Equal(t, wanted, found.Settings, "as it was sealed and opened again")
	assert.False(t, found.Configured)

	_, err = b.Create(t.Context(), settings("ui"))
	require.ErrorIs(t, err, ErrExists)
	_, err = b.Create(t.Context(), settings("fixed"))
	require.ErrorIs(t, err, ErrExists)
	next := settings("ui")
	next.Secrets, next.Enabled = nil, false
	changed, err := b.Replace(t.Context(), next)
	require.NoError(t, err)
	assert.Equal(t, wanted.Secrets, changed.Secrets, "they stay")
	assert.False(t, changed.Enabled)
	assert.Equal(t, made.CreatedAt, changed.CreatedAt)
	on, err := b.SetEnabled(t.Context(), "ui", true)
	require.NoError(t, err)
	assert.True(t, on.Enabled)

	require.NoError(t, b.Delete(t.Context(), "ui"))
	assert.Equal(t, []string{"fixed"}, b.last())
	require.ErrorIs(t, b.Delete(t.Context(), "ui"), ErrNotFound)
	_, err = b.Replace(t.Context(), next)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = b.Create(t.Context(), settings("ui"))
	leaving, ok := errors.AsType[*LeavingError](err)
	require.True(t, ok, err)
	assert.Equal(t, leaves+pollEvery, leaving.Again)
}

// What stands in the configuration is not changed, and hides a stored one of
// its name.
func TestBookOfConfiguredOnes(t *testing.T) {
	t.Parallel()
	b := setup(newMemory())
	require.NoError(t, b.SetConfigured(t.Context(), nil, nothing))
	_, err := b.Create(t.Context(), settings("ui"))
	require.NoError(t, err)
	require.NoError(t, b.SetConfigured(t.Context(), []Settings{settings("ui")}, nothing))
	assert.Equal(t, []string{"ui"}, b.last())
	found, err := b.Find(t.Context(), "ui")
	require.NoError(t, err)
	assert.True(t, found.Configured)
	managed := &ManagedError{}
	require.ErrorAs(t, b.Delete(t.Context(), "ui"), &managed)
	_, err = b.Rotate(t.Context(), "ui", NewSecret(), time.Hour)
	require.ErrorAs(t, err, &managed)
	require.ErrorContains(t, err, "change it there")

	undone := false
	b.refuse = errors.New("Redis is away")
	err = b.SetConfigured(t.Context(), nil, func() func() { return func() { undone = true } })
	require.ErrorIs(t, err, b.refuse)
	assert.True(t, undone)
	b.refuse = nil
	found, err = b.Find(t.Context(), "ui")
	require.NoError(t, err)
	assert.True(t, found.Configured, "the old configuration stays in force")
	require.NoError(t, b.SetConfigured(t.Context(), nil, nothing))
	found, err = b.Find(t.Context(), "ui")
	require.NoError(t, err)
	assert.False(t, found.Configured)
}

// A change is made on what somebody else has stored meanwhile.
func TestBookChangesWhatOthersChanged(t *testing.T) {
	t.Parallel()
	m := newMemory()
	one, two := setup(m), setup(m)
	_, err := one.Create(t.Context(), settings("ui"))
	require.NoError(t, err)
	second := NewSecret()
	m.set(func() {
		m.meddle = func() {
			_, err := two.Rotate(t.Context(), "ui", second, time.Hour)
			assert.NoError(t, err)
		}
	})
	changed, err := one.SetEnabled(t.Context(), "ui", false)
	require.NoError(t, err)
	assert.Equal(t, uint64(3), changed.Version)
	assert.True(t, changed.Secrets[0].Secret.Equal(second), "neither change is lost")
	m.set(func() {
		m.meddle = func() {
			_, err := two.SetEnabled(t.Context(), "ui", true)
			assert.NoError(t, err)
		}
	})
	require.NoError(t, one.Delete(t.Context(), "ui"))
	list, err := two.List(t.Context())
	require.NoError(t, err)
	assert.Empty(t, list)
	m.set(func() {
		m.meddle = func() {
			_, err := two.Create(t.Context(), settings("new"))
			assert.NoError(t, err)
		}
	})
	_, err = one.Create(t.Context(), settings("new"))
	require.ErrorIs(t, err, ErrExists)
}

// Every process takes over what another one changes, and whoever looks first
// removes what is left of a deleted one, once no delivery can be under way.
func TestBookFollowsOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		here, there := setup(m), setup(m)
		there.Start()
		defer there.Stop()
		_, err := here.Create(t.Context(), settings("ui"))
		require.NoError(t, err)
		wait := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
			m.set(func() { m.now = m.now.Add(d) })
		}
		wait(pollEvery)
		assert.Equal(t, []string{"ui"}, there.last())
		times := len(there.applied)
		wait(5 * pollEvery)
		assert.Len(t, there.applied, times, "nothing has changed")

		m.set(func() { m.err = errors.New("Redis is away") })
		wait(2 * pollEvery)
		assert.Len(t, there.Known(), 1, "what was known stays")
		m.set(func() { m.err = nil })
		require.NoError(t, here.Delete(t.Context(), "ui"))
		wait(pollEvery)
		assert.Empty(t, there.last())
		assert.Empty(t, m.forgot)
		wait(leaves)
		wait(pollEvery)
		assert.Equal(t, []string{"ui"}, m.forgot)
		_, err = here.Create(t.Context(), settings("ui"))
		require.NoError(t, err)
	})
}

// What cannot be read keeps nothing else from being delivered.
func TestBookWithUnreadableRecords(t *testing.T) {
	t.Parallel()
	m := newMemory()
	b := setup(m)
	_, err := b.Create(t.Context(), settings("ui"))
	require.NoError(t, err)
	m.set(func() {
		m.records["bad"] = Record{Name: "bad", Version: 1, Content: credential.NewSecret("{" + canary)}
		m.besides = &UnreadableError{Err: errors.New("another cannot be opened")}
		m.revision++
	})
	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Contains(t, b.log.String(), "another cannot be opened")
	assert.Contains(t, b.log.String(), `"subscription":"bad"`)
	assert.NotContains(t, b.log.String(), canary)
	m.set(func() { m.besides, m.err = nil, errors.New("Redis is away") })
	_, err = b.List(t.Context())
	require.ErrorIs(t, err, m.err)
	_, err = b.Create(t.Context(), settings("other"))
	require.ErrorIs(t, err, m.err)
}

// What was stored and could not be taken over is taken over with the next look.
func TestBookAppliesAgain(t *testing.T) {
	t.Parallel()
	b := setup(newMemory())
	b.refuse = errors.New("the log cannot be read")
	_, err := b.Create(t.Context(), settings("ui"))
	require.ErrorIs(t, err, b.refuse)
	b.refuse = nil
	_, err = b.List(t.Context())
	require.NoError(t, err)
	_, err = b.Create(t.Context(), settings("ui"))
	require.NoError(t, err)
	assert.Equal(t, []string{"ui"}, b.last())
	b.Stop()
	b.Stop()
}
