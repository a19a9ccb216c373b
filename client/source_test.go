package client_test

import (
	"context"
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

const (
	tokenCall   = "GET token"
	refreshCall = "POST refresh"
)

// pass lets time go by inside a bubble, and what is due then run.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestTokenIsAskedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		release := make(chan struct{})
		desk.meets(func(*http.Request) bool { <-release; return true })
		c := desk.client(t, client.Options{})

		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				token, err := c.Token(t.Context(), "alice")
				if assert.NoError(t, err) {
					assert.Equal(t, deskSecret("alice", 1), token.AccessToken)
				}
			})
		}
		synctest.Wait() // all of them wait for the one
		close(release)
		all.Wait()
		token, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, "read write", token.Scope)
		assert.Equal(t, time.Now().Add(time.Hour).UTC(), token.ExpiresAt.UTC())
		assert.Equal(t, client.Send{As: client.SendBearer}, token.Send)
		assert.Equal(t, 1, desk.count(tokenCall))
		asked, _ := desk.last()
		assert.Equal(t, "http://127.0.0.1:7420/under/v1/credentials/alice/token?min_ttl=1m0s", asked.URL.String())
		assert.Equal(t, "refreshd-go", asked.Header.Get("User-Agent"))
	})
}

func TestEachWaiterHasItsOwnContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		release := make(chan struct{})
		desk.meets(func(*http.Request) bool { <-release; return true })
		c := desk.client(t, client.Options{})

		ctx, cancel := context.WithCancelCause(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := c.Token(ctx, "alice")
			left <- err
		}()
		stayed := make(chan error, 1)
		synctest.Wait()
		go func() {
			_, err := c.Token(t.Context(), "alice")
			stayed <- err
		}()
		synctest.Wait()

		bored := errors.New("bored")
		cancel(bored)
		require.ErrorIs(t, <-left, bored)
		close(release)
		require.NoError(t, <-stayed, "the first one's leaving ends nothing for the others")
		assert.Equal(t, 1, desk.count(tokenCall))

		_, err := c.Token(ctx, "alice")
		require.NoError(t, err, "a token in hand needs no context")
		_, err = c.Token(ctx, "bob")
		require.ErrorIs(t, err, bored)
		require.NotErrorIs(t, err, client.ErrUnavailable)
		assert.Equal(t, 1, desk.count(tokenCall))
	})
}

func TestNextTokenIsFetchedAheadWithoutWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)

		pass(40 * time.Minute)
		desk.renew("alice")
		_, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, 1, desk.count(tokenCall), "not yet")

		pass(15 * time.Minute) // 55 of 60
		release := make(chan struct{})
		desk.meets(func(*http.Request) bool { <-release; return true })
		for range 10 {
			token, err := c.Token(t.Context(), "alice")
			require.NoError(t, err)
			assert.Equal(t, uint64(1), token.Generation, "nobody waits while the token in hand is good")
			synctest.Wait()
		}
		assert.Equal(t, 2, desk.count(tokenCall), "one fetch, however many ask")
		close(release)
		synctest.Wait()
		token, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(2), token.Generation)
		assert.Equal(t, 2, desk.count(tokenCall))
	})
}

func TestTokenInHandServesThroughAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		desk.meets(func(*http.Request) bool { return false })

		began := time.Now()
		for time.Since(began) < time.Hour-2*time.Second {
			_, err := c.Token(t.Context(), "alice")
			require.NoError(t, err, "after %s", time.Since(began))
			pass(time.Second)
		}
		assert.Less(t, desk.count(tokenCall), 40, "asks again later and later")

		pass(2 * time.Second)
		_, err = c.Token(t.Context(), "alice")
		away, ok := errors.AsType[*client.UnavailableError](err)
		require.True(t, ok, "%v", err)
		require.ErrorIs(t, err, client.ErrUnavailable)
		require.ErrorContains(t, away, "connection reset")
		require.ErrorContains(t, away, "GET /under/v1/credentials/alice/token")

		desk.meets(nil)
		desk.renew("alice")
		token, err := c.Token(t.Context(), "alice")
		require.NoError(t, err, "by itself, when refreshd is back")
		assert.Equal(t, uint64(2), token.Generation)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		desk.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "240")
			deskProblem(w, http.StatusServiceUnavailable, "unavailable", `,"reason":"provider_unavailable"`)
		})
		pass(54 * time.Minute)
		for range 235 {
			_, err := c.Token(t.Context(), "alice")
			require.NoError(t, err)
			pass(time.Second)
		}
		assert.Equal(t, 2, desk.count(tokenCall))
	})
}

func TestTokenInHandServesWhileRefreshdHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		release := make(chan struct{})
		desk.meets(func(*http.Request) bool { <-release; return true })
		pass(time.Hour - 30*time.Second)

		began := time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				token, err := c.Token(t.Context(), "alice")
				if assert.NoError(t, err) {
					assert.Equal(t, uint64(1), token.Generation)
				}
			})
		}
		all.Wait()
		assert.Equal(t, 2*time.Second, time.Since(began), "a better one is waited for, but not for long")
		_, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, time.Since(began), "and then not again")
		close(release)
		synctest.Wait()
		token, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(2), token.Generation)
		assert.Equal(t, 2, desk.count(tokenCall))
	})
}

func TestTokenWithTooLittleLeftIsReplacedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{MinTTL: 10 * time.Minute})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		pass(51 * time.Minute)
		token, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(2), token.Generation)
	})
}

func TestLessLifeIsTakenWhereThereIsNoMore(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(http.ResponseWriter){
		"the provider grants less": func(w http.ResponseWriter) { deskProblem(w, http.StatusUnprocessableEntity, "min_ttl", "") },
		"no refresh token":         func(w http.ResponseWriter) { deskProblem(w, http.StatusConflict, "not_refreshable", "") },
		"only the user":            func(w http.ResponseWriter) { deskProblem(w, http.StatusConflict, "reauth_required", "") },
		"provider away":            func(w http.ResponseWriter) { deskProblem(w, http.StatusServiceUnavailable, "unavailable", "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				desk := newTokenDesk()
				c := desk.client(t, client.Options{})
				end := time.Now().Add(40 * time.Second)
				desk.answers(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Has("min_ttl") || !time.Now().Before(end) {
						refuse(w)
						return
					}
					deskJSON(w, http.StatusOK, (&deskToken{generation: 3, version: 9, end: end}).reply("alice"))
				})
				for time.Until(end) > 2*time.Second {
					token, err := c.Token(t.Context(), "alice")
					require.NoError(t, err, "%s before the end", time.Until(end))
					assert.Equal(t, uint64(3), token.Generation)
					pass(time.Second)
				}
				assert.Less(t, desk.count(tokenCall), 24, "nobody waits for each")
				pass(2 * time.Second)
				_, err := c.Token(t.Context(), "alice")
				require.Error(t, err, "never one that has ended")
			})
		})
	}
}

func TestTokenThatIsNoneAnyMoreGoes(t *testing.T) {
	t.Parallel()
	for code, status := range map[string]int{"not_found": http.StatusNotFound, "logged_out": http.StatusConflict} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				desk := newTokenDesk()
				c := desk.client(t, client.Options{})
				_, err := c.Token(t.Context(), "alice")
				require.NoError(t, err)
				desk.refuses(status, code, "")
				pass(55 * time.Minute)
				_, err = c.Token(t.Context(), "alice")
				require.NoError(t, err, "nobody waits")
				synctest.Wait()
				_, err = c.Token(t.Context(), "alice")
				require.Error(t, err, "refreshd has said that there is none")
			})
		})
	}
}

func TestTokenOfAnotherClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		desk.answers(func(w http.ResponseWriter, _ *http.Request) {
			reply := (&deskToken{generation: 1, version: 1, end: time.Now().Add(10 * time.Minute)}).reply("alice")
			reply["expires_at"] = time.Now().Add(-7 * time.Hour).UTC() // refreshd's clock is behind
			deskJSON(w, http.StatusOK, reply)
		})
		token, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, 10*time.Minute, time.Until(token.ExpiresAt))
	})
}

func TestReplyThatIsOlderThanTheTokenInHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		_, err = c.Refresh(t.Context(), "alice", 1)
		require.NoError(t, err)
		end := time.Now().Add(20 * time.Minute)
		desk.answers(func(w http.ResponseWriter, _ *http.Request) { // a replica that lags behind
			deskJSON(w, http.StatusOK, (&deskToken{generation: 1, version: 1, end: end}).reply("alice"))
		})
		pass(55 * time.Minute)
		for range 2 {
			token, err := c.Token(t.Context(), "alice")
			require.NoError(t, err)
			assert.Equal(t, uint64(2), token.Generation)
			synctest.Wait()
		}
		asked := desk.count(tokenCall)
		assert.Equal(t, 2, asked)
		pass(2 * time.Second)
		_, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, 3, desk.count(tokenCall), "it is asked again soon")
	})
}

func TestTokenSource(t *testing.T) {
	t.Parallel()
	desk := newTokenDesk()
	c := desk.client(t, client.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	source := c.TokenSource(ctx, "alice")
	token, err := source.Token()
	require.NoError(t, err)
	assert.Equal(t, deskSecret("alice", 1), token.AccessToken)
	assert.Equal(t, "Bearer", token.TokenType)
	assert.True(t, token.Valid())
	assert.Empty(t, token.RefreshToken)
	assert.Equal(t, uint64(1), token.Extra("generation"))
	assert.Equal(t, uint64(1), token.Extra("version"))
	assert.Equal(t, "read write", token.Extra("scope"))
	assert.Equal(t, client.SendBearer, token.Extra("send_as"))
	assert.Empty(t, token.Extra("send_name"))

	_, err = c.Refresh(t.Context(), "alice", 1)
	require.NoError(t, err)
	next, err := source.Token()
	require.NoError(t, err)
	assert.Equal(t, uint64(2), next.Extra("generation"), "it shares what the client has in hand")

	cancel()
	other := c.TokenSource(ctx, "bob")
	_, err = other.Token()
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.TokenSource(t.Context(), "../alice").Token()
	require.ErrorIs(t, err, client.ErrInvalid)
	assert.Equal(t, 1, desk.count(tokenCall))
}
