package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/store"
)

// confirmWithin bounds how long a begun attempt is waited for. With
// appendfsync everysec Redis begins a sync once a second and looks ten times a
// second whether it is done.
const confirmWithin = 1300 * time.Millisecond

// watchRedis keeps Redis's promises in view until the service stops.
func (s *service) watchRedis(ctx context.Context) error {
	if err := s.registry.Register(redisconn.NewMetrics(&s.promises)); err != nil {
		return err
	}
	s.promises.Start(ctx, redisconn.KeeperOptions{
		View: func(ctx context.Context) (redisconn.View, error) {
			v, err := s.redis.View(ctx)
			if err == nil {
				_ = s.checkInstallation(ctx) // what it finds is told where it is looked for
			}
			return v, err
		},
		Log: logging.Component(s.log, "redis"),
		Looked: func(p redisconn.Promise) {
			s.store.SetConfirm(confirm(p, s.conf.Load().Recovery.Send))
			s.noteJournals(p)
		},
	})
	s.life.add("redis watch", func(context.Context) error { s.promises.Stop(); return nil })
	return nil
}

// lossWindow is how old an acknowledged write must be so that nothing takes it
// back.
func (s *service) lossWindow() time.Duration { return s.promises.Load().Loss }

// confirm is what attempts are waited for from now on, each at most as long as
// half the time that they have until they must be sent.
func confirm(p redisconn.Promise, send time.Duration) store.Confirm {
	if p.Away {
		return store.Confirm{}
	}
	waits := p.View.Waits()
	return store.Confirm{Enough: waits.Enough, AOF: waits.AOF, Replicas: waits.Replicas, Timeout: min(confirmWithin, send/2)}
}

// trouble are the findings that are not in order, as the API shows them.
func (s *service) trouble(p redisconn.Promise) []api.Finding {
	list := findings(p)
	if gone := s.installationFinding(); gone != nil {
		list = append([]api.Finding{*gone}, list...)
	}
	if s.file != nil {
		if stuck := journalFinding(s.file.Trouble(), s.journalDir()); stuck != nil {
			list = append([]api.Finding{*stuck}, list...)
		}
	}
	if left := s.engine.Unread(); left != "" {
		list = append(list, unreadFinding(left))
	}
	owners := s.waitsFor()
	switch {
	case len(owners) == 0:
	case s.emptied() != "":
		list = append(list, api.Finding{
			Topic: "recovery", Severity: string(redisconn.SeverityWarn),
			What:        "Redis does not hold what this process started on, and processes that do not answer have not put back what they know: " + strings.Join(owners, ", "),
			Consequence: "nothing is refreshed until they have, and no quarantine ends that: without the data of Redis they are refused at their start if they have journals, and those may hold newer tokens than anybody else; tokens in memory go on being served",
			Remedy:      "bring back Redis's data, and start them; or, if the data are gone for good, stop every refreshd, remove the file journal/installation in the data_dir of each, and start all of them again. If they are stopped, let them go on (kill -CONT)",
		})
	default:
		list = append(list, api.Finding{
			Topic: "recovery", Severity: string(redisconn.SeverityWarn),
			What:        "Redis was restarted or replaced, and processes that do not answer have not put back what they know: " + strings.Join(owners, ", "),
			Consequence: "nothing is refreshed until they have, or are proven dead, for they may hold tokens that Redis has lost; tokens in memory go on being served",
			Remedy:      "let those that are stopped go on (kill -CONT), or kill them; bring back machines that are away, which are waited for during recovery.quarantine. refreshd doctor tells which is where",
		})
	}
	return list
}

// unreadFinding tells of journals of other processes that cannot be taken up.
func unreadFinding(left string) api.Finding {
	return api.Finding{
		Topic: "journal", Severity: string(redisconn.SeverityFail),
		What: "journals of other processes in data_dir cannot be taken up: " + left,
		Consequence: "what those had begun waits until they can be, and received tokens may be in them that are nowhere else; " +
			"after a loss of Redis's last writes nothing is refreshed until then, or until recovery.quarantine is over",
		Remedy: "give the files to the user that runs the service (chown), or mend what the errors name; they are taken up by themselves then. " +
			"One that is lost for good can be moved out of the folder: nobody waits for it then, and what only it holds is lost",
	}
}

