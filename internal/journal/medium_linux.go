package journal

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	withMachine   = "the machine"
	withContainer = "the container"
	withPod       = "the pod"
)

func mediumOf(dir string) (Medium, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Medium{}, err
	}
	if name, network := networkName(int64(st.Type)); network { //nolint:unconvert // narrower on some platforms
		return Medium{Name: name, Network: true}, nil
	}
	switch uint32(st.Type) { //nolint:gosec // the magic is 32 bits wide, and its sign depends on the platform
	case unix.TMPFS_MAGIC:
		return Medium{Name: "tmpfs", Dies: withMachine}, nil
	case unix.RAMFS_MAGIC:
		return Medium{Name: "ramfs", Dies: withMachine}, nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return Medium{Name: "overlay", Dies: withContainer}, nil
	}
	// Where there is no /proc, nothing more can be told.
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err == nil && isEmptyDir(string(mounts), dir) {
		return Medium{Name: "emptyDir", Dies: withPod}, nil
	}
	return Medium{}, nil
}

// isEmptyDir reports whether dir is on a Kubernetes volume of the kind
// emptyDir, which is an ordinary folder of the machine: the kubelet's name for
// it is the mount's root. mounts is as in proc_pid_mountinfo(5).
func isEmptyDir(mounts, dir string) bool {
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	const rootField, pointField = 3, 4
	longest, root := -1, ""
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) <= pointField {
			continue
		}
		point := strings.ReplaceAll(fields[pointField], `\040`, " ")
		below := point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
		if below && len(point) >= longest { // of two at one place, the later hides the other
			longest, root = len(point), fields[rootField]
		}
	}
	return strings.Contains(root, "/kubernetes.io~empty-dir/")
}
