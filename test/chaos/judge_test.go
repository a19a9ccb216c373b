package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
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
	repliesLost   int            // rotations whose reply did not arrive
	lost          map[string]int // credentials that only a person could mend, by provider, the user's own doing apart
	withdrawn     int            // that the user had ended at the provider
	states        map[string]int
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
	switch {
	case c.Sabotage != "":
		if len(v.violations) == 0 {
			c.t.Error("a protection was taken away, and nothing was found")
		}
	case len(v.violations) > 0:
		c.t.Errorf("%d violations; the folder of the run: %s", len(v.violations), c.dir)
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
	v := verdict{states: map[string]int{}, lost: map[string]int{}}
	api := c.house.anyone(0)
	if api == nil {
		v.violations = append(v.violations, oracle.Violation{Promise: "P8", What: "nobody answers at the end"})
		return v
	}
	all, err := api.list(ctx)
	require.NoError(c.t, err)
	log, err := api.log(ctx)
	require.NoError(c.t, err)
	finals := c.finals(ctx, api, all)
	for _, r := range c.house.replicas {
		require.NoError(c.t, r.stop())
	}
	canaries := c.canaries()
	c.write("log.jsonl", lines(log))
	c.write("acked.jsonl", lines(c.owners.acked))
	for _, f := range c.followers {
		c.write("seen-"+f.at.name()+".jsonl", lines(f.events))
	}
	c.write("seen-webhook.jsonl", lines(c.house.receiver.events))
	replies := 0
	for _, name := range providerNames() {
		p := c.house.providers[name]
		e := oracle.Evidence{
			Provider: oracle.Grace{Rotates: name != plain, Life: life},
			Grants:   p.Grants(), Settled: c.settled, Send: sendTime,
			Live:  func(token string) bool { _, _, live := p.holds(token); return live },
			Holds: func(token string) (string, uint32) { grant, generation, _ := p.holds(token); return grant, generation },
		}
		if name == grace {
			e.Provider.Grace = graceTime
		}
		if name == strict {
			e.Canaries = canaries
		}
		var by map[uint64]call
		e.Ledger, e.Cut, by = p.calls.seenByClients(p.Ledger(practice.LedgerQuery{}))
		of := func(events []cloudEvent) (list []oracle.Event) {
			for _, one := range events {
				if one.Data.Provider == name || one.Data.Credential == "" {
					list = append(list, one.seen())
				}
			}
			return list
		}
		e.Log = of(log)
		e.Seen = map[string][]oracle.Event{"the webhook": of(c.house.receiver.events)}
		for _, f := range c.followers {
			e.Seen["the follower of "+f.at.name()] = of(f.events)
		}
		for _, r := range c.house.replicas {
			e.Kills = append(e.Kills, r.kills...)
		}
		for _, one := range c.readers {
			for _, read := range one.all() {
				if strings.HasPrefix(read.ID, name+":") {
					e.Reads = append(e.Reads, read)
				}
			}
		}
		for _, f := range finals {
			if strings.HasPrefix(f.ID, name+":") {
				e.Final = append(e.Final, f)
				v.states[name+" "+f.State]++
			}
		}
		for _, a := range c.owners.acked {
			if strings.HasPrefix(a.Credential, name+":") {
				e.Acked = append(e.Acked, a)
			}
		}
		v.repliesLost = 0
		v.add(name, e, p.Summary())
		replies += v.repliesLost
		c.write("ledger-"+name+".jsonl", ledgerLines(e, by))
		c.write("reads-"+name+".jsonl", lines(e.Reads))
		c.write("kills.jsonl", lines(e.Kills))
		c.write("grants-"+name+".jsonl", lines(e.Grants))
	}
	v.repliesLost = replies
	for n := range finals {
		finals[n].AccessToken = "" // it is not written down
	}
	c.write("final.jsonl", lines(finals))
	for name, d := range map[string]*diary{"the webhook": &c.house.receiver.diary} {
		for _, fault := range d.faults {
			v.violations = append(v.violations, oracle.Violation{Promise: "P4", What: name + ": " + fault})
		}
	}
	for _, f := range c.followers {
		for _, fault := range f.faults {
			v.violations = append(v.violations, oracle.Violation{Promise: "P4", What: "the follower of " + f.at.name() + ": " + fault})
		}
	}
	return v
}

