package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
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

// presentedOnce checks that no generation of any grant was presented again
// whose reply is not known to be lost, and that no two calls for one grant were
// in the air together. It returns how many were presented again after a lost
// reply.
func presentedOnce(t testing.TB, p *provider) (again int) {
	t.Helper()
	for grant, list := range judgedOf(p) {
		spent := map[uint32]practice.Entry{}
		for _, e := range list {
			before, was := spent[e.Generation]
			if was {
				again++
				assert.False(t, before.Delivered, "%s (%s): generation %d was presented again, although its reply had been delivered", grant, e.Subject, e.Generation)
			}
			if e.RotatedAt != 0 || !was {
				spent[e.Generation] = e
			}
		}
	}
	assert.LessOrEqual(t, p.Summary().MaxConcurrentPerGrant, uint32(1), "of a credential in the air")
	return again
}

// eventLog reads the log from its start.
func eventLog(t testing.TB, at *api) []cloudEvent {
	t.Helper()
	var all []cloudEvent
	for cursor := "0"; ; {
		data, err := at.text(t.Context(), http.MethodGet, "/v1/events?limit=1000&cursor="+cursor, "")
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
func oneEventPerVersion(t testing.TB, at *api, records map[string]record, told ...*follower) {
	t.Helper()
	type number struct {
		id      string
		version uint64
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
		assert.Equal(t, r.Version, last[id].Data.Version, "%s: the newest event in the log (%s) is that of the record's version", id, last[id].Type)
		assert.Equal(t, r.State, last[id].Data.State, "%s: and so is its state", id)
	}
	for _, f := range told {
		f.mu.Lock()
		for _, e := range f.seen {
			if in, there := ids[number{e.Data.Credential, e.Data.Version}]; there {
				assert.Equal(t, in, e.ID, "%s: version %d as %s was told of it, and as the log has it", e.Data.Credential, e.Data.Version, f.name)
			} else {
				assert.Failf(t, "an event vanished", "%s: %s was told of %s (%s), the log does not have it", e.Data.Credential, f.name, e.ID, e.Type)
			}
		}
		f.mu.Unlock()
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
			err := at.refresh(t.Context(), id)
			return err == nil, fmt.Sprintf("%s at generation %d: %v", id, before, err)
		})
		got, err := at.token(t.Context(), id, 0)
		if !assert.NoError(t, err, id) {
			continue
		}
		status, err := client.resource(t.Context(), got.AccessToken)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status, "%s: what it hands out at the end works", id)
		assert.Greater(t, got.Generation, before, id)
	}
}

// settled waits until no credential is in doubt and each has a valid token or
// is at an end, and returns them.
func settled(t testing.TB, at *api, count int, limit time.Duration) map[string]record {
	t.Helper()
	var all map[string]record
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
