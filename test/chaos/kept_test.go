package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/oracle"
)

// TestJudge holds the evidence of a kept folder against the promises once more,
// with the rules as they are now. What only the living provider could tell is
// not judged again: whether the tokens that were served at the end are good,
// and where secrets showed.
func TestJudge(t *testing.T) {
	folder := option[string](t, flagJudge)
	if folder == "" {
		t.Skip("no folder to judge: -judge FOLDER")
	}
	v, err := rejudge(folder)
	require.NoError(t, err)
	for _, one := range v.violations {
		t.Error(one)
	}
	sum := v.all()
	t.Logf("%d presentations, %d rotations; replies that did not arrive: %d, that came as their process died: %d; why they did not, of all calls: %v; lost, by provider: %v, withdrawn: %d; %d violations",
		v.presentations, v.rotations, sum.undelivered, sum.dying, v.whys, v.losses, v.withdrawn, len(v.violations))
}

// errNoEvidence says that a folder has nothing to judge by.
var errNoEvidence = errors.New("no evidence of a run")

// rejudge reads what a run has written down.
func rejudge(folder string) (verdict, error) {
	if err := absolute(flagJudge, folder); err != nil {
		return verdict{}, err
	}
	v := newVerdict()
	k := &keptRun{folder: folder}
	ledgers, err := filepath.Glob(filepath.Join(folder, "ledger-*.jsonl"))
	if len(ledgers) == 0 {
		_, missing := os.Stat(folder)
		return v, errors.Join(fmt.Errorf("-judge %s: %w", folder, errNoEvidence), err, missing)
	}
	log, settled := read[oracle.Event](k, "log"), read[time.Duration](k, "settled")
	seen := map[string][]oracle.Event{}
	files, err := filepath.Glob(filepath.Join(folder, "seen-*.jsonl"))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		seen[name] = read[oracle.Event](k, name)
	}
	acked, finals := read[oracle.Change](k, "acked"), read[oracle.Final](k, "final")
	injected := faults{done: read[done](k, "done"), kills: read[oracle.Kill](k, "kills")}
	for _, file := range ledgers {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "ledger-"), ".jsonl")
		e := oracle.Evidence{
			Provider: promised(name), Send: sendTime,
			Grants: read[practice.GrantState](k, "grants-"+name), Kills: injected.kills,
			Made: map[uint64]string{}, Cut: map[uint64]bool{},
			Log: ofProvider(name, log), Seen: map[string][]oracle.Event{}, Reads: read[oracle.Read](k, "reads-"+name),
		}
		for _, one := range settled {
			e.Settled = one
		}
		by := map[uint64]call{}
		for _, line := range read[ledgerLine](k, "ledger-"+name) {
			e.Ledger = append(e.Ledger, line.Entry)
			e.Cut[line.Seq] = !line.Delivered
			if line.Call.From != 0 {
				e.Made[line.Seq], by[line.Seq] = laneReplica(line.Call.Replica), line.Call
			}
		}
		e.Reasons, e.Calls = injected.whys(name, e.Ledger, by), asked(e.Ledger, by)
		for subscriber, events := range seen {
			e.Seen[subscriber] = ofProvider(name, events)
		}
		for _, a := range acked {
			if providerOf(a.Credential) == name {
				e.Acked = append(e.Acked, a)
			}
		}
		for _, f := range finals {
			if providerOf(f.ID) == name {
				e.Final = append(e.Final, f)
			}
		}
		v.add(name, e)
	}
	for _, was := range read[oracle.Violation](k, "violations") {
		if !slices.Contains(v.violations, was) {
			was.What += " (as the run saw it; the evidence does not show it)"
			v.violations = append(v.violations, was)
		}
	}
	if v.presentations == 0 {
		err = errors.Join(err, fmt.Errorf("-judge %s: %w: its ledgers are empty", folder, errNoEvidence))
	}
	return v, errors.Join(append(k.errs, err)...)
}

// keptRun is the folder of a run, and what of it could not be read.
type keptRun struct {
	folder string
	errs   []error
}

// read reads one of the files that a run has written. Each run writes all of
// them, some without a line.
func read[T any](k *keptRun, name string) (list []T) {
	data, err := os.ReadFile(filepath.Join(k.folder, name+".jsonl"))
	if err != nil {
		k.errs = append(k.errs, err)
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		var one T
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			k.errs = append(k.errs, fmt.Errorf("%s: %w", name, err))
			return list
		}
		list = append(list, one)
	}
}

