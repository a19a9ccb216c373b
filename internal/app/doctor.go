package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/doctor"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// Finding is one thing that was looked at, and what follows from it.
type Finding = doctor.Finding

// Answers are what a running service says of itself.
type Answers = doctor.Service

// Listener says who answers at an address.
type Listener = doctor.Listener

// Who answers at an address.
const (
	ListenerUnknown = doctor.ListenerUnknown
	ListenerOurs    = doctor.ListenerOurs
	ListenerOther   = doctor.ListenerOther
)

// SeverityFail is that of a [Finding] that does not work, or loses credentials.
const SeverityFail = doctor.Fail

// DoctorOptions say what to examine.
type DoctorOptions struct {
	Config string   // path of the configuration file
	Env    []string // as of os.Environ
	// Ask asks the running service how it is, nil if it cannot be told where
	// that is. It is called once at the most.
	Ask func(ctx context.Context) *Answers
	// Who tells who answers at the configured address, and how that was told.
	// It is called only if something listens there.
	Who func(ctx context.Context) (Listener, string)
}

// Doctor looks at what a service with that configuration needs on this machine,
// and asks the service how it is. It needs no running service, changes nothing,
// and looks with the permissions of whoever calls it.
func Doctor(ctx context.Context, opts DoctorOptions) []Finding {
	list := examine(ctx, opts)
	if said := opts.Ask(ctx); said != nil {
		list = append(list, doctor.Ask(*said, list)...)
	}
	return list
}

func examine(ctx context.Context, opts DoctorOptions) []Finding {
	conf, err := LoadConfig(opts.Config, opts.Env)
	if err != nil {
		var problems []string
		if invalid, ok := errors.AsType[*config.InvalidError](err); ok {
			for _, problem := range invalid.Problems {
				problems = append(problems, problem.String())
			}
		}
		return doctor.BrokenConfig(err, problems)
	}
	list := doctor.Config(len(conf.Providers), conf.Warnings)
	if problems := CheckSinks(conf); len(problems) > 0 {
		list = doctor.BrokenConfig(nil, problems)
	}
	list = append(list, examineDataDir(conf)...)
	v, away := redisconn.Look(ctx, redisconn.Options{URL: conf.Redis.URL, DataDir: conf.DataDir})
	list = append(list, examineStored(ctx, conf, opts.Config, away == nil && v.Kind != redisconn.KindMemory)...)
	list = append(list, examineAddresses(ctx, conf, opts)...)
	list = append(list, examineRedis(v, away)...)
	return append(list, doctor.LookAtLimits()...)
}

// diskPatience is how long the disk of data_dir is waited for. One that is merely
// slow writes the few bytes long before.
const diskPatience = 10 * time.Second

// examineDataDir does not wait for a disk that hangs: the rest is told all the same.
func examineDataDir(conf *config.Config) []Finding {
	found := make(chan []Finding, 1)
	go func() { found <- lookIntoDataDir(conf) }()
	return within(diskPatience, found, doctor.NoAnswerFromDisk(conf.DataDir))
}

// within returns what is found in time, or what is the case if nothing is.
func within(patience time.Duration, found <-chan []Finding, nothing Finding) []Finding {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case list := <-found:
		return list
	case <-timer.C:
		return []Finding{nothing}
	}
}

func lookIntoDataDir(conf *config.Config) []Finding {
	list := doctor.LookAtDataDir(conf.DataDir)
	if list[0].Severity == doctor.Fail {
		return list
	}
	journals := doctor.Journals{Dir: filepath.Join(conf.DataDir, "journal")}
	existing, _ := doctor.Nearest(journals.Dir)
	medium, err := journal.MediumOf(existing)
	journals.Medium, journals.Err = doctor.Medium(medium), err
	journals.Count, journals.Damaged = journalsLeft(journals.Dir)
	journals.Unreadable = examineJournals(journals.Dir, conf.Keyset.File)
	return append(list, doctor.Journal(journals)...)
}

