package doctor

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Config judges a configuration that is valid.
func Config(providers int, warnings []string) []Finding {
	list := []Finding{{TopicConfig, OK, "it is valid, with " + count(providers, "provider"), "", ""}}
	for _, warning := range warnings {
		list = append(list, Finding{TopicConfig, Warn, warning, "", ""})
	}
	return list
}

// BrokenConfig judges one that is not: each problem by itself, or, where there
// are none, the error with which it could not be read.
func BrokenConfig(err error, problems []string) []Finding {
	const consequence = "the service does not start with it, and a running one does not load it"
	if len(problems) == 0 {
		return []Finding{{TopicConfig, Fail, err.Error(), consequence, "name the file with --config or REFRESHD_CONFIG"}}
	}
	list := make([]Finding, 0, len(problems))
	for _, problem := range problems {
		list = append(list, Finding{TopicConfig, Fail, problem, consequence, "mend that line; refreshd config check looks again"})
	}
	return list
}

// Unconfigured judges live credentials of a provider that the configuration, which
// is in file, does not have.
func Unconfigured(provider string, credentials int, file string) Finding {
	consequence := "1 credential is kept as it is: it is not refreshed, nor is its end told"
	if credentials != 1 {
		consequence = fmt.Sprintf("%d credentials are kept as they are: they are not refreshed, nor is their end told", credentials)
	}
	return Finding{
		TopicProviders, Warn, fmt.Sprintf("live credentials belong to provider %s, which the configuration does not have", provider), consequence,
		fmt.Sprintf("put it back into %s under this name, and send SIGHUP; or delete what refreshd list --provider %s shows", file, provider),
	}
}

// UnknownOwners says that it could not be looked for that.
func UnknownOwners(err error) Finding {
	return Finding{
		TopicProviders, Warn, "it could not be told whether live credentials belong to providers that the configuration does not have: " + err.Error(),
		"those would not be refreshed", "see that Redis is well, and run doctor again",
	}
}

// Keyset judges the keyset file, which was opened with err.
func Keyset(path string, err error) Finding {
	switch {
	case err == nil:
		return Finding{TopicKeyset, OK, path + " can be read, and by its owner alone", "", ""}
	case errors.Is(err, os.ErrNotExist):
		return Finding{
			TopicKeyset, Warn, path + " does not exist", "the first start makes it; it opens nothing that another one has sealed",
			"if credentials are stored already, restore it from its backup",
		}
	}
	return Finding{TopicKeyset, Fail, err.Error(), unreadable, "run as the user that runs the service, or restore the file from its backup"}
}

// UnfitKeyset judges a keyset that is not the one of what Redis holds, or that
// is missing where one is needed.
func UnfitKeyset(err error) Finding {
	return Finding{TopicKeyset, Fail, err.Error(), unreadable, "restore keyset.file from its backup"}
}

const unreadable = "the service does not start, and what is stored cannot be opened"

// RedisAway judges a Redis that could not be looked at.
func RedisAway(err error) Finding {
	return Finding{
		TopicRedis, Fail, err.Error(), "the service waits for it for 30 s and does not start; a running one serves what it has in memory, and refreshes nothing",
		"have it run and answer, or put redis.url right",
	}
}

// RedisRefuses judges a Redis that takes no writes at present.
func RedisRefuses(why, remedy string) Finding {
	return Finding{
		TopicRedis, Fail, "it " + why, "the service does not start; a running one serves tokens while they live, and received ones stay in the journal",
		remedy,
	}
}

// RedisLoads judges a Redis that loads its data, as err says.
func RedisLoads(err error) Finding {
	return Finding{
		TopicRedis, Warn, err.Error(), "it answers little else until it has: a start waits for it; a running service serves what it has in memory, and refreshes nothing",
		"wait, and run doctor again",
	}
}

// RedisStartsLater judges the embedded one between two runs of the service.
func RedisStartsLater() Finding {
	return Finding{TopicRedis, OK, "it is the embedded redis-server, which starts with the service", "", ""}
}

// clockOff is how far a machine's clock may be from that of Redis before it is
// worth a word.
const clockOff = 5 * time.Second

// Clock judges how far this machine's clock is from that of Redis.
func Clock(off time.Duration) Finding {
	if off = off.Round(100 * time.Millisecond).Abs(); off <= clockOff {
		return Finding{TopicClock, OK, fmt.Sprintf("it is within %s of that of Redis", clockOff), "", ""}
	}
	return Finding{
		TopicClock, Warn, fmt.Sprintf("this machine's clock and that of Redis are %s apart", off),
		"refreshes go by the clock of Redis and are in time; certificates, and times that providers and logs name, go by this one",
		"have both set by NTP",
	}
}

const (
	// leastSpace is what a process takes at once, for its journal and for the
	// replies of the exchanges that are in the air.
	leastSpace = 64 << 20
	fewSpace   = 512 << 20
)

