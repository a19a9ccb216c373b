package journal

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process that follows one which has filled the disk and was killed starts, with
// nothing on the disk to free but that one's journal: what the dead had allocated
// ahead is enough for its file, and the rest comes back once they are taken up.
func TestStartOnADiskThatTheDeadHaveFilled(t *testing.T) {
	t.Parallel()
	for name, answered := range map[string]bool{"with room for replies": false, "with next to none": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const maxReply = 8 << 10
			dir := t.TempDir()
			err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", 256<<10))
			if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
				t.Skipf("a small file system cannot be mounted (%v): run the tests as root", err)
			}
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })

			dead, err := Create(dir, "dead", Options{MaxReply: maxReply})
			require.NoError(t, err)
			t.Cleanup(func() { _ = dead.Close() }) // its lock is gone, and with it the result
			var sent []uint64
			for n := uint64(1); ; n++ {
				if err := dead.Intent(t.Context(), []Intent{intent(n)}); err != nil {
					require.ErrorIs(t, err, ErrNoRoom)
					break
				}
				sent = append(sent, n)
			}
			for _, n := range sent {
				if answered {
					require.NoError(t, dead.Keep(keep(n, strings.Repeat("x", maxReply))))
				}
			}
			require.NoError(t, current(dead).Close()) // as the kernel does for the killed

			j, err := Create(dir, "heir", Options{MaxReply: maxReply})
			require.NoError(t, err)
			found, err := Adopt(dir, "heir")
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.Len(t, found[0].Order, len(sent), "nothing is lost")
			require.Empty(t, found[0].Corrupt)
			require.NoError(t, found[0].Remove())
			require.NoError(t, j.Intent(t.Context(), []Intent{intent(1)}))
			require.NoError(t, j.Close())
		})
	}
}
