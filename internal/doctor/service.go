package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Service is what a running service says of itself.
type Service struct {
	NoAnswer error // it could not be asked at all
	Ready    Readiness
	Keyless  bool   // there was no key to ask more with
	NoStatus error  // there was one, and it did not do
	Status   Status // zero in both cases
	Version  string // of the program that asks
}

// Readiness is the part of the answer of /readyz that is judged.
type Readiness struct {
	Ready  bool `json:"ready"`
	Checks []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	} `json:"checks"`
	Findings []struct {
		Topic       string   `json:"topic"`
		Severity    Severity `json:"severity"`
		What        string   `json:"what"`
		Consequence string   `json:"consequence"`
		Remedy      string   `json:"remedy"`
	} `json:"findings"`
}

// OfRefreshd reports whether the answer is one that only a refreshd gives.
func (r Readiness) OfRefreshd() bool {
	for _, check := range r.Checks {
		if check.Name == checkRedis {
			return true
		}
	}
	return false
}

// The checks that readiness has.
const (
	checkRedis      = "redis"
	checkDurability = "durability"
)

// Status is the part of the answer of /v1/status that is judged.
type Status struct {
	Version  string `json:"version"`
	Recovery *struct {
		Gate      string           `json:"gate"`
		Settled   bool             `json:"settled"`
		InDoubt   int              `json:"in_doubt"`
		Processes []ServiceProcess `json:"processes"`
	} `json:"recovery"`
	Paused    bool `json:"paused"`
	Providers []struct {
		Name    string `json:"name"`
		Kind    string `json:"kind"`
		Paused  bool   `json:"paused"`
		Breaker struct {
			Open   bool   `json:"open"`
			Reason string `json:"reason"`
			Detail string `json:"detail"`
		} `json:"breaker"`
		Hold *struct {
			Until  time.Time `json:"until"`
			Reason string    `json:"reason"`
			Detail string    `json:"detail"`
		} `json:"hold"`
		TokensLive float64 `json:"tokens_live_seconds"`
	} `json:"providers"`
	Unconfigured []struct {
		Name        string `json:"name"`
		Credentials int    `json:"credentials"`
	} `json:"unconfigured_providers"`
	Queues []struct {
		Name     string `json:"name"`
		Paused   bool   `json:"paused"`
		Archived int    `json:"archived"`
	} `json:"queues"`
}

// ServiceProcess is one process that works on the service's Redis.
type ServiceProcess struct {
	Owner         string  `json:"owner"`
	Self          bool    `json:"self"`
	Listed        bool    `json:"listed"`
	Ready         bool    `json:"ready"`
	Silent        bool    `json:"silent"`
	SilentSeconds float64 `json:"silent_seconds"`
	Here          bool    `json:"here"`
	Locked        bool    `json:"locked"`
	Open          int     `json:"open_attempts"`
	InDoubt       int     `json:"in_doubt"`
}

// ownBeatMoves is within how many seconds the heartbeat of a process moves that
// lives and whose Redis takes writes: it does once a second.
const ownBeatMoves = 3

// cannotTell reports whether it is the one that answers, and its own heartbeat cannot
// be counted either: that of nobody proves anything then, and of the Redis that takes
// no writes there is a finding.
func (p ServiceProcess) cannotTell() bool {
	return p.Self && (p.Silent || p.SilentSeconds >= ownBeatMoves)
}

// settled reports whether it is proven dead, and all that it left is in doubt: that
// waits for nobody. Whoever holds the lock of its journal is its heir.
func (p ServiceProcess) settled() bool {
	return !p.Listed && p.Open > 0 && p.InDoubt == p.Open
}

// Ask judges what the service says. known is what was found without it, and is
// not told twice.
func Ask(s Service, known []Finding) []Finding {
	if s.NoAnswer != nil {
		return []Finding{{TopicService, Warn, s.NoAnswer.Error(), "it was not asked how it is", "start it, or set REFRESHD_URL"}}
	}
	list := readiness(s.Ready, known)
	switch {
	case s.Keyless:
		return append(list, Finding{TopicService, Warn, "there is no key to ask more with", unasked, "set REFRESHD_KEY, or run this as the user that can read admin.key"})
	case s.NoStatus != nil:
		return append(list, Finding{TopicService, Warn, "its status cannot be had: " + s.NoStatus.Error(), unasked, "set REFRESHD_KEY to a key of this service with the scope admin"})
	}
	if s.Status.Version != s.Version {
		list = append(list, Finding{
			TopicVersion, Warn, fmt.Sprintf("the service is version %s, and this is %s", cmp.Or(s.Status.Version, "unknown"), s.Version),
			"this one may judge what it does not know", "restart it after an upgrade",
		})
	}
	list = append(list, recovery(s.Status)...)
	list = append(list, breakers(s.Status)...)
	list = append(list, unconfigured(s.Status, known)...)
	list = append(list, pauses(s.Status)...)
	return append(list, queues(s.Status)...)
}