func space(free uint64) Finding {
	what := fmt.Sprintf("%d MiB are free for data_dir", free>>20)
	switch {
	case free < leastSpace:
		return Finding{TopicDiskSpace, Fail, what, "nothing is sent that could not be kept: refreshes stop", "make room"}
	case free < fewSpace:
		return Finding{TopicDiskSpace, Warn, what, "when all is used, refreshes stop", "make room"}
	}
	return Finding{TopicDiskSpace, OK, what, "", ""}
}

// Journals are the facts about the folder of the journals.
type Journals struct {
	Dir     string
	Medium  Medium
	Err     error // with which the medium could not be told
	Count   int
	Damaged int // put aside

	Unreadable []UnreadableJournal // of dead processes
}

// UnreadableJournal is a journal that nobody can take up as a whole.
type UnreadableJournal struct {
	Path    string
	Err     error // with which it was read
	Sealed  bool  // with a key that the keyset lacks
	Damaged bool  // in part; what can be read is taken up
}

// unread judges one of them.
func unread(j UnreadableJournal) Finding {
	const waits = "received tokens may be in it that are nowhere else, and what its process had begun waits until it can be read"
	switch {
	case j.Sealed:
		return Finding{
			TopicJournal, Fail, fmt.Sprintf("the journal %s was sealed with another keyset: %v", j.Path, j.Err), waits,
			"put back the keyset.file that its process had; the journal is taken up by itself then",
		}
	case j.Damaged:
		return Finding{
			TopicJournal, Warn, fmt.Sprintf("the journal of a dead process is damaged: %v", j.Err),
			"what can be read is taken up, the file is put aside, and what its process had begun counts as sent; received tokens may be lost",
			"look for the disk's trouble, and keep a copy of the file",
		}
	case errors.Is(j.Err, os.ErrPermission):
		return Finding{
			TopicJournal, Fail, fmt.Sprintf("the journal %s cannot be opened: %v", j.Path, j.Err), waits,
			"give it to the user that runs the service: chown; or run this as that user, if it is his already",
		}
	}
	return Finding{
		TopicJournal, Fail, fmt.Sprintf("the journal %s cannot be read: %v", j.Path, j.Err), waits,
		"mend what the error names, such as the disk, or the version of refreshd; the journal is taken up by itself then",
	}
}

// Medium is what a folder is on.
type Medium struct {
	Name    string // of the file system
	Network bool
	Dies    string // with what its content is lost, such as "the machine"; "" if it stays
}

// Journal judges the folder of the journals.
func Journal(j Journals) []Finding {
	if j.Err != nil {
		return []Finding{{TopicJournal, Fail, j.Err.Error(), "the service does not start", "set data_dir to a folder on a local disk that the service may write"}}
	}
	list := []Finding{medium(j.Medium)}
	if j.Damaged > 0 {
		list = append(list, Finding{
			TopicJournal, Warn, fmt.Sprintf("damaged journals that were put aside in %s: %d", j.Dir, j.Damaged), "received tokens may be in them that are nowhere else",
			"look for the disk's trouble; remove the files once nobody misses a login",
		})
	}
	if j.Count > 0 {
		list = append(list, Finding{TopicJournal, OK, fmt.Sprintf("journals in %s: %d, of running processes, or to be taken up by the next", j.Dir, j.Count), "", ""})
	}
	for _, one := range j.Unreadable {
		list = append(list, unread(one))
	}
	return list
}

func medium(m Medium) Finding {
	switch {
	case m.Network:
		return Finding{
			TopicJournal, Fail, "data_dir is on " + m.Name + ", a network file system", "a lock proves nothing there, so the service refuses it",
			"set data_dir to a folder on a local disk, one for each machine",
		}
	case m.Dies != "":
		return Finding{
			TopicJournal, Warn, "data_dir is on " + m.Name + ", which is lost with " + m.Dies,
			"received tokens that Redis does not hold yet are lost with it, and each costs a login",
			"keep data_dir on a disk, or a volume of its own for each process",
		}
	}
	return Finding{TopicJournal, OK, "data_dir is on a local disk", "", ""}
}

// fewFiles is what a busy service gets by with: a connection for each exchange,
// caller and subscriber.
const fewFiles = 4096

func limits(files, cores uint64) []Finding {
	list := []Finding{{TopicOpenFiles, OK, "enough files may be open at once", "", ""}}
	if files < fewFiles {
		list[0] = Finding{
			TopicOpenFiles, Warn, fmt.Sprintf("a process may have %d files open at once", files), "beyond that, callers and refreshes wait for a connection",
			fmt.Sprintf("raise the limit to %d or more: LimitNOFILE= in a unit, ulimit -n in a shell", fewFiles),
		}
	}
	if cores > 0 {
		return append(list, Finding{
			TopicCoreDumps, Warn, "a process that crashes may leave a core dump", "the tokens that it had in memory are in there, in the clear",
			"forbid it: LimitCORE=0 in a unit, ulimit -c 0 in a shell",
		})
	}
	return append(list, Finding{TopicCoreDumps, OK, "no core dumps are left", "", ""})
}
