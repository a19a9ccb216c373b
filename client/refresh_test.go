package client_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

func TestRejectedGenerationIsRefreshedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)

		release := make(chan struct{})
		desk.meets(func(*http.Request) bool { <-release; return true })
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				token, err := c.Refresh(t.Context(), "alice", 1)
				if assert.NoError(t, err) {
					assert.Equal(t, uint64(2), token.Generation)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		assert.Equal(t, 1, desk.count(refreshCall))
		_, body := desk.last()
		assert.JSONEq(t, `{"rejected_generation":1}`, body)

		token, err := c.Refresh(t.Context(), "alice", 1)
		require.NoError(t, err)
		assert.Equal(t, uint64(2), token.Generation, "a late one gets what there is")
		assert.Equal(t, 1, desk.count(refreshCall))

		token, err = c.Refresh(t.Context(), "alice", 0)
		require.NoError(t, err)
		assert.Equal(t, uint64(3), token.Generation, "0 is whatever is in hand")
		_, body = desk.last()
		assert.JSONEq(t, `{}`, body)
		token, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(3), token.Generation)
		assert.Equal(t, 1, desk.count(tokenCall))
	})
}

func TestSessionThatIsTakenAfterAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		desk.answers(func(w http.ResponseWriter, _ *http.Request) { // the backend takes the token that it had rejected
			deskJSON(w, http.StatusOK, (&deskToken{generation: 7, version: 9, end: time.Now().Add(15 * time.Minute)}).reply("alice"))
		})
		for range 3 { // of requests that were sent together
			token, err := c.Refresh(t.Context(), "alice", 7)
			require.NoError(t, err)
			assert.Equal(t, uint64(7), token.Generation)
		}
		assert.Equal(t, 1, desk.count(refreshCall))
		pass(time.Minute)
		_, err := c.Refresh(t.Context(), "alice", 7)
		require.NoError(t, err)
		assert.Equal(t, 2, desk.count(refreshCall), "another rejection is another question")
	})
}

func TestRefreshThatIsLeftToAnotherProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		made := time.Now().Add(2 * time.Second)
		desk.answers(func(w http.ResponseWriter, r *http.Request) {
			generation := uint64(4)
			if !time.Now().Before(made) {
				generation = 5
			}
			switch {
			case r.Method == http.MethodPost:
				deskJSON(w, http.StatusAccepted, map[string]any{"queued": true})
			case generation == 4 && desk.count(tokenCall) == 3:
				deskProblem(w, http.StatusServiceUnavailable, "unavailable", "")
			default:
				deskJSON(w, http.StatusOK, (&deskToken{generation: generation, version: generation, end: time.Now().Add(time.Hour)}).reply("alice"))
			}
		})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		token, err := c.Refresh(t.Context(), "alice", 4)
		require.NoError(t, err)
		assert.Equal(t, uint64(5), token.Generation)

		made = time.Now().Add(time.Hour) // nobody makes the next
		_, err = c.Refresh(t.Context(), "alice", 5)
		require.ErrorIs(t, err, client.ErrUnavailable)
		desk.refuses(http.StatusConflict, "reauth_required", "")
		_, err = c.Refresh(t.Context(), "alice", 5)
		require.ErrorIs(t, err, client.ErrReauthRequired)
	})
}

func TestRefreshThatTheUserHasToMend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)

		desk.refuses(http.StatusConflict, "fresh_rejected", "")
		_, err = c.Refresh(t.Context(), "alice", 1)
		require.ErrorIs(t, err, client.ErrFreshRejected)
		_, err = c.Token(t.Context(), "alice")
		require.NoError(t, err, "it may do elsewhere")

		since := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
		desk.refuses(http.StatusConflict, "reauth_required", `,"state":"reauth_required","reason":"invalid_grant","since":"2026-11-20T08:00:00Z"`)
		_, err = c.Refresh(t.Context(), "alice", 1)
		reauth, ok := errors.AsType[*client.ReauthError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, []any{"alice", "reauth_required", "invalid_grant", since, false},
			[]any{reauth.ID, reauth.Code, reauth.Reason, reauth.Since.UTC(), reauth.LoggedOut()})
		require.EqualError(t, err, "refreshd: credential alice needs its user: reauth_required (invalid_grant) since 2026-11-20T08:00:00Z")
		_, err = c.Token(t.Context(), "alice")
		require.ErrorIs(t, err, client.ErrReauthRequired, "the rejected token is in nobody's hand any more")
	})
}

func TestRefreshInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		desk.meets(func(*http.Request) bool { return false })
		_, err = c.Refresh(t.Context(), "alice", 1)
		require.ErrorIs(t, err, client.ErrUnavailable)
		_, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
	})
}

func TestRefreshOfAGenerationThatWasTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Refresh(t.Context(), "alice", 0)
		require.NoError(t, err)
		desk.answers(func(w http.ResponseWriter, r *http.Request) { // refreshd was put back to an earlier state
			if r.Method == http.MethodPost {
				deskProblem(w, http.StatusConflict, "conflict", "")
				return
			}
			deskJSON(w, http.StatusOK, (&deskToken{generation: 1, version: 1, end: time.Now().Add(time.Hour)}).reply("alice"))
		})
		token, err := c.Refresh(t.Context(), "alice", 2)
		require.NoError(t, err)
		assert.Equal(t, uint64(1), token.Generation)
		token, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(1), token.Generation)
	})
}
