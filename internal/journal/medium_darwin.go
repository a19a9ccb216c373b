package journal

import "golang.org/x/sys/unix"

func mediumOf(dir string) (Medium, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Medium{}, err
	}
	if st.Flags&unix.MNT_LOCAL == 0 {
		return Medium{Name: unix.ByteSliceToString(st.Fstypename[:]), Network: true}, nil
	}
	return Medium{}, nil
}
