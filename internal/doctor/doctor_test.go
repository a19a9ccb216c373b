package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// judged checks that what is not in order says what follows and what to do, and
// returns the severities.
func judged(t *testing.T, list ...Finding) []Severity {
	t.Helper()
	var all []Severity
	for _, f := range list {
		all = append(all, f.Severity)
		assert.Equal(t, f.Severity != OK, f.Consequence != "", f.What)
		assert.Equal(t, f.Severity != OK, f.Remedy != "", f.What)
		assert.Regexp(t, `^[a-z_]+$`, f.Topic)
	}
	return all
}

func TestJudgements(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []Severity{Fail, Warn, OK}, judged(t, space(1<<20), space(100<<20), space(1<<40)))
	dying := Medium{Name: "emptyDir", Dies: "the pod"}
	assert.Equal(t, []Severity{Fail, Warn, OK}, judged(t, medium(Medium{Name: "NFS", Network: true}), medium(dying), medium(Medium{})))
	assert.Contains(t, medium(dying).What, "emptyDir, which is lost with the pod")
	assert.Equal(t, []Severity{OK, OK}, judged(t, limits(65536, 0)...))
	assert.Equal(t, []Severity{Warn, Warn}, judged(t, limits(1024, 1)...))
	assert.Equal(t, []Severity{OK, OK, Warn}, judged(t, Clock(time.Second), Clock(-5*time.Second), Clock(-time.Minute)))
	assert.Contains(t, Clock(-time.Minute).What, " are 1m0s apart")
	assert.Equal(t, []Severity{OK, Warn}, judged(t, Keyset("k", nil), Keyset("k", fmt.Errorf("open: %w", os.ErrNotExist))))
	assert.Equal(t, Fail, Keyset("k", errors.New("no")).Severity)
	assert.Equal(t, []Severity{OK, Warn, Fail}, judged(t, RedisStartsLater(), RedisLoads(errors.New("loading")), RedisAway(errors.New("no"))))
	journals := Journal(Journals{Dir: "j", Count: 2, Damaged: 1})
	assert.Equal(t, []Severity{OK, Warn, OK}, judged(t, journals...))
	assert.Equal(t, Fail, Journal(Journals{Err: errors.New("no")})[0].Severity)
}

func TestCountsAreInWords(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "it is valid, with 0 providers", Config(0, nil)[0].What)
	assert.Equal(t, "it is valid, with 1 provider", Config(1, nil)[0].What)
	assert.Equal(t, "it is valid, with 2 providers", Config(2, []string{"x"})[0].What)
}

// The data folder: one that exists, one that can be made, one that cannot,
// whatever the permissions say.
func TestDataDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]Severity{
		dir: OK, filepath.Join(dir, "a", "b"): OK, "/proc/nope": Fail, "/proc/self/nope/deeper": Fail,
	} {
		list := LookAtDataDir(path)
		assert.Equal(t, []Severity{want}, judged(t, list[0]), list[0].What)
		assert.Equal(t, TopicDataDir, list[0].Topic)
		assert.Equal(t, want == OK, len(list) == 2, "the space of a folder that cannot be had is nobody's business")
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "what was made was taken away again")
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := ln.Addr().String()
	_, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	for _, taken := range []string{at, ":" + port, "0.0.0.0:" + port} {
		require.ErrorIs(t, TryAddress(t.Context(), taken), syscall.EADDRINUSE, taken)
	}
	require.NoError(t, ln.Close())
	require.NoError(t, TryAddress(t.Context(), at))
	require.NoError(t, TryAddress(t.Context(), ":"+port))
	require.NoError(t, TryAddress(t.Context(), "127.0.0.1:0"), "any port that is free")
	require.ErrorIs(t, TryAddress(t.Context(), "192.0.2.1:"+port), syscall.EADDRNOTAVAIL) // TEST-NET-1 (RFC 5737)

	used := fmt.Errorf("bind: %w", syscall.EADDRINUSE)
	assert.Equal(t, []Severity{OK, OK, Fail, Warn, Fail, Warn}, judged(t,
		Listen(Address{Topic: TopicListen, Listen: at}),
		Listen(Address{Topic: TopicListen, Listen: at, Taken: used, Listener: ListenerOurs}),
		Listen(Address{Topic: TopicListen, Listen: at, Taken: used, Listener: ListenerOther, Why: "it says 220"}),
		Listen(Address{Topic: TopicListen, Listen: at, Taken: used}),
		Listen(Address{Topic: TopicListen, Listen: at, Taken: syscall.EADDRNOTAVAIL}),
		Listen(Address{Topic: TopicListen, Listen: at, Taken: syscall.EACCES}),
	))
}

