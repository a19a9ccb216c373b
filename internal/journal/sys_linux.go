package journal

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// networkName names the network file systems by their magic, statfs(2).
func networkName(magic int64) (name string, network bool) {
	switch uint32(magic) { //nolint:gosec // the magic is 32 bits wide, and its sign depends on the platform
	case unix.NFS_SUPER_MAGIC:
		return "NFS", true
	case unix.SMB_SUPER_MAGIC:
		return "SMB", true
	case unix.CIFS_SUPER_MAGIC:
		return "CIFS", true
	case unix.SMB2_SUPER_MAGIC:
		return "SMB2", true
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph", true
	default:
		return "", false
	}
}

func refuseNetwork(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("journal folder %s: %w", dir, &os.PathError{Op: "statfs", Path: dir, Err: err})
	}
	if name, network := networkName(int64(st.Type)); network { //nolint:unconvert // narrower on some platforms
		return fmt.Errorf("%w: %s is on %s; set data_dir to a folder on a local disk, one for each machine", ErrNetworkFS, dir, name)
	}
	return nil
}

// datasync leaves out what reading the file again does not need, such as its
// times; its length is needed.
func datasync(f *os.File) error {
	return retry(func() error { return unix.Fdatasync(int(f.Fd())) })
}

// allocate lets the file grow: with blocks and length in place, writing into
// it leaves no metadata for the syncs to come.
func allocate(f *os.File, from, to int64) error {
	err := retry(func() error { return unix.Fallocate(int(f.Fd()), 0, from, to-from) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return zeroFill(f, from, to)
	}
	return err
}
