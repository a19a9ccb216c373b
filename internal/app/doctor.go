package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/seal"
)

// Finding is one thing that was looked at, and what follows from it.
type Finding struct {
	Topic       string `json:"topic"`    // such as keyset, or redis eviction
	Severity    string `json:"severity"` // ok, warn or fail
	What        string `json:"what"`
	Consequence string `json:"consequence,omitempty"`
	Remedy      string `json:"remedy,omitempty"`
}

// The severities of a [Finding].
const (
	SeverityOK   = string(redisconn.SeverityOK)
	SeverityWarn = string(redisconn.SeverityWarn) // it works, and is not as it should be
	SeverityFail = string(redisconn.SeverityFail) // it does not work, or loses credentials
)

// DoctorOptions say what to examine.
type DoctorOptions struct {
	Config string   // path of the configuration file
	Env    []string // as of os.Environ
}

// Doctor looks at what a service with that configuration needs on this machine:
// the configuration itself, the data folder, the keyset, Redis, the clock, the
// limits of a process. It needs no running service, changes nothing, and looks
// with the permissions of whoever calls it.
func Doctor(ctx context.Context, opts DoctorOptions) []Finding {
	conf, err := config.Load(opts.Config, opts.Env)
	if err != nil {
		return brokenConfig(err)
	}
	list := []Finding{{"config", SeverityOK, fmt.Sprintf("it is valid, with %d providers", len(conf.Providers)), "", ""}}
	for _, warning := range conf.Warnings {
		list = append(list, Finding{"config", SeverityWarn, warning, "", ""})
	}
	list = append(list, examineDataDir(conf.DataDir)...)
	list = append(list, examineKeyset(conf.Keyset.File))
	list = append(list, examineRedis(ctx, conf)...)
	return append(list, examineLimits()...)
}

func brokenConfig(err error) []Finding {
	const consequence = "the service does not start with it, and a running one does not load it"
	invalid, ok := errors.AsType[*config.InvalidError](err)
	if !ok {
		return []Finding{{"config", SeverityFail, err.Error(), consequence, "name the file with --config or REFRESHD_CONFIG"}}
	}
	list := make([]Finding, 0, len(invalid.Problems))
	for _, problem := range invalid.Problems {
		list = append(list, Finding{"config", SeverityFail, problem.String(), consequence, ""})
	}
	return list
}

func examineKeyset(path string) Finding {
	const topic = "keyset"
	_, _, err := seal.Open(path, seal.Options{MustExist: true})
	switch {
	case err == nil:
		return Finding{topic, SeverityOK, path + " can be read, and by its owner alone", "", ""}
	case errors.Is(err, os.ErrNotExist):
		return Finding{
			topic, SeverityWarn, path + " does not exist", "the first start makes it; it opens nothing that another one has sealed",
			"if credentials are stored already, restore it from its backup",
		}
	}
	return Finding{topic, SeverityFail, err.Error(), "the service does not start, and what is stored cannot be opened", ""}
}

// clockOff is how far this machine's clock may be from that of Redis before it
// is worth a word.
const clockOff = 5 * time.Second

func examineRedis(ctx context.Context, conf *config.Config) []Finding {
	const topic = "redis"
	v, err := redisconn.Look(ctx, redisconn.Options{URL: conf.Redis.URL, DataDir: conf.DataDir})
	switch {
	case errors.Is(err, redisconn.ErrNotRunning):
		return []Finding{{topic, SeverityOK, "it is the embedded redis-server, which starts with the service", "", ""}}
	case err != nil:
		return []Finding{{
			topic, SeverityFail, err.Error(), "the service waits for it for 30 s and does not start; a running one serves what it has in memory, and refreshes nothing", "",
		}}
	}
	list := []Finding{}
	for _, f := range redisconn.Assess(v, redisconn.View{}) {
		list = append(list, Finding{topic + " " + f.Topic, string(f.Severity), f.What, f.Consequence, f.Remedy})
	}
	if v.Clock.IsZero() {
		return list
	}
	off := v.At.Sub(v.Clock).Round(100 * time.Millisecond)
	if off.Abs() <= clockOff {
		return append(list, Finding{"clock", SeverityOK, fmt.Sprintf("it is within %s of that of Redis", clockOff), "", ""})
	}
	return append(list, Finding{
		"clock", SeverityWarn, fmt.Sprintf("this machine's clock and that of Redis are %s apart", off.Abs()),
		"refreshes go by the clock of Redis and are in time; certificates, and times that providers and logs name, go by this one",
		"have both set by NTP",
	})
}

// nearest returns the folder itself, or the nearest one above it that exists.
func nearest(dir string) (existing string, is bool) {
	for is = true; ; is = false {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir, is
		}
		dir = filepath.Dir(dir)
	}
}

// journalsLeft counts the journals in a folder, and those that were damaged and
// put aside.
func journalsLeft(dir string) (journals, damaged int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0 // what is wrong with the folder is another finding
	}
	for _, entry := range entries {
		switch {
		case strings.HasSuffix(entry.Name(), ".wal"):
			journals++
		case strings.HasSuffix(entry.Name(), ".damaged"):
			damaged++
		}
	}
	return journals, damaged
}
