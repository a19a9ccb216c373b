package service

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// deadlineTimes are short, but for the quarantine: what is taken up within a test
// was not waiting for that.
func deadlineTimes() map[string]any {
	times := shortTimes()
	times["quarantine"] = "10m"
	return times
}

// A replica on another machine is killed, or stands still, amid a call that
// spends nothing: the extension of a session, or a login with what is stored.
// The other one makes it once more, soon after the attempt's deadline.
func TestWhatSpendsNothingIsTakenOver(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		o       backends.Options
		call    backends.Call
		stopped bool
		logins  int // in all
		calls   int // of the kind that was interrupted, in all
	}{
		{"extension, killed", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, backends.CallUse, false, 1, 2},
		{"extension, stopped", backends.Options{Kind: backends.KindHeader, Idle: time.Hour}, backends.CallUse, true, 1, 2},
		// The session that the lost reply told of is known to nobody, and the one before has ended with it.
		{"extension that renames, stopped", backends.Options{Kind: backends.KindHeader, Idle: time.Hour, Renames: true}, backends.CallUse, true, 2, 2},
		{"login, killed", backends.Options{Kind: backends.KindBearer, Life: time.Hour}, backends.CallLogin, false, 3, 3},
		{"login, stopped", backends.Options{Kind: backends.KindBearer, Life: time.Hour}, backends.CallLogin, true, 3, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			e.config["recovery"] = deadlineTimes()
			b := e.backend("shop", row.o, map[string]any{"timeout": "2s"})
			owner := e.open()
			other := e.elsewhere().start()
			id := e.signUp("shop", "ann")
			old := other.get(t, id).Generation

			b.Add(backends.Fault{Call: row.call, Count: 1, Hold: 4 * time.Second})
			var ask sync.WaitGroup
			ask.Go(func() { _ = owner.Refresh(context.WithoutCancel(t.Context()), id) })
			eventually(t, patience, func() (bool, string) { return b.InAir() == 1, "nothing is in the air" })
			if row.stopped {
				require.NoError(t, owner.Pause())
			} else {
				require.NoError(t, owner.Kill())
				ask.Wait()
			}
			e.living.Store(other) // whose log is the same

			eventually(t, patience, func() (bool, string) {
				return len(b.Calls(row.call, "ann")) == row.calls, "it was not taken up"
			})
			r := other.awaitRecord(t, id, func(r harness.Record) bool {
				return r.State == "active" && len(b.Calls(backends.CallLogin, "ann")) == row.logins
			})
			got, err := other.Token(t.Context(), id, 0)
			require.NoError(t, err)
			assert.True(t, b.Alive(got.AccessToken))
			if row.logins > 1 {
				assert.Greater(t, r.Generation, old)
			}

			if row.stopped { // what it hears now is of no consequence
				require.NoError(t, owner.Resume())
				ask.Wait()
				var again harness.Token
				require.NoError(t, owner.Call(t.Context(), http.MethodGet, harness.CredentialPath(id)+"/token", nil, &again))
				assert.Equal(t, got.AccessToken, again.AccessToken)
				after := other.get(t, id)
				assert.Equal(t, r.Version, after.Version)
				assert.Equal(t, r.Generation, after.Generation)
			}
			assert.Len(t, b.Calls(row.call, "ann"), row.calls, "one call more than without the fault")
			assert.Len(t, b.Calls(backends.CallLogin, "ann"), row.logins)
			oneEventPerVersion(t, other.api, e.heardAll(), e.stream)
		})
	}
}

// What presents a refresh token waits for the quarantine, and whoever asks for it
// meanwhile is told so, and for how long.
func TestARefreshOfASilentOwnerWaits(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.config["recovery"] = deadlineTimes()
	b := e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: time.Hour, Refreshes: true}, map[string]any{"timeout": "2s"})
	owner := e.open()
	other := e.elsewhere().start()
	id := e.signUp("shop", "ann")
	b.Add(backends.Fault{Call: backends.CallRefresh, Count: 1, Hold: 4 * time.Second})
	var ask sync.WaitGroup
	ask.Go(func() { _ = owner.Refresh(context.WithoutCancel(t.Context()), id) })
	eventually(t, patience, func() (bool, string) { return b.InAir() == 1, "nothing is in the air" })
	require.NoError(t, owner.Kill())
	ask.Wait()
	e.living.Store(other)

	eventually(t, patience, func() (bool, string) {
		refused := refusedWith(t, other.Refresh(t.Context(), id))
		return refused.Reason == "owner_died", refused.Error()
	})
	asked := time.Now()
	refused := refusedWith(t, other.Refresh(t.Context(), id))
	assert.Equal(t, http.StatusServiceUnavailable, refused.Status)
	assert.Equal(t, "owner_died", refused.Reason)
	assert.Contains(t, refused.Detail, "given time to come back")
	due := other.get(t, id).DueAt
	assert.WithinRange(t, due, asked.Add(5*time.Minute), asked.Add(11*time.Minute), "when the quarantine is over")
	assert.Len(t, b.Calls(backends.CallRefresh, "ann"), 1)
}
