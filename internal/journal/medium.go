package journal

import (
	"fmt"
	"os"
)

// Medium is what a folder is on, as far as it matters for journals.
type Medium struct {
	// Name is that of the file system, such as NFS, or of what is special
	// about it, such as emptyDir; "" for a disk like any other.
	Name string
	// Network says that a lock proves nothing there: [Create] refuses it.
	Network bool
	// Dies tells with what its content is lost, such as "the machine"; "" if
	// it stays.
	Dies string
}

// MediumOf tells what a folder, which must exist, is on.
func MediumOf(dir string) (Medium, error) {
	m, err := mediumOf(dir)
	if err != nil {
		return Medium{}, fmt.Errorf("file system of %s: %w", dir, &os.PathError{Op: "statfs", Path: dir, Err: err})
	}
	return m, nil
}
