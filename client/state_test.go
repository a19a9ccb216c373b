package client_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/clienttest"
)

func TestStateFirstAndThenTheChanges(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Put("a", clienttest.Credential{Subject: "4711"})
	server.Put("ab", clienttest.Credential{}) // its ID starts alike
	states := follow(t, server.Client(t).State(t.Context(), "a"))

	first := states.next()
	assert.Equal(t, client.StateActive, first.State)
	assert.Equal(t, "4711", first.User)
	assert.Equal(t, uint64(1), first.Version)
	assert.False(t, first.ExpiresAt.IsZero())
	assert.Nil(t, first.Event)
	assert.True(t, first.SignedIn())

	server.RequireReauth("ab", "invalid_grant")
	server.RequireReauth("a", "invalid_grant")
	died := states.next()
	assert.Equal(t, "a", died.ID)
	assert.Equal(t, client.StateReauthRequired, died.State)
	assert.Equal(t, "invalid_grant", died.Reason)
	assert.Equal(t, uint64(2), died.Version)
	require.NotNil(t, died.Event)
	assert.Equal(t, client.EventReauthRequired, died.Event.Type)
	assert.Equal(t, died.Event.Time, died.Since)
	assert.False(t, died.SignedIn())

	server.Disconnect()
	server.Put("a", clienttest.Credential{})
	assert.Equal(t, client.EventReauthorized, states.next().Event.Type)
	server.LogOut("a")
	assert.Equal(t, client.StateLoggedOut, states.next().State)
	server.Delete("a")
	assert.Equal(t, client.StateDeleted, states.next().State)
}

func TestStateOfNothing(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	states := follow(t, server.Client(t).State(t.Context(), "a"))
	nothing := states.next()
	assert.Equal(t, client.CredentialState{ID: "a", State: client.StateDeleted}, nothing)
	assert.False(t, nothing.SignedIn())
	server.Put("a", clienttest.Credential{})
	there := states.next()
	assert.Equal(t, client.StateActive, there.State)
	assert.Equal(t, uint64(1), there.Version)
}

// meddler changes something in the service just before a record is read.
type meddler struct {
	http.Transport

	mu   sync.Mutex
	once []func()
}

func (m *meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	var do func()
	if strings.HasPrefix(r.URL.Path, "/v1/credentials/") && len(m.once) > 0 {
		do, m.once = m.once[0], m.once[1:]
	}
	m.mu.Unlock()
	if do != nil {
		do()
	}
	return m.Transport.RoundTrip(r)
}

func meddled(t *testing.T, server *clienttest.Server, do ...func()) *client.Client {
	t.Helper()
	m := &meddler{once: do}
	t.Cleanup(m.CloseIdleConnections)
	c, err := client.New(server.URL, client.Options{Key: server.Key, HTTPClient: &http.Client{Transport: m}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// What changes while the state is read is in it or comes after it: once.
func TestStateHasNoHoleAndNothingTwice(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Put("a", clienttest.Credential{})
	c := meddled(t, server, func() { server.RequireReauth("a", "invalid_grant") })
	states := follow(t, c.State(t.Context(), "a"))
	first := states.next()
	assert.Equal(t, client.StateReauthRequired, first.State)
	assert.Equal(t, uint64(2), first.Version)
	server.Put("a", clienttest.Credential{})
	assert.Equal(t, uint64(3), states.next().Version)
}

func TestStateOfWhatIsDeletedWhileItIsRead(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Put("a", clienttest.Credential{})
	c := meddled(t, server, func() {
		server.Put("a", clienttest.Credential{})
		server.Delete("a")
	})
	states := follow(t, c.State(t.Context(), "a"))
	assert.Equal(t, client.StateDeleted, states.next().State)
	server.Put("a", clienttest.Credential{})
	assert.Equal(t, uint64(4), states.next().Version, "it was told what had been before the deletion")
}

func TestStateIsReadAgainWhereEventsAreMissing(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Put("a", clienttest.Credential{})
	states := follow(t, server.Client(t).State(t.Context(), "a"))
	assert.Equal(t, uint64(1), states.next().Version)
	server.Put("a", clienttest.Credential{})
	assert.Equal(t, uint64(2), states.next().Version)

	server.RequireReauth("a", "invalid_grant")
	server.Reset() // what was told of it is gone
	again := states.next()
	if again.Event != nil { // the stream had brought it before it was cut
		again = states.next()
	}
	assert.Equal(t, client.StateReauthRequired, again.State)
	assert.Nil(t, again.Event)
	server.Put("a", clienttest.Credential{})
	assert.Equal(t, uint64(4), states.next().Version)
}

func TestStateSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := says(http.StatusServiceUnavailable, "application/problem+json", `{"code":"unavailable"}`, "Retry-After", "5")
		cursor := says(http.StatusOK, "application/json", `{"cursor":"c0"}`)
		s, c := scripted(t,
			connectionRefused, // the cursor
			cursor, away,      // the record
			cursor, says(http.StatusOK, "application/json", `{"id":"a","state":"degraded","version":1}`),
			away, says(http.StatusNotFound, "text/html", "<h1>gateway</h1>"), // the events
			cursor, says(http.StatusOK, "application/json", `{"id":"a","state":"degraded","version":1}`),
			streams(numbered(1)+numbered(2)),
		)
		states := follow(t, c.State(t.Context(), "a"))
		assert.Equal(t, client.StateDegraded, states.next().State)
		assert.GreaterOrEqual(t, time.Since(s.begun), 6*time.Second, "it came back before it was asked to")
		assert.Equal(t, uint64(2), states.next().Version)
		assert.Equal(t, []string{"", "", "", "", "", "c0", "c0", "", "", "c0"}, s.last)
	})
}

func TestStateEndsWithWhatLasts(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	require.ErrorIs(t, follow(t, c.State(t.Context(), "../a")).fails(), client.ErrInvalid)
	assert.Zero(t, server.Calls().Events, "it asked for what cannot be an ID")

	stranger, err := client.New(server.URL, client.Options{Key: "rdk_wrong"})
	require.NoError(t, err)
	states := follow(t, stranger.State(t.Context(), "a"))
	require.ErrorIs(t, states.fails(), client.ErrUnauthorized)
	require.NoError(t, stranger.Close())
	require.ErrorIs(t, follow(t, stranger.State(t.Context(), "a")).fails(), client.ErrClosed)
}
