package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

func readPlan(t testing.TB, data []byte) options {
	t.Helper()
	var o options
	require.NoError(t, json.Unmarshal(data, &o))
	return o
}

// verdict is what a campaign came to.
type verdict struct {
	violations    []oracle.Violation
	presentations int64
	rotations     int64
	whys          map[string]int    // why replies did not arrive, those without a rotation as well
	repeated      int               // last resorts that were made again
	losses        map[string]losses // by provider
	withdrawn     int               // that the user had ended at the provider
	states        map[string]int
}

func newVerdict() verdict {
	return verdict{whys: map[string]int{}, states: map[string]int{}, losses: map[string]losses{}}
}

// losses are what one provider's users lost, and what there is to excuse it.
type losses struct {
	lost        int // credentials that only a person could mend, the user's own doing apart
	unread      int // of these: for a reply that came as the process died which had asked
	undelivered int // rotations whose reply did not arrive
	dying       int // and those whose reply came as the process died which had asked
	overtaken   int // credentials that ended by a call which was looked at after one that was asked later
}

func (l losses) String() string {
	return fmt.Sprintf("%d, of them %d for a reply that came as its process died; %d replies were not delivered, %d came as their process died, %d logins were ended by a call that was looked at too late", l.lost, l.unread, l.undelivered, l.dying, l.overtaken)
}

// all adds up what the providers' users lost.
func (v *verdict) all() (sum losses) {
	for _, l := range v.losses {
		sum.lost, sum.unread, sum.undelivered = sum.lost+l.lost, sum.unread+l.unread, sum.undelivered+l.undelivered
		sum.dying, sum.overtaken = sum.dying+l.dying, sum.overtaken+l.overtaken
	}
	return sum
}

// judge gathers the evidence, holds it against the promises, and writes it
// down.
func (c *campaign) judge(ctx context.Context, took time.Duration) {
	c.t.Helper()
	v := c.gather(ctx)
	for _, r := range c.house.replicas {
		for _, trouble := range r.trouble {
			v.violations = append(v.violations, oracle.Violation{Promise: "--", What: trouble})
		}
	}
	v.violations = append(v.violations, c.problems...)
	c.t.Log(c.table(v, took))
	c.writePlan()
	c.write("violations.jsonl", lines(v.violations))
	switch {
	case c.Sabotage != "":
		for _, promise := range []string{"P1", "P6"} {
			if !slices.ContainsFunc(v.violations, func(one oracle.Violation) bool { return one.Promise == promise }) {
				c.t.Errorf("a protection was taken away, and %s was not found broken", promise)
			}
		}
	case len(v.violations) > 0:
		c.t.Errorf("%d violations; the folder of the run: %s", len(v.violations), c.dir)
	}
	if missing := c.missing(); len(missing) > 0 {
		c.t.Errorf("kinds of faults that did not occur within %s: %s", c.Duration, strings.Join(missing, ", "))
	}
	if c.Acts == nil && (c.faults < c.Faults || v.rotations < c.Rotations) {
		c.t.Errorf("%d faults and %d rotations, wanted %d and %d within %s", c.faults, v.rotations, c.Faults, c.Rotations, c.Duration)
	}
}

// tidy removes the folder of a run that nobody needs.
func (c *campaign) tidy() {
	if c.t.Failed() || option[bool](c.t, flagKeep) {
		c.t.Logf("kept: %s\nagain: make chaos ARGS='-replay %s'", c.dir, c.dir)
		return
	}
	if err := os.RemoveAll(c.dir); err != nil {
		c.t.Errorf("the folder of the run: %v", err)
	}
}

