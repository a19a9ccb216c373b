package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeNew puts content at path, mode 0600, unless something is there. It
// reports whether it was this call that did. The file appears whole and
// durable or not at all: losing a keyset after the first credential was sealed
// with it loses the credential.
func writeNew(path string, content []byte) (created bool, err error) {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return false, fmt.Errorf("make the folder of the keyset file: %w", err)
	}
	temp, err := writeTemp(dir, ".keyset-*.tmp", content)
	if err != nil {
		return false, fmt.Errorf("write a new keyset file in %s: %w; give the user that runs refreshd write permission there, or room", dir, err)
	}
	// A link, for unlike a rename it fails where the name is taken.
	err = os.Link(temp, path)
	if removed := os.Remove(temp); removed != nil && err == nil {
		return false, fmt.Errorf("remove a second name of the new keyset file: %w", removed)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("name the new keyset file: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return false, fmt.Errorf("make the new keyset file durable: %w", err)
	}
	return true, nil
}

// writeTemp writes content durably under a random name. os.CreateTemp opens
// with O_EXCL and mode 0600.
func writeTemp(dir, pattern string, content []byte) (name string, err error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// makeDir makes dir and what is missing above it, durably, mode 0700.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // if it is not a folder, whoever uses it says so
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the folder of the operator's own path
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
