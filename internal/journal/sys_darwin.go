package journal

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func refuseNetwork(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("journal folder %s: %w", dir, &os.PathError{Op: "statfs", Path: dir, Err: err})
	}
	if st.Flags&unix.MNT_LOCAL == 0 {
		return fmt.Errorf("%w: %s is on %s; set data_dir to a folder on a local disk, one for each machine", ErrNetworkFS, dir, unix.ByteSliceToString(st.Fstypename[:]))
	}
	return nil
}

// datasync is the whole sync: only that asks the drive to write its cache.
func datasync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, from, to int64) error { return zeroFill(f, from, to) }