// What a run writes down is what it was judged by.
func TestAKeptRunIsJudgedAlike(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &campaign{t: t, dir: dir}
	at := time.Now()
	entry := practice.Entry{
		Seq: 1, Grant: "g1", Generation: 1, NewGeneration: 2, Outcome: practice.OutcomeRotated, Verdict: practice.OutcomeRotated,
		Delivered: true, Concurrent: 1, Received: at.UnixNano(), RotatedAt: at.UnixNano() + 1, RepliedAt: at.UnixNano() + 2,
	}
	again := entry
	again.Seq, again.Received, again.Verdict, again.RotatedAt, again.NewGeneration = 2, entry.Received+int64(2*time.Second), practice.OutcomeReuse, 0, 0
	e := oracle.Evidence{Ledger: []practice.Entry{entry, again}, Cut: map[uint64]bool{}}
	by := map[uint64]call{1: {Replica: 1, From: 1, To: 2}, 2: {Replica: 2, From: 3, To: 4}}
	keepNothing(c)
	write := func() []oracle.Violation {
		c.write("ledger-"+strict+".jsonl", ledgerLines(e, by))
		c.write("acked.jsonl", lines([]oracle.Change{{Credential: strict + ":1", Kind: oracle.KindLogin, Grant: "g1", Version: 1, At: at, ExpiresAt: at.Add(life)}}))
		c.write("final.jsonl", lines([]oracle.Final{{ID: strict + ":1", State: "active", Version: 1, Grant: "g1"}}))
		c.write("log.jsonl", lines([]oracle.Event{{ID: "1", Credential: strict + ":1", Version: 1, Type: "credential.connected", State: "active"}}))
		v, err := rejudge(dir)
		require.NoError(t, err)
		return v.violations
	}
	promises := func() (list []string) {
		for _, v := range write() {
			list = append(list, v.Promise)
		}
		return list
	}
	assert.Equal(t, []string{"P1", "P2"}, promises(), "the reply had arrived")
	e.Ledger[0].Delivered = false
	assert.Equal(t, []string{"P1", "P6"}, promises(), "the access token was still good, and nobody had kept the reply")
	e.Ledger[0].Fault = string(practice.KindLost)
	assert.Equal(t, []string{"P1"}, promises(), "the access token was still good")
	e.Ledger[1].Received = at.Add(life).UnixNano()
	assert.Empty(t, promises())
	e.Ledger[0].Delivered, e.Ledger[0].Fault = true, ""
	c.write("kills.jsonl", lines([]oracle.Kill{{Owner: laneReplica(2), At: at}}))
	assert.Equal(t, []string{"P1", "P2"}, promises(), "it was another process that was killed")
	c.write("kills.jsonl", lines([]oracle.Kill{{Owner: laneReplica(1), At: at}}))
	assert.Empty(t, promises(), "its reply died with it")
	c.write("violations.jsonl", lines([]oracle.Violation{{Promise: "P3", What: "a login was refused"}}))
	assert.Equal(t, []string{"P3"}, promises(), "the evidence does not show it")
	c.write("settled.jsonl", lines([]time.Duration{-1}))
	assert.Contains(t, promises(), "P8")
}

// A login that a call ended which was looked at too late is excused, and counted.
func TestALateCallIsCounted(t *testing.T) {
	t.Parallel()
	c := &campaign{t: t, dir: t.TempDir()}
	keepNothing(c)
	at := time.Now()
	moment := func(after time.Duration) int64 { return at.Add(after).UnixNano() }
	once := practice.Entry{
		Seq: 1, Grant: "g1", Generation: 1, NewGeneration: 2, Outcome: practice.OutcomeRotated, Verdict: practice.OutcomeRotated,
		Delivered: true, Concurrent: 1, Received: moment(life), RotatedAt: moment(life) + 1, RepliedAt: moment(life) + 2,
	}
	late := practice.Entry{Seq: 2, Grant: "g1", Generation: 1, Outcome: practice.OutcomeReuse, Verdict: practice.OutcomeReuse, Concurrent: 1, Received: moment(life + time.Second)}
	by := map[uint64]call{
		1: {Replica: 1, Number: 2, From: 1, To: 2, way: way{Asked: once.Received, Delivered: once.RepliedAt}},
		2: {Replica: 2, Number: 1, From: 3, To: 4, way: way{Asked: moment(life / 2), Ended: moment(life/2 + exchangeTime), Left: true}},
	}
	c.write("ledger-"+strict+".jsonl", ledgerLines(oracle.Evidence{Ledger: []practice.Entry{once, late}, Cut: map[uint64]bool{}}, by))
	c.write("acked.jsonl", lines([]oracle.Change{{Credential: strict + ":1", Kind: oracle.KindLogin, Grant: "g1", Version: 1, At: at, ExpiresAt: at.Add(life)}}))
	c.write("grants-"+strict+".jsonl", lines([]practice.GrantState{{Grant: "g1", Generation: 2, Death: "reuse"}}))
	c.write("final.jsonl", lines([]oracle.Final{{ID: strict + ":1", State: "reauth_required", Version: 2, Grant: "g1"}}))
	c.write("log.jsonl", lines([]oracle.Event{
		{ID: "1", Credential: strict + ":1", Version: 1, Type: "credential.connected", State: "active"},
		{ID: "2", Credential: strict + ":1", Version: 2, Previous: 1, Type: "credential.reauth_required", State: "reauth_required"},
	}))
	v, err := rejudge(c.dir)
	require.NoError(t, err)
	assert.Empty(t, v.violations)
	assert.Equal(t, losses{lost: 1, overtaken: 1}, v.losses[strict])
}

// keepNothing writes the files of a run in which nothing happened.
func keepNothing(c *campaign) {
	names := []string{"log", "settled", "acked", "final", "done", "kills", "violations"}
	for _, name := range providerNames() {
		names = append(names, "ledger-"+name, "grants-"+name, "reads-"+name)
	}
	for _, name := range names {
		c.write(name+".jsonl", nil)
	}
}

// What there is nothing to judge by is not found good.
func TestAFolderWithoutEvidenceIsNotJudged(t *testing.T) {
	t.Parallel()
	_, err := rejudge("chaos-always-1")
	require.ErrorContains(t, err, "absolute path")
	dir := t.TempDir()
	_, err = rejudge(filepath.Join(dir, "nowhere"))
	require.ErrorIs(t, err, errNoEvidence)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = rejudge(dir)
	require.ErrorIs(t, err, errNoEvidence)
	c := &campaign{t: t, dir: dir}
	keepNothing(c)
	_, err = rejudge(dir)
	require.ErrorIs(t, err, errNoEvidence, "the ledgers are empty")
	c.write("ledger-"+strict+".jsonl", lines([]ledgerLine{{Entry: practice.Entry{Seq: 1, Delivered: true}}}))
	_, err = rejudge(dir)
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, "kills.jsonl")))
	_, err = rejudge(dir)
	require.ErrorIs(t, err, fs.ErrNotExist, "a part of the evidence is gone")
}
