package journal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// placeFile holds a random name of the folder.
	placeFile = "place"
	// bootID is Linux's name for this run of the kernel.
	bootID = "/proc/sys/kernel/random/boot_id"
)

// Place names dir, which must exist, among all folders of all machines: two
// processes that find the same name can see each other's journals and their
// locks, and one of them whose file is missing has stopped or was adopted. The
// name is another after a boot, and for a copy of the folder.
func Place(dir string) (string, error) {
	id, err := placeID(dir)
	if err != nil {
		return "", fmt.Errorf("name of the journal folder: %w", err)
	}
	var st syscall.Stat_t
	if err := retry(func() error { return syscall.Stat(dir, &st) }); err != nil {
		return "", fmt.Errorf("journal folder %s: %w", dir, err)
	}
	boot, err := os.ReadFile(bootID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("name of this boot: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d", id, strings.TrimSpace(string(boot)), st.Dev, st.Ino))
	return hex.EncodeToString(sum[:16]), nil
}

// placeID reads the folder's random name, and gives it one where it has none.
// Of two processes that do so at once, both read the same.
func placeID(dir string) (string, error) {
	path := filepath.Join(dir, placeFile)
	id, err := os.ReadFile(path) //nolint:gosec // in the folder of the configuration
	if err == nil && len(id) > 0 {
		return string(id), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	temp, err := os.CreateTemp(dir, placeFile+".*")
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // it was linked, or is of no use
	_, err = temp.WriteString(rand.Text())
	if err := errors.Join(err, temp.Close()); err != nil {
		return "", err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	id, err = os.ReadFile(path) //nolint:gosec // as above
	return string(id), err
}
