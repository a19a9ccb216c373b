package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/refreshd/refreshd/internal/journal"
)

const (
	// leastSpace is what a process takes at once, for its journal and for the
	// replies of the exchanges that are in the air.
	leastSpace = 64 << 20
	fewSpace   = 512 << 20
	// fewFiles is what a busy service gets by with: a connection for each
	// exchange, caller and subscriber.
	fewFiles = 4096
)

func examineDataDir(dir string) []Finding {
	existing, is := nearest(dir)
	list := []Finding{examineWriting(dir, existing, is)}
	if list[0].Severity == SeverityFail {
		return list
	}
	list = append(list, examineSpace(existing))
	journals := filepath.Join(dir, "journal")
	place, _ := nearest(journals)
	return append(list, examineJournal(journals, place)...)
}

func examineWriting(dir, existing string, is bool) Finding {
	const topic = "data_dir"
	remedy := "let the user that runs refreshd write there: chown, chmod 700"
	if !is {
		if err := unix.Access(existing, unix.W_OK|unix.X_OK); err != nil {
			return Finding{topic, SeverityFail, fmt.Sprintf("%s does not exist, and %s is not writable: %v", dir, existing, err), "the service does not start", remedy}
		}
		return Finding{topic, SeverityOK, dir + " does not exist yet; the first start makes it", "", ""}
	}
	err := writeTo(dir)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return Finding{topic, SeverityFail, fmt.Sprintf("%s has no room: %v", dir, err), "the service does not start; a running one goes on with the room it has set aside, then begins nothing", "make room there"}
	}
	if err != nil {
		return Finding{topic, SeverityFail, fmt.Sprintf("%s is not writable: %v", dir, err), "the service does not start, and a running one begins nothing", remedy}
	}
	return Finding{topic, SeverityOK, dir + " is writable", "", ""}
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

func examineSpace(dir string) Finding {
	const topic = "space"
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Finding{topic, SeverityWarn, fmt.Sprintf("free space of %s is not known: %v", dir, err), "a full disk stops every refresh", ""}
	}
	return judgeSpace(st.Bavail * uint64(st.Bsize)) //nolint:gosec // a block's size is positive
}

func judgeSpace(free uint64) Finding {
	const topic = "space"
	what := fmt.Sprintf("%d MiB are free for data_dir", free>>20)
	switch {
	case free < leastSpace:
		return Finding{topic, SeverityFail, what, "nothing is sent that could not be kept: refreshes stop", "make room"}
	case free < fewSpace:
		return Finding{topic, SeverityWarn, what, "when all is used, refreshes stop", "make room"}
	}
	return Finding{topic, SeverityOK, what, "", ""}
}

// examineJournal looks at the folder of the journals, or at the nearest one
// above it that exists.
func examineJournal(dir, existing string) []Finding {
	const topic = "journal"
	m, err := journal.MediumOf(existing)
	if err != nil {
		return []Finding{{topic, SeverityFail, err.Error(), "the service does not start", ""}}
	}
	list := []Finding{judgeMedium(m)}
	journals, damaged := journalsLeft(dir)
	if damaged > 0 {
		list = append(list, Finding{
			topic, SeverityWarn, fmt.Sprintf("damaged journals that were put aside in %s: %d", dir, damaged), "received tokens may be in them that are nowhere else",
			"look for the disk's trouble; remove the files once nobody misses a login",
		})
	}
	if journals > 0 {
		list = append(list, Finding{topic, SeverityOK, fmt.Sprintf("journals in %s: %d, of running processes, or to be taken up by the next", dir, journals), "", ""})
	}
	return list
}

func judgeMedium(m journal.Medium) Finding {
	const topic = "journal"
	switch {
	case m.Network:
		return Finding{
			topic, SeverityFail, "data_dir is on " + m.Name + ", a network file system", "a lock proves nothing there, so the service refuses it",
			"set data_dir to a folder on a local disk, one for each machine",
		}
	case m.Dies != "":
		return Finding{
			topic, SeverityWarn, "data_dir is on " + m.Name + ", which is lost with " + m.Dies,
			"received tokens that Redis does not hold yet are lost with it, and each costs a login",
			"keep data_dir on a disk, or a volume of its own for each process",
		}
	}
	return Finding{topic, SeverityOK, "data_dir is on a local disk", "", ""}
}

// examineLimits looks at the limits under which this command runs, which are
// the service's where it is started in the same way.
func examineLimits() []Finding {
	var files, cores unix.Rlimit
	if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &files), unix.Getrlimit(unix.RLIMIT_CORE, &cores)); err != nil {
		return []Finding{{"limits", SeverityWarn, fmt.Sprintf("they cannot be read: %v", err), "", ""}}
	}
	return judgeLimits(files.Max, cores.Cur)
}

func judgeLimits(files, cores uint64) []Finding {
	list := []Finding{{"files", SeverityOK, "enough files may be open at once", "", ""}}
	if files < fewFiles {
		list[0] = Finding{
			"files", SeverityWarn, fmt.Sprintf("a process may have %d files open at once", files), "beyond that, callers and refreshes wait for a connection",
			fmt.Sprintf("raise the limit to %d or more: LimitNOFILE= in a unit, ulimit -n in a shell", fewFiles),
		}
	}
	if cores > 0 {
		return append(list, Finding{
			"cores", SeverityWarn, "a process that crashes may leave a core dump", "the tokens that it had in memory are in there, in the clear",
			"forbid it: LimitCORE=0 in a unit, ulimit -c 0 in a shell",
		})
	}
	return append(list, Finding{"cores", SeverityOK, "no core dumps are left", "", ""})
}