// waitsFor names those without whom nothing is begun, with what is seen of them.
func (s *service) waitsFor() []string {
	owners := s.engine.WaitsFor()
	if len(owners) == 0 {
		return nil
	}
	dir, err := filepath.Abs(s.journalDir())
	if err != nil {
		dir = s.journalDir()
	}
	return seenFrom(s.folder, dir, hostName(), owners)
}

// seenFrom adds to each owner what a process of that host, with its journal in dir, sees
// of it. Of one elsewhere nobody has told where that is: its name on the roster is a
// hash.
func seenFrom(folder refresh.Folder, dir, host string, owners []string) []string {
	if folder.Place() == "" { // it sees nobody's journal
		return owners
	}
	seen := make([]string, len(owners))
	for i, owner := range owners {
		file := journal.PathOf(dir, owner)
		there, locked, err := folder.Look(owner)
		switch {
		case err != nil:
			seen[i] = fmt.Sprintf("%s (%s cannot be looked at on %s)", owner, file, host)
		case locked:
			seen[i] = fmt.Sprintf("%s (on %s, where %s is locked: it is not dead)", owner, host, file)
		case there:
			seen[i] = fmt.Sprintf("%s (on %s, where it has left %s)", owner, host, file)
		default:
			seen[i] = fmt.Sprintf("%s (elsewhere: it has no journal in %s on %s)", owner, dir, host)
		}
	}
	return seen
}

// hostName is this machine's, for people.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "this machine"
	}
	return name
}

// journalFinding tells that nothing can be begun because of the journal in dir; nil
// where there is no trouble with it.
func journalFinding(trouble error, dir string) *api.Finding {
	f := &api.Finding{Topic: "journal", Severity: string(redisconn.SeverityFail)}
	switch {
	case errors.Is(trouble, journal.ErrNoRoom):
		f.What = "the journal in " + dir + " finds no room: its disk is full, or a quota or a limit on file sizes is used up"
		f.Consequence = "what came of a refresh or a login could not be kept, so none is begun but where some room comes free for a moment; tokens that are valid go on being served"
		f.Remedy = "make room on the disk of data_dir, or make it larger; no restart is needed, everything goes on by itself then"
	case errors.Is(trouble, journal.ErrBroken):
		f.What = "the journal in " + dir + " cannot be written"
		f.Consequence = "nothing is refreshed and no login is taken, for what came of it could not be kept; tokens that are valid go on being served"
		f.Remedy = "look in the service's log for the cause, and at the disk of data_dir; another file is tried every few seconds, and everything goes on by itself then"
	case errors.Is(trouble, journal.ErrStalled):
		f.What = "the disk of the journal in " + dir + " does not answer: a write or a sync neither fails nor returns"
		f.Consequence = "nothing is refreshed here and no login is taken, for what came of it could not be kept; tokens that are valid go on being served, other processes go on, and received tokens wait for the disk"
		f.Remedy = "look at the disk of data_dir: a frozen file system, a volume or a controller that hangs; no restart is needed, everything goes on by itself when it answers"
	default:
		return nil
	}
	return f
}

// findings are those about what Redis promises.
func findings(p redisconn.Promise) []api.Finding {
	var list []api.Finding
	for _, f := range p.Trouble() {
		list = append(list, api.Finding{
			Topic: f.Topic, Severity: string(f.Severity), What: f.What, Consequence: f.Consequence, Remedy: f.Remedy,
		})
	}
	return list
}

// durabilityCheck is the promise as readiness shows it: not in order once
// something is found that loses credentials, or keeps them from being stored.
func durabilityCheck(p redisconn.Promise) api.Check {
	c := api.Check{Name: "durability", OK: !p.Away, Detail: p.Words()}
	if p.Away {
		c.Detail = "unknown, Redis is not reachable; before: " + c.Detail
		return c
	}
	for _, f := range p.Findings {
		if f.Severity == redisconn.SeverityFail {
			c.OK = false
			c.Detail = f.What + ": " + f.Consequence
			if f.Remedy != "" {
				c.Detail += "; " + f.Remedy
			}
			return c
		}
	}
	return c
}
