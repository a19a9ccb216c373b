package journal

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMediumOf(t *testing.T) {
	t.Parallel()
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err == nil && st.Type == unix.TMPFS_MAGIC {
		m, err := MediumOf("/dev/shm")
		require.NoError(t, err)
		assert.Equal(t, Medium{Name: "tmpfs", Dies: "the machine"}, m)
	}
	m, err := MediumOf(t.TempDir())
	require.NoError(t, err)
	assert.False(t, m.Network)
	_, err = MediumOf(filepath.Join(t.TempDir(), "nothing"))
	require.ErrorContains(t, err, "nothing: no such file")
}

func TestEmptyDir(t *testing.T) {
	t.Parallel()
	const mounts = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:1 /var/lib/kubelet/pods/0f/volumes/kubernetes.io~empty-dir/data /data rw - ext4 /dev/sda1 rw
31 30 8:2 /pvc-1 /data/kept rw - ext4 /dev/sdb rw
32 22 8:1 /var/lib/kubelet/pods/0f/volumes/kubernetes.io~empty-dir/x /with\040space rw - ext4 /dev/sda1 rw
33 22 8:1 /var/lib/kubelet/pods/0f/volumes/kubernetes.io~empty-dir/y /hidden rw - ext4 /dev/sda1 rw
34 33 8:2 /pvc-2 /hidden rw - ext4 /dev/sdb rw
short line
`
	for dir, want := range map[string]bool{
		"/data": true, "/data/journal": true, "/data/kept": false, "/data/kept/journal": false, "/dataset": false,
		"/": false, "/var/lib": false, "/with space/journal": true, "/hidden/journal": false,
	} {
		assert.Equal(t, want, isEmptyDir(mounts, dir), dir)
	}
	assert.False(t, isEmptyDir("", "/data"))
}
