package journal

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// dropRoot takes this thread's rights to files that are not nobody's.
func dropRoot() { _, _ = unix.SetfsuidRetUid(65534) }

func TestNetworkFileSystems(t *testing.T) {
	t.Parallel()
	for magic, want := range map[int64]string{
		0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x00c36400: "Ceph",
		-0x00acb2be: "CIFS", // as a platform with a signed 32-bit field gives it
	} {
		name, network := networkName(magic)
		assert.True(t, network, "%#x", magic)
		assert.Equal(t, want, name)
	}
	for _, magic := range []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC} {
		_, network := networkName(magic)
		assert.False(t, network, "%#x", magic)
	}
	require.NoError(t, refuseNetwork(t.TempDir()))
	require.ErrorIs(t, refuseNetwork(filepath.Join(t.TempDir(), "missing")), unix.ENOENT)
}

// TestAllocateTakesBlocks makes sure that room is room and not a hole.
func TestAllocateTakesBlocks(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{SegmentSize: 1 << 20})
	var st unix.Stat_t
	require.NoError(t, unix.Stat(b.file(), &st))
	assert.EqualValues(t, 1<<20, st.Size)
	assert.GreaterOrEqual(t, st.Blocks*512, int64(1<<20))
}