func (c *campaign) gather(ctx context.Context) verdict {
	c.t.Helper()
	v := newVerdict()
	api := c.house.anyone(0)
	if api == nil {
		v.violations = append(v.violations, oracle.Violation{Promise: "P8", What: "nobody answers at the end"})
		return v
	}
	all, err := api.List(ctx)
	require.NoError(c.t, err)
	log, err := api.Log(ctx)
	require.NoError(c.t, err)
	finals := c.finals(ctx, api, all)
	for _, r := range c.house.replicas {
		require.NoError(c.t, r.stop())
	}
	canaries := c.canaries()
	c.write("log.jsonl", lines(log))
	c.write("acked.jsonl", lines(c.owners.acked))
	seen := map[string][]oracle.Event{}
	for name, s := range c.subscribers() {
		seen[name] = s.Seen()
		c.write("seen-"+strings.ReplaceAll(name, " ", "-")+".jsonl", lines(seen[name]))
		for _, fault := range s.Faults() {
			v.violations = append(v.violations, oracle.Violation{Promise: "P4", What: name + ": " + fault})
		}
	}
	injected := faults{done: c.done}
	for _, r := range c.house.replicas {
		injected.kills = append(injected.kills, r.kills...)
	}
	for _, name := range providerNames() {
		p := c.house.providers[name]
		e := oracle.Evidence{
			Provider: promised(name), Grants: p.Grants(), Settled: c.settled, Send: sendTime,
			Live: p.Live, Holds: p.Holds, Made: map[uint64]string{},
		}
		if name == strict { // they are nobody's, and counted once
			e.Canaries = canaries
		}
		var by map[uint64]call
		e.Ledger, e.Cut, by = p.calls.seenByClients(p.Ledger(practice.LedgerQuery{}))
		for seq, one := range by {
			e.Made[seq] = laneReplica(one.Replica)
		}
		e.Kills, e.Reasons, e.Calls = injected.kills, injected.whys(name, e.Ledger, by), asked(e.Ledger, by)
		e.Log, e.Seen = ofProvider(name, log), map[string][]oracle.Event{}
		for subscriber, events := range seen {
			e.Seen[subscriber] = ofProvider(name, events)
		}
		for _, one := range c.readers {
			for _, read := range one.all() {
				if providerOf(read.ID) == name {
					e.Reads = append(e.Reads, read)
				}
			}
		}
		for _, f := range finals {
			if providerOf(f.ID) == name {
				e.Final = append(e.Final, f)
				v.states[name+" "+f.State]++
			}
		}
		for _, a := range c.owners.acked {
			if providerOf(a.Credential) == name {
				e.Acked = append(e.Acked, a)
			}
		}
		v.add(name, e)
		c.write("ledger-"+name+".jsonl", ledgerLines(e, by))
		c.write("reads-"+name+".jsonl", lines(e.Reads))
		c.write("kills.jsonl", lines(e.Kills))
		c.write("grants-"+name+".jsonl", lines(e.Grants))
	}
	for n := range finals {
		finals[n].AccessToken = "" // it is not written down
	}
	c.write("final.jsonl", lines(finals))
	c.write("settled.jsonl", lines([]time.Duration{c.settled}))
	return v
}

// promised is what a provider does with its refresh tokens.
func promised(name string) oracle.Grace {
	g := oracle.Grace{Rotates: name != plain, Life: lifeOf(name)}
	if name == grace {
		g.Grace = graceTime
	}
	return g
}

// ofProvider are the events of a provider's credentials, and those of none.
func ofProvider(name string, events []oracle.Event) (list []oracle.Event) {
	for _, one := range events {
		if one.Credential == "" || providerOf(one.Credential) == name {
			list = append(list, one)
		}
	}
	return list
}

