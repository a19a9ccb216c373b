package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// installationFile names the installation whose journals are in the folder.
	installationFile = "installation"
	// unsettled follows the name while the installation may still be lost.
	unsettled = " unsettled"
	// firstStartFile is locked by whoever gives a store its name. It tells which
	// name, and where that store is, for people.
	firstStartFile = "first-start"
)

// Installation is whose journals a folder holds.
type Installation struct {
	ID string // of letters and digits; "" if none is noted
	// Unsettled says that the store had acknowledged the ID a moment before it was
	// noted, and may have lost it since.
	Unsettled bool
}

// OtherInstallationError refuses a folder with the journals of another
// installation. What they hold must neither be put into the wrong store nor be
// dropped there.
type OtherInstallationError struct {
	Dir   string
	Noted string // in the folder
	Found string // in the store; "" if that holds none
}

// Error names the folder, both installations and the remedy.
func (e *OtherInstallationError) Error() string {
	found := "this Redis holds " + e.Found
	if e.Found == "" {
		found = "this Redis holds none: it is another one, or has lost its data"
	}
	return fmt.Sprintf("%s has journals of the installation %s, and %s; nothing was taken up: set redis.url to the Redis of these journals, or bring its data back; "+
		"only if what they hold is to go into this Redis, remove %s and start again", e.Dir, e.Noted, found, filepath.Join(e.Dir, installationFile))
}

// InstallationOf reads whose journals are in dir. A folder that does not exist
// has none.
func InstallationOf(dir string) (Installation, error) {
	text, err := os.ReadFile(filepath.Join(dir, installationFile)) //nolint:gosec // in the folder of the configuration
	if errors.Is(err, fs.ErrNotExist) {
		return Installation{}, nil
	}
	if err != nil {
		return Installation{}, fmt.Errorf("installation of the journals: %w", err)
	}
	id, unsettled := strings.CutSuffix(strings.TrimSuffix(string(text), "\n"), unsettled)
	if !ownerPattern.MatchString(id) {
		return Installation{}, fmt.Errorf("%s was not written by refreshd: remove it if redis.url is that of the journals beside it", filepath.Join(dir, installationFile))
	}
	return Installation{ID: id, Unsettled: unsettled}, nil
}

// CheckInstallation refuses, with [*OtherInstallationError], a folder that has
// journals of another installation than the store, which holds found, or "". One
// that is noted as unsettled may have been lost by a store that holds none now.
func CheckInstallation(dir, found string) error {
	noted, err := InstallationOf(dir)
	if err != nil || noted.ID == "" || noted.ID == found || found == "" && noted.Unsettled {
		return err
	}
	left, err := journalIn(dir)
	if err != nil || !left {
		return err // nothing can be lost: the folder is anybody's
	}
	return &OtherInstallationError{Dir: dir, Noted: noted.ID, Found: found}
}

// journalIn reports whether any journal is in dir, adopted or not.
func journalIn(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for journals: %w", err)
	}
	for _, entry := range entries {
		if _, ok := OwnerOf(entry.Name()); ok {
			return true, nil
		}
	}
	return false, nil
}

// Claim notes durably that the journals in dir are those of an installation. A
// folder without journals may be claimed by another after that, so whoever has made
// one calls [CheckInstallation] again: to hold the folder until then would keep
// everyone waiting for one that stands still. The errors are those of that.
func Claim(dir, id string) error {
	d := folder(dir)
	if err := d.prepare(); err != nil {
		return err
	}
	lock, err := os.Open(dir) //nolint:gosec // the folder of the configuration
	if err != nil {
		return fmt.Errorf("journal folder: %w", err)
	}
	if err = retry(func() error { return unix.Flock(int(lock.Fd()), unix.LOCK_EX) }); err == nil {
		err = CheckInstallation(dir, id)
	}
	if err == nil {
		err = d.claim(id)
	}
	return errors.Join(err, release(lock))
}

func (d folder) claim(id string) error {
	before, err := InstallationOf(string(d))
	if err != nil || before.ID == id {
		return err
	}
	now := Installation{ID: id, Unsettled: true}
	if err := d.note(now); err != nil || before.ID == "" {
		return err
	}
	// Somebody of that one may have made a journal meanwhile, and looked before this
	// was noted: he goes on.
	left, err := journalIn(string(d))
	if err != nil || !left {
		return err
	}
	return errors.Join(&OtherInstallationError{Dir: string(d), Noted: before.ID, Found: id}, d.note(before))
}