const unasked = "it was asked only whether it is ready"

// serviceTopic is the topic of what a service has found: about Redis, but for its
// journal.
func serviceTopic(name string) Topic {
	if name == string(TopicJournal) {
		return TopicJournal
	}
	return RedisTopic(name)
}

func readiness(r Readiness, known []Finding) []Finding {
	list := []Finding{{TopicService, OK, "it is ready", "", ""}}
	if !r.Ready {
		list[0] = Finding{TopicService, Fail, "it is not ready", "no valid token can be served, not even from memory", "mend what it says of Redis; its log has more"}
	}
	told := map[string]bool{}
	for _, f := range known {
		told[f.What] = true
	}
	emptied := false
	for _, f := range r.Findings {
		emptied = emptied || f.Topic == "installation"
		if !told[f.What] {
			list = append(list, Finding{serviceTopic(f.Topic), f.Severity, f.What, f.Consequence, f.Remedy})
		}
	}
	for _, check := range r.Checks {
		switch {
		case check.OK:
		case check.Name == checkDurability:
			if len(r.Findings) == 0 { // else they say it
				list = append(list, Finding{RedisTopic("persistence"), Fail, "the service says: " + check.Detail, "acknowledged writes may be lost", "look at the settings of Redis: INFO persistence"})
			}
		case check.Name == checkRedis && emptied:
			// Its finding says it, and work goes on there.
		case check.Name == checkRedis:
			list = append(list, Finding{TopicRedis, Fail, "the service says: " + check.Detail, "nothing is refreshed meanwhile", "bring Redis back; everything goes on by itself then"})
		default:
			list = append(list, Finding{TopicService, Fail, check.Detail, "it is not as it should be", "its log has more"})
		}
	}
	return list
}

func recovery(s Status) []Finding {
	r := s.Recovery
	if r == nil {
		return nil
	}
	working, late := 0, 0
	deaf := slices.ContainsFunc(r.Processes, ServiceProcess.cannotTell)
	var stopped, died, silent, left processes
	for _, one := range r.Processes {
		one.Silent = one.Silent && !deaf
		switch {
		case one.settled(): // the finding on what is in doubt tells of it
		case one.Silent && one.Locked:
			stopped.add(one)
		case (one.Silent || !one.Listed) && one.Here && !one.Locked:
			died.add(one)
		case !one.Listed:
			left.add(one)
		case one.Silent:
			silent.add(one)
		case r.Settled || one.Ready:
			working++
		default:
			late++
		}
	}
	list := []Finding{{TopicProcesses, OK, fmt.Sprintf("processes that work on the service's Redis: %d", working+late), "", ""}}
	warn := func(topic Topic, what, consequence, remedy string) {
		list = append(list, Finding{topic, Warn, what, consequence, remedy})
	}
	if len(stopped.owners) > 0 {
		consequence := "they are stopped, or dead and their journals are just being taken up; "
		if r.Settled {
			consequence += "what those have begun that are stopped waits until they go on or are killed, however long that takes: they may have tokens that nobody else has"
		} else {
			consequence += "of those that are stopped: Redis is another run, and may have lost what they know, and nothing at all is refreshed until those go on or are killed, however long that takes"
		}
		warn(TopicProcesses, "processes of the service's machine whose heartbeat stands still, and whose journal's lock is held: "+stopped.String(), consequence,
			"let those that are stopped go on (kill -CONT), or kill them: their journals are taken up at once then. If none is stopped, see in the service's log what keeps their journals from being taken up")
	}
	if len(died.owners) > 0 {
		warn(TopicProcesses, "processes of the service's machine that have died: "+died.String(),
			"what they have begun is taken up from their journals, within seconds if these can be read",
			"if it lasts, see the findings on journals, and the service's log, for what keeps them from being read")
	}
	if len(silent.owners) > 0 {
		warn(TopicProcesses, "processes elsewhere whose heartbeat stands still: "+silent.String(),
			"they are stopped, cut off from Redis, or dead; what they have begun waits for them, for recovery.quarantine, or three times that where a neighbour lives that can read their journals",
			"look after them and their machines")
	}
	if r.Gate == "closed" {
		warn(TopicRecovery, "Redis is another run, and this process is putting back what it knows", "nothing is stored and nothing refreshed until it has", "wait; if it lasts, the service's log says why")
	}
	if !r.Settled && late > 0 {
		warn(TopicRecovery, fmt.Sprintf("Redis is another run, and not all processes have put back what they know: %d have not", late), "refreshes wait until they have, or are proven dead", "start them again if they have died: their journals may hold tokens")
	}
	if len(left.owners) > 0 {
		warn(TopicProcesses, "processes that have no heartbeat any more, and left refreshes open: "+left.String(),
			"of what is in doubt see there; the rest waits until it is proven what became of it: until their journals are read, for recovery.quarantine, or three times that where a neighbour lives that can read them",
			"if they ran on a machine that is away, bring it back, with its data_dir")
	}
	if r.InDoubt > 0 {
		warn(TopicInDoubt, fmt.Sprintf("refreshes in doubt, which were sent and whose replies are unknown: %d", r.InDoubt), "their access tokens are served until they expire; the old refresh token is presented once more before that", "nothing; where it fails, the user logs in again")
	}
	return list
}