func (v *verdict) add(name string, e oracle.Evidence, sum practice.Summary) {
	v.violations = append(v.violations, oracle.Check(e)...)
	v.presentations += sum.Presentations
	v.rotations += sum.Rotations
	for _, entry := range e.Ledger {
		if entry.RotatedAt != 0 && (!entry.Delivered || e.Cut[entry.Seq]) {
			v.repliesLost++
		}
	}
	dead := map[string]string{}
	for _, g := range e.Grants {
		dead[g.Grant] = g.Death
	}
	for _, event := range unique(e.Log) {
		switch {
		case event.Type != string(credential.EventReauthRequired):
		case slices.ContainsFunc(e.Acked, func(a oracle.Change) bool {
			return a.Credential == event.Credential && a.Version < event.Version && strings.HasPrefix(dead[a.Grant], "revoked")
		}):
			v.withdrawn++
		default:
			v.lost[name]++
		}
	}
	if v.lost[name] > v.repliesLost {
		v.violations = append(v.violations, oracle.Violation{
			Promise: "P6", What: fmt.Sprintf("%s: %d credentials were lost, and the ledger has %d lost replies", name, v.lost[name], v.repliesLost),
		})
	}
	if name != strict && v.lost[name] > 0 {
		v.violations = append(v.violations, oracle.Violation{Promise: "P6", What: fmt.Sprintf("%s: %d credentials were lost", name, v.lost[name])})
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
func (c *campaign) finals(ctx context.Context, api *client, all map[string]record) []oracle.Final {
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
		if got, err := api.token(ctx, u.id); err == nil {
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

// secretShape is what the practice provider's tokens look like.
var secretShape = regexp.MustCompile(`\b(at|rt)_[0-9A-Za-z]{32}\b`)

// canaries looks for secrets in what the processes wrote.
func (c *campaign) canaries() []string {
	var found []string
	for _, r := range c.house.replicas {
		data, err := os.ReadFile(r.file("log"))
		if err != nil {
			found = append(found, "the log of "+r.name()+" cannot be read")
			continue
		}
		if secretShape.Match(data) {
			found = append(found, "a token in the log of "+r.name())
		}
		for name, secret := range map[string]string{"client secret": c.house.secret, "webhook secret": c.house.hookKey, "API key": c.house.adminKey()} {
			if bytes.Contains(data, []byte(secret)) {
				found = append(found, "the "+name+" in the log of "+r.name())
			}
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

// ledgerLines shows a ledger with who made each call.
func ledgerLines(e oracle.Evidence, by map[uint64]call) []byte {
	type line struct {
		practice.Entry

		Cut  bool `json:"cut"`
		Call call `json:"call"`
	}
	list := make([]line, 0, len(e.Ledger))
	for _, entry := range e.Ledger {
		list = append(list, line{entry, e.Cut[entry.Seq], by[entry.Seq]})
	}
	return lines(list)
}

// table is the outcome for people.
func (c *campaign) table(v verdict, took time.Duration) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { _, _ = fmt.Fprintf(w, "  %s\t%v\n", name, value) }
	_, _ = fmt.Fprintf(w, "seed %d, redis %s\n", c.Seed, c.Redis)
	for _, kind := range slices.Sorted(maps.Keys(c.injected)) {
		row(kind, c.injected[kind])
	}
	row("faults", c.faults)
	row("seconds of faults", int(took.Seconds()))
	row("presentations", v.presentations)
	row("rotations", v.rotations)
	row("rotations whose reply did not arrive", v.repliesLost)
	row("credentials lost", fmt.Sprintf("%d with a strict provider, %d with grace, %d that does not rotate; %d were withdrawn by their users", v.lost[strict], v.lost[grace], v.lost[plain], v.withdrawn))
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
