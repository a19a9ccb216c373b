package journal

import (
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"sync"

	"golang.org/x/sys/unix"
)

// step is one of the things that a journal does to its disk.
type step string

const (
	stepCreate   step = "create"
	stepAllocate step = "allocate"
	stepTruncate step = "truncate"
	stepWrite    step = "write"
	stepRead     step = "read"
	stepSync     step = "sync"
	stepClose    step = "close"
	stepLink     step = "link"
	stepReplace  step = "replace"
	stepRemove   step = "remove"
	stepSyncDir  step = "sync of the folder"
)

var steps = []step{stepCreate, stepAllocate, stepTruncate, stepWrite, stepRead, stepSync, stepClose, stepLink, stepReplace, stepRemove, stepSyncDir} //nolint:gochecknoglobals // a list of constants

// memDisk is a disk that fails where a test wants it, and that forgets what
// was not synced. Until something is synced it may be durable, or not, or in
// parts.
type memDisk struct {
	// hook is asked before each step, and may fail or delay it.
	hook func(step, string) error
	// failAfter makes a step that the hook fails take effect all the same.
	failAfter bool
	// limit is how many bytes there is room for; 0 is any number.
	limit int64

	mu      sync.Mutex
	made    int
	files   map[*memFile]bool // that have a name or are open
	names   map[string]*memFile
	durable map[string]*memFile
}

type memFile struct {
	d        *memDisk
	name     string // that it was created under
	open     bool
	content  []byte
	durable  []byte
	occupied int64 // of the disk
}

func newMemDisk() *memDisk {
	return &memDisk{
		hook: func(step, string) error { return nil }, files: map[*memFile]bool{},
		names: map[string]*memFile{}, durable: map[string]*memFile{},
	}
}

// setHook sets the hook of a disk that is in use.
func (d *memDisk) setHook(hook func(step, string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = hook
}

// setAfter sets failAfter of a disk that is in use.
func (d *memDisk) setAfter(after bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAfter = after
}

func (d *memDisk) named(name string) *memFile { return d.listed()[name] }

// listed is what has a name.
func (d *memDisk) listed() map[string]*memFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.names)
}

// locked reports whether the file of that name is.
func (d *memDisk) locked(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[name].open
}

// opened is how many files are open.
func (d *memDisk) opened() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for f := range d.files {
		if f.open {
			n++
		}
	}
	return n
}

// ask asks the hook.
func (d *memDisk) ask(s step, name string) error {
	d.mu.Lock()
	hook := d.hook
	d.mu.Unlock()
	return hook(s, name)
}

// do takes a step under the lock, unless the hook fails it.
func (d *memDisk) do(s step, name string, effect func() error) error {
	failure := d.ask(s, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if failure != nil && !d.failAfter {
		return failure
	}
	if err := effect(); err != nil {
		return err
	}
	return failure
}

func (d *memDisk) create(owner string) (file, string, error) {
	name := tempName(owner)
	f := &memFile{d: d, name: name, open: true}
	err := d.do(stepCreate, name, func() error {
		d.made++
		d.names[name], d.files[f] = f, true
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return f, name, nil
}

func (d *memDisk) link(name, another string) error {
	return d.do(stepLink, another, func() error {
		if d.names[another] != nil {
			return fs.ErrExist
		}
		if d.names[name] == nil {
			return fs.ErrNotExist
		}
		d.names[another] = d.names[name]
		return nil
	})
}

func (d *memDisk) replace(temp, name string) error {
	return d.do(stepReplace, name, func() error {
		d.names[name] = d.names[temp]
		delete(d.names, temp)
		return nil
	})
}

func (d *memDisk) remove(name string) error {
	return d.do(stepRemove, name, func() error {
		if d.names[name] == nil {
			return fs.ErrNotExist
		}
		delete(d.names, name)
		return nil
	})
}

func (d *memDisk) sync() error {
	return d.do(stepSyncDir, "", func() error {
		d.durable = maps.Clone(d.names)
		return nil
	})
}

// used is how much of the disk is taken. Called with mu held.
func (d *memDisk) used() (n int64) {
	for f := range d.files {
		named := false
		for _, other := range d.names {
			named = named || other == f
		}
		if !named && !f.open {
			delete(d.files, f)
			continue
		}
		n += f.occupied
	}
	return n
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.d.ask(stepRead, f.name); err != nil {
		return 0, err
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.content)) {
		return 0, io.EOF
	}
	n := copy(b, f.content[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	err := f.d.do(stepWrite, f.name, func() error {
		if off+int64(len(b)) > int64(len(f.content)) {
			return unix.ENOSPC // a journal writes only where it has allocated
		}
		copy(f.content[off:], b)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *memFile) Allocate(from, to int64) error {
	return f.d.do(stepAllocate, f.name, func() error {
		if f.d.limit > 0 && f.d.used()-f.occupied+to > f.d.limit {
			return unix.ENOSPC
		}
		f.content = append(f.content[:from], make([]byte, to-from)...)
		f.occupied = to
		return nil
	})
}

func (f *memFile) Truncate(to int64) error {
	return f.d.do(stepTruncate, f.name, func() error {
		f.content = f.content[:min(to, int64(len(f.content)))]
		f.occupied = min(to, f.occupied)
		return nil
	})
}

func (f *memFile) Free() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.limit == 0 {
		return math.MaxInt64, nil
	}
	return max(f.d.limit-f.d.used(), 0), nil
}

func (f *memFile) Sync() error {
	return f.d.do(stepSync, f.name, func() error {
		f.durable = append([]byte(nil), f.content...)
		return nil
	})
}

func (f *memFile) Named(name string) (bool, error) { return f.d.named(name) == f, nil }

func (f *memFile) Close() error {
	return f.d.do(stepClose, f.name, func() error {
		f.open = false
		return nil
	})
}

// crash returns what is found under a name after a power cut: each sector and
// each name is as it was at the last sync, or later.
func (d *memDisk) crash(name string, r *rand.Rand) (content []byte, found bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.durable
	if r.IntN(2) == 0 {
		names = d.names
	}
	f := names[name]
	if f == nil {
		return nil, false
	}
	const sector = 64 // smaller than any disk's, so that frames are torn
	content = make([]byte, len(f.durable))
	if r.IntN(2) == 0 {
		content = make([]byte, len(f.content))
	}
	copy(content, f.durable)
	for at := 0; at < min(len(content), len(f.content)); at += sector {
		if r.IntN(2) == 0 {
			copy(content[at:min(at+sector, len(content))], f.content[at:])
		}
	}
	return content, true
}