// asked judges what a service says, as it comes in JSON.
func asked(t *testing.T, ready, status string, known ...Finding) []Finding {
	t.Helper()
	s := Service{Version: "1"}
	require.NoError(t, json.Unmarshal([]byte(ready), &s.Ready))
	require.NoError(t, json.Unmarshal([]byte(status), &s.Status))
	return Ask(s, known)
}

const isReady = `{"ready": true, "checks": [{"name": "redis", "ok": true}]}`

func TestServiceInOrder(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []Finding{{TopicService, OK, "it is ready", "", ""}}, asked(t, isReady, `{"version": "1"}`))
	assert.Equal(t, TopicVersion, asked(t, isReady, `{"version": "2"}`)[1].Topic)
	assert.Equal(t, Warn, Ask(Service{NoAnswer: errors.New("no service answers")}, nil)[0].Severity)
	assert.Equal(t, Warn, judged(t, Ask(Service{Keyless: true}, nil)[1])[0])
	assert.Equal(t, Warn, Ask(Service{NoStatus: errors.New("no")}, nil)[1].Severity)
}

func TestOnlyARefreshdIsOne(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{isReady: true, `{}`: false, `{"ready": true}`: false, `{"checks": [{"name": "db"}]}`: false} {
		var r Readiness
		require.NoError(t, json.Unmarshal([]byte(text), &r))
		assert.Equal(t, want, r.OfRefreshd(), text)
	}
}

func TestServiceInTrouble(t *testing.T) {
	t.Parallel()
	const finding = `{"topic": "eviction", "severity": "fail", "what": "it evicts", "consequence": "c", "remedy": "r"}`
	evicts := Finding{"redis_eviction", Fail, "it evicts", "c", "r"}
	list := asked(t, `{"ready": false, "checks": [{"name": "redis", "ok": false, "detail": "away"}, {"name": "durability", "ok": false, "detail": "d"}], "findings": [`+finding+`]}`, `{"version": "1"}`)
	require.Len(t, list, 3)
	assert.Equal(t, Fail, list[0].Severity)
	assert.Equal(t, evicts, list[1])
	assert.Equal(t, TopicRedis, list[2].Topic)
	assert.Contains(t, list[2].What, "away")
	list = asked(t, `{"ready": true, "checks": [{"name": "durability", "ok": false, "detail": "d"}], "findings": []}`, `{"version": "1"}`)
	assert.Equal(t, Topic("redis_persistence"), list[1].Topic)
	list = asked(t, `{"ready": true, "findings": [`+finding+`]}`, `{"version": "1"}`, evicts)
	assert.Len(t, list, 1, "told already")
	assert.Equal(t, TopicRedis, RedisTopic("something new"))

	list = asked(t, `{"ready": true, "findings": [{"topic": "journal", "severity": "fail", "what": "no room", "consequence": "c", "remedy": "r"}]}`, `{"version": "1"}`)
	assert.Equal(t, Finding{TopicJournal, Fail, "no room", "c", "r"}, list[1])

	// An emptied Redis is told of once, and nobody says that nothing goes on there.
	list = asked(t, `{"ready": true, "checks": [{"name": "redis", "ok": false, "detail": "it has come back empty"}],
		"findings": [{"topic": "installation", "severity": "fail", "what": "it has come back empty", "consequence": "c", "remedy": "r"}]}`, `{"version": "1"}`)
	assert.Equal(t, []Finding{{TopicService, OK, "it is ready", "", ""}, {TopicRedis, Fail, "it has come back empty", "c", "r"}}, list)
}

