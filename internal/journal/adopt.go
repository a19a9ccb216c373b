package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/refreshd/refreshd/internal/credential"
)

// Dead is the journal of a process that is proven dead, locked by this one
// until [Dead.Remove] or [Dead.Release]. It is for one goroutine at a time.
type Dead struct {
	Records

	Owner string
	// Corrupt lists what could not be read although it was once complete. If
	// it is not empty, an intent may be missing.
	Corrupt []*CorruptError
	// Order has the nonces of the records of all lists as they were written.
	Order []credential.Nonce
	// Torn is how many bytes at the end belong to a write that was cut off
	// before anyone was told that it was done.
	Torn int64

	dir  folder
	file *os.File
}

// Adopt locks and reads the journals in dir whose owners are dead, all but
// that of self, and removes the temporary files that dead processes have left.
// A folder that does not exist has none. With an [*UnreadError], which is about
// single files, the others are returned all the same; whatever is returned the
// caller must settle.
func Adopt(dir, self string) ([]*Dead, error) {
	d := folder(dir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for journals: %w", err)
	}
	if err := refuseNetwork(dir); err != nil {
		return nil, err
	}
	unread := &UnreadError{err: d.clean()}
	var found []*Dead
	for _, entry := range entries {
		owner, ok := OwnerOf(entry.Name())
		if !ok || owner == self {
			continue
		}
		dead, err := d.adopt(owner)
		if err != nil {
			unread.Add(owner, fmt.Errorf("adopt journal %s: %w", d.path(entry.Name()), err))
		}
		if dead != nil {
			found = append(found, dead)
		}
	}
	return found, unread.OrNil()
}

// adopt returns nil if the owner lives, or its journal is gone.
func (d folder) adopt(owner string) (*Dead, error) {
	f, err := d.take(owner + suffix)
	if f == nil || err != nil {
		return nil, err
	}
	dead := &Dead{Owner: owner, dir: d, file: f}
	if err := dead.read(); err != nil {
		return nil, errors.Join(err, release(f))
	}
	return dead, nil
}

func (d *Dead) read() error {
	end, err := d.replay()
	if err != nil {
		return err
	}
	// Marked first: the next heir must not take it for one that was cut short.
	if err := d.file.Chmod(adoptedMode | d.cut()); err != nil {
		return err
	}
	if len(d.Corrupt) == 0 {
		// Nobody writes to it any more. What was allocated ahead of its content
		// is room that others need, on a disk that may be full.
		return d.file.Truncate(end)
	}
	return nil
}

// cut is the mark of a file that was found to be cut short. An heir of the heir
// could not tell by its length.
func (d *Dead) cut() fs.FileMode {
	for _, c := range d.Corrupt {
		if c.Reason == cutShort {
			return cutMode
		}
	}
	return 0
}

// cutShort says what became of a file whose end is missing.
const cutShort = "the file is shorter than its process had made it: somebody has cut it, and records that were acknowledged may be missing"

// replay fills in what the file holds, and returns where that ends.
func (d *Dead) replay() (end int64, err error) {
	info, err := d.file.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", d.file.Name())
	}
	g, err := replay(d.file, info.Size(), d.Owner, d.file.Name())
	if err != nil {
		return 0, err
	}
	d.Records, d.Order, d.Corrupt, d.Torn = g.records(), g.order(), g.corrupt, g.torn
	// A process makes its file longer by whole pages, and no disk allocates less
	// than a sector, however that ends. One that was adopted has the length of its
	// content.
	adopted := info.Mode().Perm() == adoptedMode
	if !adopted && info.Size()%sectorSize != 0 || info.Mode()&cutMode != 0 {
		d.Corrupt = append(d.Corrupt, &CorruptError{Path: d.file.Name(), Offset: info.Size(), Reason: cutShort})
	}
	return g.end, nil
}

// Remove deletes the journal, whose records must be durable elsewhere, and
// gives up the lock. A damaged one is renamed to <owner>.damaged instead: what
// could not be read is nowhere else, and a person may still get it out. If the
// machine dies right after, the journal may come back and is adopted again.
func (d *Dead) Remove() error {
	var err error
	if len(d.Corrupt) > 0 {
		err = d.dir.replace(d.Owner+suffix, d.Owner+damagedSuffix)
	} else {
		err = d.dir.remove(d.Owner + suffix)
	}
	if err != nil {
		err = fmt.Errorf("remove journal: %w", err)
	}
	return errors.Join(err, d.Release())
}

// Path is where the journal is.
func (d *Dead) Path() string { return d.file.Name() }

// Release gives up the lock and leaves the journal to another adopter.
func (d *Dead) Release() error { return release(d.file) }

// Examine reads the journal of an owner in dir who is dead, and changes nothing:
// it is for whoever wants to know whether somebody could adopt it. It is nil if the
// owner lives, or there is none. Until [Dead.Release] nobody can adopt it;
// [Dead.Remove] must not be called. The error is that with which it cannot be
// read, and is about that file alone.
func Examine(dir, owner string) (*Dead, error) {
	d := folder(dir)
	f, err := os.OpenFile(d.path(owner+suffix), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, err
	}
	free, err := flock(f, lockShared)
	if err != nil || !free {
		return nil, errors.Join(err, f.Close())
	}
	dead := &Dead{Owner: owner, dir: d, file: f}
	if _, err := dead.replay(); err != nil {
		return nil, errors.Join(err, release(f))
	}
	return dead, nil
}

// adoptedMode marks a journal that was adopted: its lock is then an heir's.
const adoptedMode = 0o700

// sectorSize is the least that a disk allocates.
const sectorSize = 512

// cutMode marks, beside [adoptedMode], one that was cut short before: on a file
// this bit means nothing to the system.
const cutMode = fs.ModeSticky

// Owners lists whose journals are in dir that nobody has adopted: those of the
// living, and of the dead who have no heir yet.
func Owners(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for journals: %w", err)
	}
	var list []string
	for _, entry := range entries {
		owner, ok := OwnerOf(entry.Name())
		if !ok {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode().Perm() != adoptedMode {
			list = append(list, owner)
		}
	}
	return list, nil
}

// Alive tells whether the owner's journal in dir is locked: by the living
// owner, or by whoever has adopted it and is not done yet. known is false if there
// is no such file here: the owner may have closed it, or may be on another
// machine. With an error not even that is known.
func Alive(dir, owner string) (alive, known bool, err error) {
	if checkOwner(owner) != nil {
		return false, false, nil //nolint:nilerr // such a name is no journal's
	}
	for {
		f, err := os.OpenFile(folder(dir).path(owner+suffix), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return false, false, nil
		}
		if err != nil {
			return false, false, fmt.Errorf("look at a journal: %w", err)
		}
		free, err := flock(f, lockShared)
		named, namedErr := isNamed(f, f.Name())
		switch err := errors.Join(err, namedErr, release(f)); {
		case err != nil:
			return false, false, fmt.Errorf("look at a journal: %w", err)
		case named:
			return !free, true, nil
		}
		// The owner has replaced or removed the file meanwhile: look again.
	}
}