func (v *verdict) add(name string, e oracle.Evidence) {
	v.violations = append(v.violations, oracle.Check(e)...)
	v.presentations += int64(len(e.Ledger))
	for _, entry := range e.Ledger {
		if entry.RotatedAt != 0 {
			v.rotations++
		}
	}
	l := losses{overtaken: oracle.Overtaken(e)}
	l.undelivered, l.dying = oracle.Replies(e)
	v.repeated += oracle.Repeated(e)
	for _, why := range e.Reasons.Known {
		v.whys[why]++
	}
	dead, unread := map[string]string{}, oracle.Unread(e)
	for _, g := range e.Grants {
		dead[g.Grant] = g.Death
	}
	for _, event := range unique(e.Log) {
		switch {
		case event.Type != string(credential.EventReauthRequired):
		case strings.HasPrefix(dead[e.GrantAt(event)], "revoked"):
			v.withdrawn++
		case unread[e.GrantAt(event)]:
			l.lost, l.unread = l.lost+1, l.unread+1
		default:
			l.lost++
		}
	}
	v.losses[name] = l
	if l.lost-l.unread > l.undelivered+l.overtaken {
		v.violations = append(v.violations, oracle.Violation{
			Promise: "P6", What: fmt.Sprintf("%s: %d credentials were lost, of them %d for a reply that came as its process died, and the ledger has %d lost replies, and %d calls that were looked at too late", name, l.lost, l.unread, l.undelivered, l.overtaken),
		})
	}
	if p := promised(name); (p.Grace > 0 || !p.Rotates) && l.lost > 0 {
		v.violations = append(v.violations, oracle.Violation{Promise: "P6", What: fmt.Sprintf("%s: %d credentials were lost", name, l.lost)})
	}
}

// unique leaves repeated events out.
func unique(log []oracle.Event) []oracle.Event {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(log), func(e oracle.Event) bool {
		was := seen[e.ID]
		seen[e.ID] = true
		return was
	})
}

// finals reads every record and the token that is served for it.
func (c *campaign) finals(ctx context.Context, api *harness.API, all map[string]harness.Record) []oracle.Final {
	var list []oracle.Final
	for _, u := range c.owners.users {
		r, there := all[u.id]
		if !there {
			continue
		}
		f := oracle.Final{
			ID: u.id, State: r.State, Reason: r.Reason, Version: r.Version, Generation: r.Generation,
			InDoubt: r.InDoubt, ExpiresAt: r.ExpiresAt, Grant: c.grantOf(u),
		}
		if got, err := api.Token(ctx, u.id, 0); err == nil {
			f.AccessToken = got.AccessToken
		}
		list = append(list, f)
	}
	return list
}

// grantOf is the grant that a credential was stored with last.
func (c *campaign) grantOf(u *user) string {
	grant := ""
	for _, a := range c.owners.acked {
		if a.Credential == u.id && a.Kind == oracle.KindLogin {
			grant = a.Grant
		}
	}
	return grant
}

// canaries looks for secrets in what the processes wrote, and in what Redis
// keeps.
func (c *campaign) canaries() []string {
	c.t.Helper()
	secrets := harness.NewCanaries() // tokens show by their shape
	secrets.Add("the client secret", c.house.secret)
	secrets.Add("the webhook's secret", strings.TrimPrefix(c.house.hookKey, "whsec_"))
	secrets.Add("the API key", c.house.adminKey())
	var found []string
	look := func(file string) {
		data, err := os.ReadFile(file)
		if err != nil {
			found = append(found, file+" cannot be read")
		}
		for _, what := range secrets.Find(data) {
			found = append(found, what+" in "+strings.TrimPrefix(file, c.dir))
		}
	}
	for _, r := range c.house.replicas {
		look(r.file("log"))
	}
	for _, pattern := range []string{"redis-*/appendonlydir/*.aof", "host-*/journal/*"} {
		files, err := filepath.Glob(filepath.Join(c.dir, pattern))
		require.NoError(c.t, err)
		for _, file := range files {
			look(file)
		}
	}
	return found
}

func (c *campaign) writePlan() {
	o := c.options
	slices.SortStableFunc(c.plan, func(a, b act) int { return a.Step - b.Step })
	o.Acts = c.plan
	data, err := json.MarshalIndent(o, "", "  ")
	require.NoError(c.t, err)
	c.write("plan.json", data)
	c.write("done.jsonl", lines(c.done))
	c.write("notes.txt", []byte(strings.Join(c.notes, "\n")+"\n"))
}

func (c *campaign) write(name string, data []byte) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(filepath.Join(c.dir, name), data, 0o600))
}

func lines[T any](list []T) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, one := range list {
		if err := encoder.Encode(one); err != nil { // plain values: it never happens
			return []byte(err.Error())
		}
	}
	return out.Bytes()
}

