package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model drives a journal on a real disk, and knows what it must hold.
type model struct {
	t       *testing.T
	dir     string
	failing atomic.Bool // the disk
	j       *Journal
	owners  int
	last    uint64
	intents map[uint64]Intent
	keeps   map[uint64]Keep
	changes map[uint64]Change
}

func (m *model) open(t *rapid.T) {
	m.owners++
	whole := folder(m.dir)
	require.NoError(t, whole.prepare())
	j, err := create(failingDisk{whole, &m.failing}, m.dir, fmt.Sprintf("owner-%d", m.owners), Options{SegmentSize: 4096, MaxReply: 300})
	require.NoError(t, err)
	m.j = j
}

// failingDisk is a real one whose writes can be made to fail.
type failingDisk struct {
	disk

	failing *atomic.Bool
}

func (d failingDisk) create(owner string) (file, string, error) {
	f, temp, err := d.disk.create(owner)
	return failingFile{f, d.failing}, temp, err
}

type failingFile struct {
	file

	failing *atomic.Bool
}

func (f failingFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.file.WriteAt(b, off)
	if f.failing.Load() {
		return n, errDisk
	}
	return n, err
}

func (m *model) next() uint64 { m.last++; return m.last }

// any draws one of the numbers that are in use.
func (m *model) any(t *rapid.T) uint64 {
	in := slices.Concat(slices.Collect(maps.Keys(m.intents)), slices.Collect(maps.Keys(m.keeps)), slices.Collect(maps.Keys(m.changes)))
	if len(in) == 0 {
		t.Skip("nothing is in the journal")
	}
	slices.Sort(in)
	return rapid.SampledFrom(in).Draw(t, "number")
}

func (m *model) actions() map[string]func(*rapid.T) {
	text := rapid.Custom(func(t *rapid.T) string { return strings.Repeat("x", rapid.IntRange(1, 300).Draw(t, "size")) })
	return map[string]func(*rapid.T){
		"intent": func(t *rapid.T) {
			list := make([]Intent, rapid.IntRange(1, 5).Draw(t, "intents"))
			for i := range list {
				list[i] = intent(m.next())
				m.intents[m.last] = list[i]
			}
			require.NoError(t, m.j.Intent(m.t.Context(), list))
		},
		"keep": func(t *rapid.T) {
			n := m.any(t)
			if _, ok := m.changes[n]; ok {
				t.Skip("not a refresh")
			}
			m.keeps[n] = keep(n, text.Draw(t, "sealed"))
			delete(m.intents, n)
			require.NoError(t, m.j.Keep(m.keeps[n]))
		},
		"change": func(t *rapid.T) {
			n := m.next()
			m.changes[n] = change(n, text.Draw(t, "payload"))
			require.NoError(t, m.j.Change(m.t.Context(), m.changes[n]))
		},
		"drop": func(t *rapid.T) { m.drop(m.any(t)) },
		"break": func(t *rapid.T) {
			m.failing.Store(true)
			require.ErrorIs(t, m.j.Intent(m.t.Context(), []Intent{intent(m.next())}), ErrBroken)
			require.ErrorIs(t, m.j.Change(m.t.Context(), change(m.next(), "refused")), ErrBroken)
			for range rapid.IntRange(0, 2).Draw(t, "dropped meanwhile") {
				m.drop(rapid.Uint64Range(1, m.last).Draw(t, "number"))
			}
			pass(rapid.SampledFrom([]time.Duration{0, 3 * firstPause}).Draw(t, "broken for"))
			synctest.Wait()
			m.failing.Store(false)
			m.keeps[m.next()] = keep(m.last, "waits for the journal")
			require.NoError(t, m.j.Keep(m.keeps[m.last]))
		},
		"drop most": func(*rapid.T) {
			for n := range m.last {
				if n%7 != 0 {
					m.drop(n)
				}
			}
		},
		"reopen": func(t *rapid.T) {
			if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
				t.Skip("it takes many syncs")
			}
			m.reopen(t)
		},
		"read back": func(t *rapid.T) {
			_ = m.j.Keep(keep(m.next(), "is behind every drop before it"))
			m.keeps[m.last] = keep(m.last, "is behind every drop before it")
			content, err := os.ReadFile(m.j.path)
			require.NoError(t, err)
			g, err := replay(bytes.NewReader(content), int64(len(content)), m.j.owner, m.j.path)
			require.NoError(t, err)
			require.Empty(t, g.corrupt)
			m.compare(t, g.records())
		},
	}
}

func (m *model) drop(n uint64) {
	delete(m.intents, n)
	delete(m.keeps, n)
	delete(m.changes, n)
	m.j.Drop(nonce(n))
}

// reopen ends the process, as it were, and moves everything to another owner's
// journal.
func (m *model) reopen(t *rapid.T) {
	require.NoError(t, m.j.Close())
	found, err := Adopt(m.dir, "me")
	require.NoError(t, err)
	if len(m.intents)+len(m.keeps)+len(m.changes) == 0 {
		require.Empty(t, found)
		m.open(t)
		return
	}
	require.Len(t, found, 1)
	dead := found[0]
	require.Empty(t, dead.Corrupt)
	require.Zero(t, dead.Torn)
	m.compare(t, dead.Records)
	m.open(t)
	require.NoError(t, m.j.Intent(m.t.Context(), dead.Intents))
	for _, k := range dead.Keeps {
		require.NoError(t, m.j.Keep(k))
	}
	for _, c := range dead.Changes {
		require.NoError(t, m.j.Change(m.t.Context(), c))
	}
	require.NoError(t, dead.Remove())
}

func (m *model) compare(t *rapid.T, got Records) {
	slices.SortFunc(got.Intents, func(a, b Intent) int { return cmp.Compare(a.Generation, b.Generation) })
	slices.SortFunc(got.Keeps, func(a, b Keep) int { return cmp.Compare(a.Generation, b.Generation) })
	slices.SortFunc(got.Changes, func(a, b Change) int { return cmp.Compare(a.Version, b.Version) })
	equal(t, m.intents, got.Intents)
	equal(t, m.keeps, got.Keeps)
	equal(t, m.changes, got.Changes)
}

func equal[R any](t *rapid.T, want map[uint64]R, got []R) {
	list := make([]R, 0, len(want))
	for _, n := range slices.Sorted(maps.Keys(want)) {
		list = append(list, want[n])
	}
	require.Equal(t, list, append([]R{}, got...))
}

// TestModel compares a journal on a real disk with maps, over random calls,
// rewrites, writes that fail, and changes of the owner.
func TestModel(t *testing.T) {
	t.Parallel()
	root, runs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		inBubble(t, func(t *testing.T) {
			t.Helper()
			goThrough(t, rt, filepath.Join(root, fmt.Sprint(runs)))
		})
	})
}

func goThrough(t *testing.T, rt *rapid.T, dir string) {
	t.Helper()
	m := &model{
		t: t, dir: dir,
		intents: map[uint64]Intent{}, keeps: map[uint64]Keep{}, changes: map[uint64]Change{},
	}
	m.open(rt)
	defer func() { _ = m.j.Close() }() // it may be closed already
	rt.Repeat(m.actions())
	m.reopen(rt)
	require.NoError(rt, m.j.Close())
	require.NoError(rt, os.RemoveAll(m.dir))
}