// processes are some that are not heard of.
type processes struct {
	owners  []string
	longest float64 // seconds since a heartbeat moved; 0 if that is not known
}

func (p *processes) add(one ServiceProcess) {
	p.owners, p.longest = append(p.owners, one.Owner), max(p.longest, one.SilentSeconds)
}

// String counts and names them.
func (p *processes) String() string {
	text := fmt.Sprintf("%d (%s)", len(p.owners), strings.Join(p.owners, ", "))
	if p.longest > 0 {
		text += fmt.Sprintf(", one for %s", time.Duration(p.longest)*time.Second)
	}
	return text
}

func breakers(s Status) []Finding {
	var list []Finding
	for _, one := range s.Providers {
		if one.Hold != nil {
			list = append(list, Finding{
				TopicProviders, Warn, fmt.Sprintf("provider %s has asked to be left alone until %s (%s)", one.Name, one.Hold.Until.Format(time.RFC3339), cmp.Or(one.Hold.Detail, one.Hold.Reason)),
				"nothing of it is refreshed before; tokens are served while they live", "nothing, it goes on by itself; if it comes often, set its limits lower",
			})
		}
		if one.TokensLive > 0 {
			list = append(list, Finding{
				TopicProviders, Warn, fmt.Sprintf("provider %s: tokens live %gs", one.Name, one.TokensLive),
				"that is shorter than schedule.min_interval, so they are dead in between", "see with refreshd provider check " + one.Name + " whether their life is told in another unit than the settings say; if they do live that short, lower schedule.min_interval",
			})
		}
		if one.Breaker.Open {
			why := one.Breaker.Reason
			if one.Breaker.Detail != "" {
				why += ": " + one.Breaker.Detail
			}
			list = append(list, Finding{
				TopicProviders, Warn, fmt.Sprintf("provider %s refuses the client (%s)", one.Name, why),
				"nothing of it is refreshed, but for a probe a minute", remedy(one.Kind, one.Name),
			})
		}
	}
	return list
}

// remedy says what to look at where a provider refuses the client.
func remedy(kind, name string) string {
	settings := "client_id, client_secret or URLs"
	if kind == "http" {
		settings = "URLs, and what its requests hold,"
	}
	return "put its " + settings + " right, and send SIGHUP; refreshd provider check " + name + " says what is wrong"
}

// unconfigured tells of providers that the service does not know, but for those
// that are known to be missing in the configuration that it is to have.
func unconfigured(s Status, known []Finding) []Finding {
	var list []Finding
	for _, one := range s.Unconfigured {
		f := Unconfigured(one.Name, one.Credentials, "its configuration")
		if !slices.ContainsFunc(known, func(k Finding) bool { return k.What == f.What }) {
			list = append(list, f)
		}
	}
	return list
}

// pauses tells what somebody holds back, which is no fault.
func pauses(s Status) []Finding {
	var list []Finding
	if s.Paused {
		list = append(list, Finding{TopicService, OK, "the whole service is paused; refreshd resume --all lets it go on", "", ""})
	}
	for _, one := range s.Providers {
		if one.Paused {
			list = append(list, Finding{TopicProviders, OK, fmt.Sprintf("provider %s is paused; refreshd resume --provider %s lets it go on", one.Name, one.Name), "", ""})
		}
	}
	return list
}

// queues judges the queues of tasks. Tasks that have failed for good are only
// told of: what is due comes back by itself, whatever became of its task.
func queues(s Status) []Finding {
	var list []Finding
	for _, one := range s.Queues {
		if one.Paused {
			list = append(list, Finding{TopicQueues, Warn, fmt.Sprintf("queue %s is paused", one.Name), "its tasks wait", "resume it at /monitoring"})
		}
		if one.Archived > 0 {
			list = append(list, Finding{
				TopicQueues, OK, fmt.Sprintf("tasks of queue %s that have failed for good: %d; nobody has to mend them, what is due comes back by itself", one.Name, one.Archived), "", "",
			})
		}
	}
	return list
}