// ledgerLine is an entry of a ledger with who made the call.
type ledgerLine struct {
	practice.Entry

	Cut  bool `json:"cut"`
	Call call `json:"call"`
}

func ledgerLines(e oracle.Evidence, by map[uint64]call) []byte {
	list := make([]ledgerLine, 0, len(e.Ledger))
	for _, entry := range e.Ledger {
		list = append(list, ledgerLine{entry, e.Cut[entry.Seq], by[entry.Seq]})
	}
	return lines(list)
}

// table is the outcome for people.
func (c *campaign) table(v verdict, took time.Duration) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { _, _ = fmt.Fprintf(w, "  %s\t%v\n", name, value) }
	_, _ = fmt.Fprintf(w, "seed %d, redis %s\n", c.Seed, c.Redis)
	changes := map[string]int{}
	for _, kind := range slices.Sorted(maps.Keys(c.injected)) {
		if ofOwners(kind) {
			changes[kind] = c.injected[kind]
			continue
		}
		row(kind, c.injected[kind])
	}
	row("faults", c.faults)
	row("owners' changes amid them", changes)
	row("owners' plans amid them", c.plans.String())
	row("rules to kill that acted", fmt.Sprintf("%d of %d", c.injected[kindPointKill], c.armed))
	row("seconds of faults", int(took.Seconds()))
	row("presentations", v.presentations)
	row("rotations", v.rotations)
	sum := v.all()
	row("rotations whose reply did not arrive", sum.undelivered)
	row("why replies did not arrive, of all calls", v.whys)
	row("replies that came as their process died", sum.dying)
	row("last resorts made again, for no answer came", v.repeated)
	row("longest sync of the disk", c.pulse.longest().Round(time.Millisecond))
	most, longest := c.pulse.waits()
	row("longest wait for a processor", fmt.Sprintf("%s, but for one in a thousand %s", longest.Round(time.Millisecond), most.Round(time.Millisecond)))
	for _, name := range providerNames() {
		row("credentials lost, "+name, v.losses[name])
	}
	row("credentials withdrawn by their users", v.withdrawn)
	row("settled after", c.settled.Round(time.Millisecond))
	row("at the end", v.states)
	broken := map[string]int{}
	for _, one := range v.violations {
		broken[one.Promise]++
	}
	for n := range 9 {
		promise := fmt.Sprintf("P%d", n+1)
		row("violations of "+promise, broken[promise])
		delete(broken, promise)
	}
	for _, promise := range slices.Sorted(maps.Keys(broken)) {
		row("other trouble "+promise, broken[promise])
	}
	const shown = 40
	for n, one := range v.violations {
		if n == shown {
			_, _ = fmt.Fprintf(w, "  … and %d more\n", len(v.violations)-shown)
			break
		}
		_, _ = fmt.Fprintf(w, "  ! %s\n", one)
	}
	for _, note := range c.notes {
		if !strings.Contains(note, "newest writes are gone") {
			_, _ = fmt.Fprintf(w, "  note: %s\n", note)
		}
	}
	_ = w.Flush() // into memory
	return out.String()
}

// The table shows what was lost of each kind of provider beside what excuses it, and
// does not count what owners do every day among the faults.
func TestTheTableShowsWhatExcusesLosses(t *testing.T) {
	t.Parallel()
	c := &campaign{options: options{Faults: 2}, pulse: &pulse{}, injected: map[string]int{}}
	c.came(done{act: act{Kind: kindLogin}}, nil)
	c.came(done{act: act{Kind: kindLogout}}, nil)
	c.came(done{act: act{Kind: kindKill}}, nil)
	c.came(done{act: act{Kind: kindLost}}, errNothingDone)
	v := newVerdict()
	v.losses[strict], v.losses[grace] = losses{lost: 2, unread: 1, undelivered: 3, dying: 1}, losses{undelivered: 4}
	table := strings.Join(strings.Fields(c.table(v, time.Second)), " ")
	for _, want := range []string{
		"replica killed 1 faults 1 owners' changes amid them map[owner logged in again:1 owner logged out and in:1]",
		"rotations whose reply did not arrive 7", "replies that came as their process died 1",
		"credentials lost, strict 2, of them 1 for a reply that came as its process died; 3 replies were not delivered, 1 came as their process died, 0 logins were ended",
		"credentials lost, grace 0, of them 0 for a reply that came as its process died; 4 replies were not delivered, 0 came", "credentials lost, lasting 0,", "credentials lost, plain 0,",
	} {
		assert.Contains(t, table, want)
	}
	assert.False(t, c.enough(), "one fault is missing")
}

