package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// installationFile names the installation whose journals are in the folder.
	installationFile = "installation"
	// unsettled follows the name while the installation may still be lost.
	unsettled = " unsettled"
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