func TestProcessesOfTheService(t *testing.T) {
	t.Parallel()
	list := asked(t, isReady, `{"version": "1", "recovery": {"gate": "closed", "settled": false, "in_doubt": 2, "processes": [
		{"owner": "a", "self": true, "listed": true, "ready": true, "silent_seconds": 0.4}, {"owner": "b", "listed": true},
		{"owner": "c", "listed": true, "silent": true, "silent_seconds": 95.4}, {"owner": "d"},
		{"owner": "e", "listed": true, "silent": true, "silent_seconds": 700, "here": true, "locked": true},
		{"owner": "f", "here": true, "open_attempts": 1}]}}`)
	var topics []Topic
	for _, f := range list[2:] {
		assert.Equal(t, Warn, f.Severity)
		topics = append(topics, f.Topic)
	}
	assert.Equal(t, "processes that work on the service's Redis: 2", list[1].What)
	assert.Equal(t, []Topic{TopicProcesses, TopicProcesses, TopicProcesses, TopicRecovery, TopicRecovery, TopicProcesses, TopicInDoubt}, topics)
	stopped, died, silent, left := list[2], list[3], list[4], list[7]
	assert.Equal(t, "processes of the service's machine whose heartbeat stands still, and whose journal's lock is held: 1 (e), one for 11m40s", stopped.What)
	assert.Contains(t, stopped.Consequence, "they are stopped, or dead and their journals are just being taken up")
	assert.Contains(t, stopped.Consequence, "nothing at all is refreshed until those go on or are killed")
	assert.Equal(t, "processes of the service's machine that have died: 1 (f)", died.What)
	assert.Equal(t, "processes elsewhere whose heartbeat stands still: 1 (c), one for 1m35s", silent.What)
	assert.Equal(t, "processes that have no heartbeat any more, and left refreshes open: 1 (d)", left.What)
	for _, here := range []Finding{stopped, died} { // there the lock is the proof, and nothing has to be brought back
		assert.NotContains(t, here.Consequence+here.Remedy, "quarantine")
		assert.NotContains(t, here.Remedy, "machines back")
	}
	for _, elsewhere := range []Finding{silent, left} {
		assert.Contains(t, elsewhere.Consequence, "recovery.quarantine")
	}
}

// One that is proven dead is off the roster, and its heir holds the lock of its journal
// until Redis cannot lose any more what came of it. What it has left in doubt waits for
// nobody; of what is not, nothing is known of where it ran.
func TestProcessesThatAreProvenDead(t *testing.T) {
	t.Parallel()
	about := func(dead string) []Finding {
		return asked(t, isReady, `{"version": "1", "recovery": {"gate": "open", "settled": true, "in_doubt": 4, "processes": [
			{"owner": "a", "self": true, "listed": true, "ready": true, "here": true, "locked": true}, {"owner": "b", `+dead+`}]}}`)[1:]
	}
	for name, dead := range map[string]string{
		"its heir holds the lock":   `"open_attempts": 4, "in_doubt": 4, "here": true, "locked": true`,
		"its heir has just ended":   `"open_attempts": 4, "in_doubt": 4, "here": true`,
		"its journal is taken away": `"open_attempts": 4, "in_doubt": 4`,
	} {
		list := about(dead)
		require.Len(t, list, 2, name)
		assert.Equal(t, []Topic{TopicProcesses, TopicInDoubt}, []Topic{list[0].Topic, list[1].Topic}, name)
	}
	for name, dead := range map[string]string{
		"its heir is at work":      `"open_attempts": 5, "in_doubt": 4, "here": true, "locked": true`,
		"nobody has its journal":   `"open_attempts": 5, "in_doubt": 4`,
		"of a service before this": `"open_attempts": 4, "here": true, "locked": true`,
	} {
		left := about(dead)[1]
		assert.Equal(t, "processes that have no heartbeat any more, and left refreshes open: 1 (b)", left.What, name)
		assert.NotContains(t, left.Remedy, "kill", name)
		assert.NotContains(t, left.What, "elsewhere", name)
	}
}

