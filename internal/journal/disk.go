package journal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	suffix        = ".wal"
	damagedSuffix = ".damaged"
	zeroBlock     = 64 << 10
)

// content is what is in a file, by place.
type content interface {
	io.ReaderAt
	io.WriterAt
}

// extent is how much of its disk a file takes.
type extent interface {
	// Allocate makes the file to bytes long, the new ones reading as zeros,
	// with room on the disk for all of them. If it fails the file is from bytes
	// long, as it was if that was its length.
	Allocate(from, to int64) error
	// Truncate gives back what is behind the first to bytes.
	Truncate(to int64) error
	// Free is how many bytes the disk has room for beside, as far as it tells:
	// a quota may allow less.
	Free() (int64, error)
}

// file is one open journal file, locked.
type file interface {
	content
	extent
	// Sync makes durable what was written.
	Sync() error
	// Named reports whether that name in its folder is this file's.
	Named(name string) (bool, error)
	// Close also gives up the lock.
	Close() error
}

// disk is a folder of journal files. Names are without the folder.
type disk interface {
	// create makes an empty file under a temporary name, locked.
	create(owner string) (f file, temp string, err error)
	// link gives a file another name unless that is taken: fs.ErrExist.
	link(name, another string) error
	// replace gives a file its name, whatever had it.
	replace(temp, name string) error
	remove(name string) error
	// sync makes names durable.
	sync() error
}

var (
	ownerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	tempPattern  = regexp.MustCompile(`^\.[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.[0-9a-f]{16}\.tmp$`)
)

// OwnerOf returns whose journal a file in the folder is, by its name; false if it
// is none.
func OwnerOf(name string) (owner string, ok bool) {
	owner, ok = strings.CutSuffix(name, suffix)
	return owner, ok && checkOwner(owner) == nil
}

// PathOf is where the journal of an owner is, or was, whose folder is dir.
func PathOf(dir, owner string) string { return filepath.Join(dir, owner+suffix) }

// IsDamaged reports whether a file in the folder is a damaged journal that was put
// aside, by its name.
func IsDamaged(name string) bool { return strings.HasSuffix(name, damagedSuffix) }

func checkOwner(owner string) error {
	if !ownerPattern.MatchString(owner) {
		return fmt.Errorf("journal owner %q: it must match %s", owner, ownerPattern)
	}
	return nil
}

func tempName(owner string) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see its documentation
	return "." + owner + "." + hex.EncodeToString(random[:]) + ".tmp"
}

// damagedName is under which a file is kept that is not the journal any more.
func damagedName(owner string) string {
	return strings.TrimSuffix(strings.TrimPrefix(tempName(owner), "."), ".tmp") + damagedSuffix
}

// folder is the disk that there is.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

// create is repeated when a cleaner of temporary files comes between making
// the file and locking it. A folder that somebody has removed is made again.
func (d folder) create(owner string) (file, string, error) {
	for {
		name := tempName(owner)
		f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			if err = d.prepare(); err == nil {
				f, err = os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			}
		}
		if err != nil {
			return nil, "", roomError(err)
		}
		locked, named, err := lock(f, d.path(name))
		if err != nil {
			return nil, "", errors.Join(err, release(f), d.remove(name))
		}
		if locked && named {
			return osFile{f}, name, nil
		}
		if err := release(f); err != nil {
			return nil, "", err
		}
	}
}

func (d folder) link(name, another string) error { return os.Link(d.path(name), d.path(another)) }

func (d folder) replace(temp, name string) error { return os.Rename(d.path(temp), d.path(name)) }

func (d folder) remove(name string) error { return os.Remove(d.path(name)) }

func (d folder) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// prepare makes the folder where it is missing, and refuses one that cannot
// hold journals.
func (d folder) prepare() error {
	if err := makeDir(string(d)); err != nil {
		return fmt.Errorf("journal folder %s: %w; make it by hand, mode 0700, owned by the user that runs refreshd", d, err)
	}
	return refuseNetwork(string(d))
}

// makeDir makes dir and what is missing above it, durably, mode 0700.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	parent := filepath.Dir(dir)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // if it is not a folder, making a file in it says so
	}
	if err != nil {
		return err
	}
	return folder(parent).sync()
}

// clean removes the temporary files of processes that died before they could
// name or remove them. A living process holds the lock of its own.
func (d folder) clean() error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	var trouble error
	for _, entry := range entries {
		if !tempPattern.MatchString(entry.Name()) {
			continue
		}
		f, err := d.take(entry.Name())
		if err != nil {
			trouble = errors.Join(trouble, err)
		}
		if f != nil {
			trouble = errors.Join(trouble, d.remove(entry.Name()), release(f))
		}
	}
	return trouble
}

// take opens and locks the file of that name. It returns nil if there is none,
// or none whose lock is free.
func (d folder) take(name string) (*os.File, error) {
	for {
		// O_NONBLOCK: opening a FIFO must not wait for its other end.
		f, err := os.OpenFile(d.path(name), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil //nolint:nilnil // documented: nothing to take
		}
		if err != nil {
			return nil, err
		}
		locked, named, err := lock(f, d.path(name))
		if err == nil && locked && named {
			return f, nil
		}
		if err = errors.Join(err, release(f)); err != nil || !locked {
			return nil, err
		}
		// The owner has replaced or removed the file meanwhile: look again.
	}
}

// lock takes the exclusive lock of an open file if that is free. A locked file
// that path does not name any more is nobody's: it was replaced or removed
// after it was opened.
func lock(f *os.File, path string) (locked, named bool, err error) {
	if locked, err = flock(f, lockExclusive); err != nil || !locked {
		return false, false, err
	}
	named, err = isNamed(f, path)
	return true, named, err
}

// isNamed reports whether path names the open file f.
func isNamed(f *os.File, path string) (bool, error) {
	open, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(open, named), nil
}

// osFile is a file of the operating system.
type osFile struct{ *os.File }

// Sync makes the content and the length durable.
func (f osFile) Sync() error { return datasync(f.File) }

// Named looks into the folder that the file was made in.
func (f osFile) Named(name string) (bool, error) {
	return isNamed(f.File, filepath.Join(filepath.Dir(f.Name()), name))
}

// Close gives up the lock first.
func (f osFile) Close() error { return release(f.File) }

// Allocate takes blocks on the disk.
func (f osFile) Allocate(from, to int64) error {
	err := failpoint.Hit(failpoint.JournalAllocate)
	if err == nil {
		err = allocate(f.File, from, to)
	}
	if err != nil {
		_ = f.Truncate(from) // gives back what was taken; there is nothing else to do if it fails
	}
	return err
}

// Free asks the file system.
func (f osFile) Free() (int64, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(int(f.Fd()), &st) }); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // no disk is that large, and the types depend on the platform
}

// zeroFill allocates by writing, where there is no other way.
func zeroFill(f *os.File, from, to int64) error {
	zeros := make([]byte, zeroBlock)
	for from < to {
		n, err := f.WriteAt(zeros[:min(to-from, zeroBlock)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// noRoom reports whether err says that the disk, the quota or the limit on a
// file's size is used up.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
