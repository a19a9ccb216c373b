package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	v := rejudge(t, folder)
	for _, one := range v.violations {
		t.Error(one)
	}
	t.Logf("%d presentations, %d rotations; replies that did not arrive: %d, that came as their process died: %d; lost: %v, withdrawn: %d; %d violations",
		v.presentations, v.rotations, v.repliesLost, v.repliesDying, v.lost, v.withdrawn, len(v.violations))
}

// rejudge reads what a run has written down.
func rejudge(t testing.TB, folder string) verdict {
	t.Helper()
	v := verdict{states: map[string]int{}, lost: map[string]int{}}
	log := kept[oracle.Event](t, folder, "log")
	seen := map[string][]oracle.Event{}
	files, err := filepath.Glob(filepath.Join(folder, "seen-*.jsonl"))
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		seen[name] = kept[oracle.Event](t, folder, name)
	}
	acked, finals := kept[oracle.Change](t, folder, "acked"), kept[oracle.Final](t, folder, "final")
	for _, name := range providerNames() {
		e := oracle.Evidence{
			Provider: promised(name), Send: sendTime,
			Grants: kept[practice.GrantState](t, folder, "grants-"+name), Kills: kept[oracle.Kill](t, folder, "kills"),
			Made: map[uint64]string{}, Cut: map[uint64]bool{},
			Log: ofProvider(name, log), Seen: map[string][]oracle.Event{}, Reads: kept[oracle.Read](t, folder, "reads-"+name),
		}
		for _, settled := range kept[time.Duration](t, folder, "settled") {
			e.Settled = settled
		}
		for _, line := range kept[ledgerLine](t, folder, "ledger-"+name) {
			e.Ledger = append(e.Ledger, line.Entry)
			e.Cut[line.Seq] = line.Cut
			if line.Call.From != 0 {
				e.Made[line.Seq] = laneReplica(line.Call.Replica)
			}
		}
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
	return v
}

// kept reads one of the files that a run has written; none is an empty one.
func kept[T any](t testing.TB, folder, name string) (list []T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name+".jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		var one T
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err, name)
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
	write := func() []oracle.Violation {
		c.write("ledger-"+strict+".jsonl", ledgerLines(e, by))
		c.write("acked.jsonl", lines([]oracle.Change{{Credential: strict + ":1", Kind: oracle.KindLogin, Grant: "g1", Version: 1, At: at, ExpiresAt: at.Add(life)}}))
		c.write("final.jsonl", lines([]oracle.Final{{ID: strict + ":1", State: "active", Version: 1, Grant: "g1"}}))
		c.write("log.jsonl", lines([]oracle.Event{{ID: "1", Credential: strict + ":1", Version: 1, Type: "credential.connected", State: "active"}}))
		return rejudge(t, dir).violations
	}
	promises := func() (list []string) {
		for _, v := range write() {
			list = append(list, v.Promise)
		}
		return list
	}
	assert.Equal(t, []string{"P1", "P2"}, promises(), "the reply had arrived")
	e.Cut[1] = true
	assert.Equal(t, []string{"P1"}, promises(), "the access token was still good")
	e.Ledger[1].Received = at.Add(life).UnixNano()
	assert.Empty(t, promises())
	e.Cut[1] = false
	c.write("kills.jsonl", lines([]oracle.Kill{{Owner: laneReplica(2), At: at}}))
	assert.Equal(t, []string{"P1", "P2"}, promises(), "it was another process that was killed")
	c.write("kills.jsonl", lines([]oracle.Kill{{Owner: laneReplica(1), At: at}}))
	assert.Empty(t, promises(), "its reply died with it")
	c.write("settled.jsonl", lines([]time.Duration{-1}))
	assert.Contains(t, promises(), "P8")
}