// With access tokens that live for a few seconds only, the last resort is never
// too early: a provider is there at which it can be.
func TestALastResortCanComeTooEarly(t *testing.T) {
	t.Parallel()
	for _, name := range []string{strict, lasting} {
		at := time.Now()
		lost := practice.Entry{
			Seq: 1, Grant: "g1", Generation: 1, NewGeneration: 2, Verdict: practice.OutcomeRotated, Concurrent: 1,
			Received: at.Add(lifeOf(name) * 2 / 3).UnixNano(), RotatedAt: at.Add(lifeOf(name)*2/3 + 1).UnixNano(),
		}
		again := practice.Entry{
			Seq: 2, Grant: "g1", Generation: 1, Verdict: practice.OutcomeReuse, Concurrent: 1, Delivered: true,
			Received: lost.Received + int64(exchangeTime),
		}
		found := oracle.Presentations(oracle.Evidence{
			Provider: promised(name), Ledger: []practice.Entry{lost, again},
			Acked: []oracle.Change{{Credential: name + ":1", Kind: oracle.KindLogin, Grant: "g1", Version: 1, At: at, ExpiresAt: at.Add(lifeOf(name))}},
		})
		if name == strict {
			assert.Empty(t, found)
			continue
		}
		require.Len(t, found, 1)
		assert.Equal(t, "P1", found[0].Promise)
	}
}

// What is given to make chaos adds to what it asks for by itself, or replaces
// one thing of it.
func TestMakeKeepsItsDefaults(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not on PATH: install it")
	}
	out, err := exec.CommandContext(t.Context(), "make", "-n", "-C", filepath.Join("..", ".."), "chaos", "ARGS=-seed 7 -faults 300").CombinedOutput()
	require.NoError(t, err, string(out))
	_, after, found := strings.Cut(string(out), " -args ")
	require.True(t, found, string(out))
	line, _, _ := strings.Cut(after, "\n")
	set := flag.NewFlagSet("", flag.ContinueOnError)
	seed, faults, rotations := set.Int(flagSeed, 0, ""), set.Int(flagFaults, 0, ""), set.Int(flagRotations, 0, "")
	set.Duration(flagDuration, 0, "")
	require.NoError(t, set.Parse(strings.Fields(line)))
	assert.Equal(t, []int{7, 300, 20000}, []int{*seed, *faults, *rotations})
}

// While a disk refuses everything, the room that is promised to replies included,
// and until the journal tries it again, a reply dies with its process. A write that
// fails does the same for as long as the journal takes to go on in another file.
func TestWhatAKillTakesFromAFullDisk(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r := &replica{}
	slow := func(after time.Duration) time.Duration {
		r.died(began.Add(after))
		return r.kills[len(r.kills)-1].Slow
	}
	assert.Zero(t, slow(0))
	r.unwritable(began)
	assert.Equal(t, 2*time.Second, slow(2*time.Second))
	r.writable(began.Add(3*time.Second + healPause))
	assert.Equal(t, 5*time.Second, slow(5*time.Second))
	assert.Zero(t, slow(3*time.Second+healPause))
	r.slowed(time.Second)
	assert.Equal(t, time.Second, slow(time.Minute))

	assert.True(t, breaksJournal("journal.write=fail@2"))
	assert.True(t, breaksJournal("journal.synced=fail@9"))
	assert.False(t, breaksJournal("journal.drop=fail@2"))
	assert.False(t, breaksJournal("keep.noted=fail@2"))
}
