package service

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// One user whose refreshes a backend answers as it would a wrong address costs the
// others nothing once another's call has shown that the address is right: there is
// one alert and its end, and his credential is tried again by its own waits.
func TestOneRefusedUserHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const (
		life  = 8 * time.Second
		lives = 4
		users = 20
	)
	e := newEstate(t)
	shop := e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: life, Refreshes: true}, nil)
	at := e.open()
	also := e.start()
	gone := e.signUp("shop", "gone")
	shop.Add(backends.Fault{Call: backends.CallRefresh, User: "gone", Reply: &backends.Reply{Status: http.StatusNotFound}})
	var others []string
	for i := range users - 1 {
		others = append(others, e.signUp("shop", fmt.Sprint("user-", i)))
	}
	eventually(t, credential.ProbeEvery+patience, func() (bool, string) {
		return e.stream.ofType("client.recovered") > 0, "nobody has shown that the client is accepted"
	})
	for _, id := range others {
		at.awaitRecord(t, id, func(r harness.Record) bool { return r.State == "active" })
	}
	count := func(kind string) map[string]int {
		of := map[string]int{}
		for _, id := range others {
			of[id] = len(e.stream.find(kind, id))
		}
		return of
	}
	expired, refreshed := count("credential.expired"), count("credential.refreshed")
	began, called := time.Now(), len(shop.Calls(backends.CallRefresh, "gone"))
	for _, id := range others {
		e.stream.awaitEvents(t, "credential.refreshed", id, refreshed[id]+lives)
	}
	assert.Equal(t, expired, count("credential.expired"), "they are fresh all the time")
	calls := len(shop.Calls(backends.CallRefresh, "gone")) - called
	assert.Positive(t, calls)
	assert.LessOrEqual(t, calls, int(time.Since(began)/time.Second)+1)
	for _, process := range []*instance{at, also} {
		assert.False(t, e.providerState(process, "shop").Breaker.Open)
	}
	r := at.get(t, gone)
	assert.Contains(t, []string{"degraded", "expired"}, r.State)
	require.NotNil(t, r.LastFailure)
	assert.Equal(t, "client_misconfigured", r.LastFailure.Reason)
	assert.Contains(t, r.LastFailure.Detail, "404")
	assert.Equal(t, 1, e.stream.ofType("client.misconfigured"), "one alert")
	assert.Equal(t, 1, e.stream.ofType("client.recovered"))
	assert.Zero(t, e.stream.ofType("credential.reauth_required"))
	oneEventPerVersion(t, at.api, e.heardAll(), e.stream)
}