// Where Redis takes no writes no heartbeat counts on, that of the process that answers
// as little as any other: nobody is called stopped by it. A neighbour's may have
// counted last a moment before its own.
func TestNoHeartbeatMovesWhereRedisTakesNoWrites(t *testing.T) {
	t.Parallel()
	for _, own := range []string{`"silent": true, "silent_seconds": 9.2`, `"silent_seconds": 4.8`} {
		list := asked(t, isReady, `{"version": "1", "recovery": {"gate": "open", "settled": true, "processes": [
			{"owner": "a", "self": true, "listed": true, "here": true, "locked": true, `+own+`},
			{"owner": "b", "listed": true, "silent": true, "silent_seconds": 9.9, "here": true, "locked": true},
			{"owner": "c", "listed": true, "silent": true, "silent_seconds": 9.7, "here": true},
			{"owner": "d", "listed": true, "silent": true, "silent_seconds": 9.5}]}}`)
		require.Equal(t, []Severity{OK, OK}, judged(t, list...), list)
		assert.Equal(t, "processes that work on the service's Redis: 4", list[1].What)
	}
}

// Tasks that have failed for good are told of, and nobody is warned.
func TestQueuesAndBreakers(t *testing.T) {
	t.Parallel()
	list := asked(t, isReady, `{"version": "1", "providers": [{"name": "acme", "breaker": {"open": true, "reason": "client_misconfigured"}}, {"name": "fine"}],
		"queues": [{"name": "refresh-00", "paused": true}, {"name": "events", "archived": 12000}]}`)
	assert.Equal(t, []Severity{OK, Warn, Warn, OK}, judged(t, list...))
	assert.Equal(t, TopicProviders, list[1].Topic)
	assert.Contains(t, list[3].What, "12000; nobody has to mend them")
	assert.Contains(t, list[1].Remedy, "client_id")
	list = asked(t, isReady, `{"version": "1", "providers": [{"name": "acme", "breaker": {"open": false},
		"hold": {"until": "2026-01-02T03:04:05Z", "reason": "rate_limited", "detail": "HTTP 429"},
		"tokens_live_seconds": 3.6}]}`)
	assert.Equal(t, []Severity{OK, Warn, Warn}, judged(t, list...))
	assert.Equal(t, "provider acme has asked to be left alone until 2026-01-02T03:04:05Z (HTTP 429)", list[1].What)
	assert.Equal(t, "provider acme: tokens live 3.6s", list[2].What)
	assert.Contains(t, list[2].Remedy, "refreshd provider check acme")
	assert.Contains(t, list[1].Remedy, "limits")
	list = asked(t, isReady, `{"version": "1", "paused": true, "providers": [
		{"name": "shop", "kind": "http", "paused": true, "breaker": {"open": true, "reason": "client_misconfigured", "detail": "HTTP 404"}}]}`)
	assert.Contains(t, list[1].What, "(client_misconfigured: HTTP 404)")
	assert.Equal(t, []Severity{OK, Warn, OK, OK}, judged(t, list...))
	assert.NotContains(t, list[1].Remedy, "client_id")
	assert.Contains(t, list[2].What, "the whole service is paused")
	assert.Contains(t, list[3].What, "provider shop is paused")
}

// What the configuration lacks is told once, with what is known nearer to it.
func TestCredentialsWithoutAProvider(t *testing.T) {
	t.Parallel()
	here := Unconfigured("auto", 2, "/etc/refreshd/config.yaml")
	const status = `{"version": "1", "unconfigured_providers": [{"name": "auto", "credentials": 1}]}`
	list := asked(t, isReady, status)
	assert.Equal(t, []Severity{OK, Warn, Warn, Warn}, judged(t, append(list, here, UnknownOwners(errors.New("no")))...))
	assert.Equal(t, "live credentials belong to provider auto, which the configuration does not have", list[1].What)
	assert.Contains(t, list[1].Consequence, "1 credential is kept")
	assert.Contains(t, here.Consequence, "2 credentials are kept")
	assert.Contains(t, here.Remedy, "/etc/refreshd/config.yaml")
	assert.Len(t, asked(t, isReady, status, here), 1)
}