// examineJournals reads the journals of dead processes as one that adopts them
// would, and returns those that it could not read.
func examineJournals(dir, keyset string) []doctor.UnreadableJournal {
	entries, _ := os.ReadDir(dir) // what is wrong with the folder is another finding
	keys, _, keyless := seal.Open(keyset, seal.Options{MustExist: true})
	var list []doctor.UnreadableJournal
	for _, entry := range entries {
		owner, ok := journal.OwnerOf(entry.Name())
		if !ok {
			continue
		}
		one := doctor.UnreadableJournal{Path: filepath.Join(dir, entry.Name())}
		dead, err := journal.Examine(dir, owner)
		switch {
		case err != nil:
			one.Err = err
		case dead == nil:
			continue // its process reads it by itself
		default:
			if one.Damaged = len(dead.Corrupt) > 0; one.Damaged {
				one.Err = dead.Corrupt[0]
			}
			if keyless == nil { // else that is another finding
				if _, err := (&sealedJournal{keys: keys}).open(dead); err != nil {
					one.Err, one.Sealed = err, true
				}
			}
			_ = dead.Release() // nothing was written
		}
		if one.Err != nil {
			list = append(list, one)
		}
	}
	return list
}

func examineAddresses(ctx context.Context, conf *config.Config, opts DoctorOptions) []Finding {
	api := doctor.Address{Topic: doctor.TopicListen, Listen: conf.Listen, Taken: doctor.TryAddress(ctx, conf.Listen)}
	if api.Taken != nil {
		api.Listener, api.Why = opts.Who(ctx)
	}
	list := []Finding{doctor.Listen(api)}
	if conf.MetricsListen != "" {
		// A running service listens on both; who scrapes the other is not asked.
		metrics := doctor.Address{
			Topic: doctor.TopicMetricsListen, Listen: conf.MetricsListen, Taken: doctor.TryAddress(ctx, conf.MetricsListen), Listener: api.Listener,
		}
		list = append(list, doctor.Listen(metrics))
	}
	return list
}

// examineStored looks at the keyset's file and, where Redis can be asked,
// whether it is the one of what is stored there, and whether the configuration
// has the providers of that.
func examineStored(ctx context.Context, conf *config.Config, file string, redisAnswers bool) []Finding {
	keys, _, err := seal.Open(conf.Keyset.File, seal.Options{MustExist: true})
	missing := errors.Is(err, os.ErrNotExist)
	if !redisAnswers || err != nil && !missing {
		return []Finding{doctor.Keyset(conf.Keyset.File, err)}
	}
	within, cancel := context.WithTimeout(ctx, compareWithin)
	defer cancel()
	var left []Finding
	unfit := fitsStored(within, conf, keys, func(s *store.Store) { left = examineProviders(ctx, s, conf, file) })
	if of, is := ofRedis(unfit); is {
		left = []Finding{of}
	} else if unfit != nil {
		return []Finding{doctor.UnfitKeyset(unfit)}
	}
	return append([]Finding{doctor.Keyset(conf.Keyset.File, err)}, left...)
}

// ofRedis judges an error with which a keyset could not be compared, if it is one of
// Redis: it says nothing of the keyset.
func ofRedis(err error) (of Finding, is bool) {
	if err == nil {
		return Finding{}, false
	}
	if refused, ok := errors.AsType[*redisconn.RefusedError](err); ok {
		return doctor.RedisRefuses(fmt.Sprintf("%s, and refused what a start has to write first (%s)", refused.Why, refused.What), refused.Remedy), true
	}
	if redisconn.Loads(err) {
		return doctor.RedisLoads(err), true
	}
	_, answered := errors.AsType[redis.Error](err)
	_, cut := errors.AsType[net.Error](err)
	return doctor.RedisAway(err), answered || cut || errors.Is(err, io.EOF)
}

// compareWithin bounds how long a Redis that has just answered is waited for.
const compareWithin = 5 * time.Second

// examineRedis judges what a look at Redis brought.
func examineRedis(v redisconn.View, err error) []Finding {
	switch {
	case errors.Is(err, redisconn.ErrNotRunning):
		return []Finding{doctor.RedisStartsLater()}
	case redisconn.Loads(err):
		return []Finding{doctor.RedisLoads(err)}
	case err != nil:
		return []Finding{doctor.RedisAway(err)}
	}
	list := []Finding{}
	for _, f := range redisconn.Assess(v, redisconn.View{}) {
		list = append(list, Finding{
			Topic: doctor.RedisTopic(f.Topic), Severity: doctor.Severity(f.Severity), What: f.What, Consequence: f.Consequence, Remedy: f.Remedy,
		})
	}
	if !v.Clock.IsZero() {
		list = append(list, doctor.Clock(v.At.Sub(v.Clock)))
	}
	return list
}

// QuietLibraries keeps what libraries would write to the standard error by
// themselves from it. Commands say what went wrong in their own words.
func QuietLibraries() { redis.SetLogger(logging.NewRedis(zerolog.Nop())) }
