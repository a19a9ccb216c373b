package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// pass lets a time pass that is part of what is tested.
func pass(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// judgedOf returns the presentations of each grant whose token the provider
// looked at, in order of arrival.
func judgedOf(p *provider) map[string][]practice.Entry {
	all := map[string][]practice.Entry{}
	for _, e := range p.Ledger(practice.LedgerQuery{}) {
		if e.Grant != "" && e.Verdict != "" {
			all[e.Grant] = append(all[e.Grant], e)
		}
	}
	return all
}

// readAtOnce is how many replies a process reads at a time: so many may have
// left the kernel's memory, and not reached the journal, when it dies.
const readAtOnce = 16

// died reports whether a reply, although it was delivered, may have died with
// the process that was killed in the next moment, while it read it.
func died(kills []kill, e practice.Entry) bool {
	return e.Delivered && slices.ContainsFunc(kills, func(k kill) bool {
		return e.RepliedAt > k.before.Add(-k.dying(e)).UnixNano() && e.RepliedAt < k.after.UnixNano()
	})
}

// starvedAtMost bounds what is let go for a machine that did not let a process
// run: with some twenty others at two processors, 91 ms was the longest that one
// of 7,400 replies took from the last byte to the kernel. On a machine that is
// busy all the time some thread always waits, which would excuse any age.
const starvedAtMost = 100 * time.Millisecond

// dying is how long before the kill a reply may have come and still have died
// with the process: as long as ever, and the time in which the machine did not
// let it run.
func (k kill) dying(e practice.Entry) time.Duration {
	if k.starved == nil {
		return oracle.Dying
	}
	return oracle.Dying + min(k.starved.since(time.Unix(0, e.RepliedAt)), starvedAtMost)
}

// age tells how long a reply was there when its reader was killed, and for how
// much of that the machine had no processor for it.
func (k kill) age(e practice.Entry) string {
	came := time.Unix(0, e.RepliedAt)
	text := fmt.Sprintf("%s before the kill", k.before.Sub(came).Round(time.Millisecond))
	if k.starved != nil {
		text += fmt.Sprintf(", of which a thread waited %s for a processor", k.starved.since(came).Round(time.Millisecond))
	}
	return text
}

// presentedOnce holds the ledger against the promise about presentations, with
// the rules that campaigns are judged by. It returns how many generations were
// presented again after a lost reply. Of those that died while they were read
// there may be but a few. The log of at tells until when the program took access
// tokens for good; nil where nothing may have been presented again.
func presentedOnce(t testing.TB, p *provider, at *api, kills ...kill) (again int) {
	t.Helper()
	settings, err := p.Configure(practice.SettingsPatch{}) // as they are
	require.NoError(t, err)
	e := oracle.Evidence{
		Provider: oracle.Grace{Rotates: settings.Rotate, Life: settings.AccessTTL},
		Ledger:   p.Ledger(practice.LedgerQuery{}), Grants: p.Grants(), Acked: p.logins(),
	}
	if settings.Reuse == practice.ReuseGrace {
		e.Provider.Grace = settings.Grace
	}
	if at != nil {
		for _, one := range eventLog(t, at) {
			e.Log = append(e.Log, oracle.Event{ // logins are noted under their user
				ID: one.ID, Credential: one.Data.User, Type: one.Type, Version: one.Data.Version, ExpiresAt: one.Data.ExpiresAt,
			})
		}
	}
	for _, k := range kills {
		from := k.before
		for _, entry := range e.Ledger { // those that the machine kept it from reading
			if came := time.Unix(0, entry.RepliedAt); died([]kill{k}, entry) && came.Before(from) {
				from = came
			}
		}
		for at := from; at.Before(k.after); at = at.Add(oracle.Dying) {
			e.Kills = append(e.Kills, oracle.Kill{At: at})
		}
		e.Kills = append(e.Kills, oracle.Kill{At: k.after})
	}
	for _, v := range oracle.Presentations(e) {
		assert.Fail(t, v.String())
	}
	reading := 0
	for _, list := range judgedOf(p) {
		last := map[uint32]practice.Entry{}
		for _, e := range list {
			if before, was := last[e.Generation]; was {
				again++
				if died(kills, before) {
					reading++
				}
			}
			last[e.Generation] = e
		}
	}
	assert.LessOrEqual(t, reading, readAtOnce*len(kills), "presented again for their reply died while it was read")
	assert.LessOrEqual(t, p.Summary().MaxConcurrentPerGrant, uint32(1), "of a credential in the air")
	return again
}

// eventLog reads the log from its start.
func eventLog(t testing.TB, at *api) []cloudEvent {
	t.Helper()
	var all []cloudEvent
	for cursor := "0"; ; {
		data, err := at.Text(t.Context(), http.MethodGet, "/v1/events?limit=1000&cursor="+cursor, "")
		require.NoError(t, err)
		var page struct {
			Events []struct {
				Event cloudEvent `json:"event"`
			} `json:"events"`
			Cursor string `json:"cursor"`
		}
		require.NoError(t, json.Unmarshal(data, &page))
		if len(page.Events) == 0 {
			return all
		}
		for _, e := range page.Events {
			all = append(all, e.Event)
		}
		cursor = page.Cursor
	}
}

// oneEventPerVersion checks that the log has one event for each version of each
// credential, without a gap, up to what the records have, and that nobody was
// told of another one before: told are events that subscribers saw.
func oneEventPerVersion(t testing.TB, at *api, records map[string]harness.Record, told ...*follower) {
	t.Helper()
	type number struct {
		id      string
		version uint64
	}
	seen := map[*follower][]cloudEvent{} // as of now: the log may be ahead of them, and of the records
	for _, f := range told {
		f.mu.Lock()
		seen[f] = slices.Clone(f.seen)
		f.mu.Unlock()
	}
	ids, last := map[number]string{}, map[string]cloudEvent{}
	for _, e := range eventLog(t, at) {
		id, before := e.Data.Credential, last[e.Data.Credential]
		if id == "" || e.Data.Version == 0 {
			continue // belongs to no version
		}
		if ids[number{id, e.Data.Version}] == e.ID {
			continue // the same one again: it was put back by more than one
		}
		assert.Equal(t, before.Data.Version+1, e.Data.Version, "%s: %s (%s) follows %s in the log", id, e.ID, e.Type, before.ID)
		ids[number{id, e.Data.Version}], last[id] = e.ID, e
	}
	for id, r := range records {
		assert.GreaterOrEqual(t, last[id].Data.Version, r.Version, "%s: the log has the event of the record's version, the newest is %s", id, last[id].Type)
		if last[id].Data.Version == r.Version {
			assert.Equal(t, r.State, last[id].Data.State, "%s: and it tells of the record's state", id)
		}
	}
	for f, list := range seen {
		for _, e := range list {
			if in, there := ids[number{e.Data.Credential, e.Data.Version}]; there {
				assert.Equal(t, in, e.ID, "%s: version %d as %s was told of it, and as the log has it", e.Data.Credential, e.Data.Version, f.name)
			} else {
				assert.Failf(t, "an event vanished", "%s: %s was told of %s (%s), the log does not have it", e.Data.Credential, f.name, e.ID, e.Type)
			}
		}
	}
}

// works shows each credential's token to the provider's resource, and its
// refresh token to the provider: both must be good.
func works(t testing.TB, p *provider, at *api, ids []string) {
	t.Helper()
	client := newAsker(p)
	defer client.http.CloseIdleConnections()
	for _, id := range ids {
		before := at.get(t, id).Generation
		eventually(t, patience, func() (bool, string) {
			err := at.Refresh(t.Context(), id)
			return err == nil, fmt.Sprintf("%s at generation %d: %v", id, before, err)
		})
		got, err := at.Token(t.Context(), id, 0)
		require.NoError(t, err, id)
		status, err := client.resource(t.Context(), got.AccessToken)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status, "%s: what it hands out at the end works", id)
		assert.Greater(t, got.Generation, before, id)
	}
}

// settled waits until no credential is in doubt and each has a valid token or
// is at an end, and returns them.
func settled(t testing.TB, at *api, count int, limit time.Duration) map[string]harness.Record {
	t.Helper()
	var all map[string]harness.Record
	eventually(t, limit, func() (bool, string) {
		all = at.list(t)
		waiting, example := 0, ""
		for id, r := range all {
			switch {
			case r.InDoubt, r.State != "active" && r.State != "reauth_required" && r.State != "logged_out":
				waiting++
				example = fmt.Sprintf("%s: %s, in doubt %t, %+v", id, r.State, r.InDoubt, r.LastFailure)
			}
		}
		return waiting == 0 && len(all) == count, fmt.Sprintf("%d of %d not settled, such as %s", waiting, len(all), example)
	})
	return all
}

// behind names a credential of which the subscriber has not heard that version
// yet, "" if there is none.
func (h *history) behind(versions map[string]uint64) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, version := range versions {
		if h.last[id] < version {
			return fmt.Sprintf("%s has heard of version %d of %s, not of %d", h.name, h.last[id], id, version)
		}
	}
	return ""
}
