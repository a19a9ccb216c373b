package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LookAtDataDir looks at the data folder, or at the nearest one above it that
// exists: whether the service can write there, and how much room there is. What
// it writes it takes away again.
func LookAtDataDir(dir string) []Finding {
	existing, is := Nearest(dir)
	list := []Finding{writing(dir, existing, is)}
	if list[0].Severity == Fail {
		return list
	}
	var st unix.Statfs_t
	if err := unix.Statfs(existing, &st); err != nil {
		return append(list, Finding{TopicDiskSpace, Warn, fmt.Sprintf("free space of %s is not known: %v", existing, err), "a full disk stops every refresh", ""})
	}
	return append(list, space(st.Bavail*uint64(st.Bsize))) //nolint:gosec // a block's size is positive
}

// NoAnswerFromDisk judges a data folder whose disk neither takes nor refuses what is
// written there.
func NoAnswerFromDisk(dir string) Finding {
	return Finding{
		TopicDataDir, Fail, "the disk of " + dir + " does not answer: what is written there neither fails nor returns",
		"the service does not start, and a running one begins nothing until it does",
		"look at that disk: a frozen file system, a volume or a controller that hangs",
	}
}

// Nearest returns the folder itself, or the nearest one above it that exists.
func Nearest(dir string) (existing string, is bool) {
	for is = true; ; is = false {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir, is
		}
		dir = filepath.Dir(dir)
	}
}

func writing(dir, existing string, is bool) Finding {
	const remedy = "let the user that runs refreshd write there (chown, chmod 700), or set data_dir to a folder on a disk"
	if !is {
		if err := makeIn(existing); err != nil {
			return Finding{TopicDataDir, Fail, fmt.Sprintf("%s does not exist, and cannot be made in %s: %v", dir, existing, err), "the service does not start", remedy}
		}
		return Finding{TopicDataDir, OK, dir + " does not exist yet; the first start makes it", "", ""}
	}
	err := writeTo(dir)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return Finding{TopicDataDir, Fail, fmt.Sprintf("%s has no room: %v", dir, err), "the service starts only if journals of dead processes give it room; a running one goes on with the room it has set aside, then begins nothing", "make room there"}
	}
	if err != nil {
		return Finding{TopicDataDir, Fail, fmt.Sprintf("%s is not writable: %v", dir, err), "the service does not start, and a running one begins nothing", remedy}
	}
	return Finding{TopicDataDir, OK, dir + " is writable", "", ""}
}

// makeIn makes a folder and takes it away again. What the permissions say is
// not enough: no folder can be made in /proc, whoever asks.
func makeIn(dir string) error {
	made, err := os.MkdirTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	return os.Remove(made)
}

// writeTo writes a file durably, and takes it away again.
func writeTo(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("refreshd doctor was here\n")
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// LookAtLimits looks at the limits under which this process runs, which are the
// service's where it is started in the same way.
func LookAtLimits() []Finding {
	var files, cores unix.Rlimit
	if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &files), unix.Getrlimit(unix.RLIMIT_CORE, &cores)); err != nil {
		return []Finding{{TopicOpenFiles, Warn, fmt.Sprintf("the limits cannot be read: %v", err), "", ""}}
	}
	return limits(files.Max, cores.Cur)
}