// Settle notes that the store cannot lose the ID of its installation any more.
func Settle(dir, id string) error {
	noted, err := InstallationOf(dir)
	if err != nil || noted != (Installation{ID: id, Unsettled: true}) {
		return err
	}
	return folder(dir).note(Installation{ID: id})
}

// note writes the file as a whole, durably.
func (d folder) note(i Installation) (err error) {
	text := i.ID
	if i.Unsettled {
		text += unsettled
	}
	f, temp, err := d.create(installationFile)
	if err != nil {
		return fmt.Errorf("note the installation of the journals: %w", err)
	}
	_, err = f.WriteAt([]byte(text+"\n"), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = d.replace(temp, installationFile)
	}
	if err == nil {
		err = d.sync()
	} else {
		err = errors.Join(err, d.remove(temp))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("note the installation of the journals: %w", err)
	}
	return nil
}

// FirstStart holds a folder for a process that gives a store its name: of two that
// do so with two stores one has to see what the other has done.
type FirstStart struct {
	dir  string
	file *os.File
}

// BeginFirstStart waits for the folder, which must exist, until ctx ends.
func BeginFirstStart(ctx context.Context, dir string) (*FirstStart, error) {
	f, err := os.OpenFile(filepath.Join(dir, firstStartFile), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // in the folder of the configuration
	if err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	for {
		locked, err := flock(f, lockExclusive)
		if locked {
			return &FirstStart{dir: dir, file: f}, nil
		}
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: another refreshd is amid its first start: %w; if it is stopped, let it go on (kill -CONT) or kill it, and start again", dir, err), f.Close())
		}
	}
}

// firstStartStep is the time between two looks at a lock that is held.
const firstStartStep = 20 * time.Millisecond

func pause(ctx context.Context) error {
	timer := time.NewTimer(firstStartStep)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Note tells where the store is that is given the name id: its address without
// user and password. It is for people, and is kept as long as nothing goes wrong.
func (s *FirstStart) Note(id, address string) error {
	if err := s.file.Truncate(0); err != nil {
		return fmt.Errorf("note the address of redis: %w", err)
	}
	if _, err := s.file.WriteAt([]byte(id+" "+address+"\n"), 0); err != nil {
		return fmt.Errorf("note the address of redis: %w", err)
	}
	return nil
}

// Elsewhere is the error for a store at address that holds no installation, while
// the owners work with another store: they live, and this store does not know them.
func (s *FirstStart) Elsewhere(address string, owners []string) error {
	e := &ElsewhereError{Dir: s.dir, Address: address, Owners: owners}
	noted, err := InstallationOf(s.dir)
	if err != nil {
		return err
	}
	e.Noted = noted.ID
	text := make([]byte, 1<<10)
	n, err := s.file.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("address of the other redis: %w", err)
	}
	if id, at, _ := strings.Cut(strings.TrimSpace(string(text[:n])), " "); id == e.Noted {
		e.Other = at
	}
	return e
}

// End lets the next one begin.
func (s *FirstStart) End() error { return release(s.file) }

// ElsewhereError refuses a store without an installation, because living processes
// of the folder work with another one.
type ElsewhereError struct {
	Dir     string
	Noted   string   // whose journals the folder holds; "" if that is not noted
	Address string   // of the store that was found
	Other   string   // of the other one; "" if that is not known
	Owners  []string // who lives
}

// Error names the folder, both stores and the remedy.
func (e *ElsewhereError) Error() string {
	other := "another Redis"
	switch e.Other {
	case "":
	case e.Address:
		other = "this one as it was before it lost its data, or another Redis"
	default:
		other += " (" + e.Other + ")"
	}
	if e.Noted != "" {
		other += ", the installation " + e.Noted
	}
	return fmt.Sprintf("%s has the journals of processes that live and work with %s: %s; this Redis (%s) holds no installation and does not know them; nothing was written: "+
		"set redis.url to theirs, or give this process a data_dir of its own; if they work with this one, and are stopped, let them go on (kill -CONT) or kill them, and start again",
		e.Dir, other, strings.Join(e.Owners, ", "), e.Address)
}

// Living lists whose journals in dir are locked by those who write them.
func Living(dir string) ([]string, error) {
	owners, err := Owners(dir)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, owner := range owners {
		alive, _, err := Alive(dir, owner)
		if err != nil {
			return nil, err
		}
		if alive {
			list = append(list, owner)
		}
	}
	return list, nil
}
