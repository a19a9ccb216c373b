package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

const shownRecord = `{"id":"alice","provider":"acme","subject":"u-1","labels":{"team":"blue"},"state":"degraded","reason":"provider_unavailable",
"since":"2026-01-02T03:04:05.678Z","version":12,"generation":5,"expires_at":"2026-01-02T04:00:00Z","expires_in":77,"due_at":"2026-01-02T03:50:00Z",
"refresh_once_at":"2026-01-02T03:40:00Z","refreshable":true,"has_login":true,"paused":true,"in_doubt":true,"presence":"active",
"session":{"idle_timeout":900,"idle_deadline":"2026-01-02T04:00:00Z","absolute_deadline":"2026-01-02T12:00:00Z","last_used_at":"2026-01-02T03:45:00Z"},
"last_success_at":"2026-01-02T03:00:00Z","last_failure":{"at":"2026-01-02T03:04:05Z","reason":"provider_unavailable","detail":"503"},
"refresh_token_expires_at":"2026-03-01T00:00:00Z","learned_lifetime":600,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-02T03:04:05Z"}`

func wantRecord() *client.Record {
	at := func(hour, minute, second, ms int) time.Time {
		return time.Date(2026, 1, 2, hour, minute, second, ms*int(time.Millisecond), time.UTC)
	}
	return &client.Record{
		ID: "alice", Provider: "acme", Subject: "u-1", Labels: map[string]string{"team": "blue"},
		State: client.StateDegraded, Reason: "provider_unavailable", Since: at(3, 4, 5, 678), Version: 12, Generation: 5,
		ExpiresAt: at(4, 0, 0, 0), RefreshTokenExpiresAt: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		DueAt: at(3, 50, 0, 0), RefreshOnceAt: at(3, 40, 0, 0),
		Refreshable: true, HasLogin: true, Paused: true, InDoubt: true, Presence: client.PresenceActive,
		Session:       &client.Session{IdleTimeout: 15 * time.Minute, IdleDeadline: at(4, 0, 0, 0), AbsoluteDeadline: at(12, 0, 0, 0), LastUsedAt: at(3, 45, 0, 0)},
		LastSuccessAt: at(3, 0, 0, 0), LastFailure: &client.Failure{At: at(3, 4, 5, 0), Reason: "provider_unavailable", Detail: "503"},
		CreatedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), UpdatedAt: at(3, 4, 5, 0),
	}
}

// TestCallsAreThoseOfTheAPI compares what is sent and what is made of the
// replies with refreshd's own documentation of each call.
func TestCallsAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	const path = "/under/v1/credentials/alice"
	record := func(w http.ResponseWriter) { deskJSON(w, http.StatusOK, json.RawMessage(shownRecord)) }
	for name, row := range map[string]struct {
		reply      func(http.ResponseWriter)
		do         func(*client.Client) (any, error)
		want       any
		asked      string
		conditions []string // If-Match, If-None-Match
		body       string
	}{
		"get": {
			reply: record, asked: "GET " + path, want: wantRecord(),
			do: func(c *client.Client) (any, error) { return c.Get(t.Context(), "alice") },
		},
		"logout": {
			reply: record, asked: "POST " + path + "/logout", want: wantRecord(),
			do: func(c *client.Client) (any, error) { return c.Logout(t.Context(), "alice") },
		},
		"presence": {
			reply: record, asked: "PUT " + path + "/presence", want: wantRecord(), body: `{"presence":"background"}`,
			do: func(c *client.Client) (any, error) {
				return c.SetPresence(t.Context(), "alice", client.PresenceBackground)
			},
		},
		"put a token": {
			reply: record, asked: "PUT " + path, want: wantRecord(), conditions: []string{`"18446744073709551615"`, ""},
			body: `{"provider":"acme","subject":"u-1","labels":{"team":"blue"},"token":{"access_token":"a","refresh_token":"r","token_type":"Bearer",
				"scope":"read","expires_in":3600,"refresh_expires_in":86400},"user_data":{"plan":"gold"}}`,
			do: func(c *client.Client) (any, error) {
				return c.Put(t.Context(), "alice", client.PutInput{
					Provider: "acme", Subject: "u-1", Labels: map[string]string{"team": "blue"}, UserData: map[string]string{"plan": "gold"}, IfVersion: 1<<64 - 1,
					Token: &client.PutToken{AccessToken: "a", RefreshToken: "r", TokenType: "Bearer", Scope: "read", ExpiresIn: time.Hour, RefreshExpiresIn: 24 * time.Hour},
				})
			},
		},
		"put a login": {
			reply: record, asked: "PUT " + path, want: wantRecord(), conditions: []string{"", "*"},
			body: `{"provider":"shop","login":{"username":"me","password":"pw"},"token":{"access_token":"a","expires_at":"2026-01-02T00:00:00Z"}}`,
			do: func(c *client.Client) (any, error) {
				return c.Put(t.Context(), "alice", client.PutInput{
					Provider: "shop", Login: &client.Login{Username: "me", Password: "pw"}, IfAbsent: true,
					Token: &client.PutToken{AccessToken: "a", ExpiresAt: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)},
				})
			},
		},
		"delete": {
			reply: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, asked: "DELETE " + path,
			do: func(c *client.Client) (any, error) {
				return nil, c.Delete(t.Context(), "alice", client.DeleteOptions{})
			},
		},
		"delete and revoke": {
			reply: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, asked: "DELETE " + path + "?revoke=true", conditions: []string{`"7"`, ""},
			do: func(c *client.Client) (any, error) {
				return nil, c.Delete(t.Context(), "alice", client.DeleteOptions{Revoke: true, IfVersion: 7})
			},
		},
		"touch": {
			reply: func(w http.ResponseWriter) {
				deskJSON(w, http.StatusOK, json.RawMessage(`{"idle_deadline":"2026-01-02T04:00:00Z","expires_in":900}`))
			},
			asked: "POST " + path + "/touch", want: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC),
			do: func(c *client.Client) (any, error) { return c.Touch(t.Context(), "alice") },
		},
		"user data": {
			reply: func(w http.ResponseWriter) {
				deskJSON(w, http.StatusOK, json.RawMessage(`{"subject":"u-1","state":"active","expires_at":"2026-01-02T04:00:00Z","version":3,"user_data":{"plan":"gold"}}`))
			},
			asked: "GET " + path + "/user-data",
			want: &client.User[plan]{
				Subject: "u-1", State: client.StateActive, ExpiresAt: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC), Version: 3,
				Data: plan{Plan: "gold"}, Known: true,
			},
			do: func(c *client.Client) (any, error) { return client.UserData[plan](t.Context(), c, "alice") },
		},
		"no user data": {
			reply: func(w http.ResponseWriter) { deskJSON(w, http.StatusOK, json.RawMessage(`{"state":"logged_out"}`)) },
			asked: "GET " + path + "/user-data", want: &client.User[plan]{State: client.StateLoggedOut},
			do: func(c *client.Client) (any, error) { return client.UserData[plan](t.Context(), c, "alice") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desk := newTokenDesk()
			desk.answers(func(w http.ResponseWriter, _ *http.Request) { row.reply(w) })
			got, err := row.do(desk.client(t, client.Options{}))
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(row.want, got))
			asked, body := desk.last()
			assert.Equal(t, row.asked, asked.Method+" "+asked.URL.RequestURI())
			if row.conditions == nil {
				row.conditions = []string{"", ""}
			}
			sent := []string{asked.Header.Get("If-Match"), asked.Header.Get("If-None-Match")}
			assert.Equal(t, row.conditions, sent)
			if row.body == "" {
				assert.Empty(t, body)
				assert.Empty(t, asked.Header.Get("Content-Type"))
				return
			}
			assert.JSONEq(t, row.body, body)
			assert.Equal(t, "application/json", asked.Header.Get("Content-Type"))
		})
	}
}

type plan struct {
	Plan string `json:"plan"`
}

func TestUserDataOfAnotherShape(t *testing.T) {
	t.Parallel()
	desk := newTokenDesk()
	desk.answers(func(w http.ResponseWriter, _ *http.Request) {
		deskJSON(w, http.StatusOK, json.RawMessage(`{"state":"active","user_data":["gold"]}`))
	})
	c := desk.client(t, client.Options{})
	_, err := client.UserData[plan](t.Context(), c, "alice")
	require.ErrorContains(t, err, "the user data of alice is no client_test.plan")
	_, err = c.Put(t.Context(), "alice", client.PutInput{UserData: func() {}})
	require.ErrorContains(t, err, "PutInput.UserData")
	asked, _ := desk.last()
	assert.Equal(t, http.MethodGet, asked.Method, "what cannot be encoded is not sent")
}

// TestChangesPutTheTokenAway reads a token, changes the credential, and reads
// again.
func TestChangesPutTheTokenAway(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(context.Context, *client.Client) error{
		"put": func(ctx context.Context, c *client.Client) error {
			_, err := c.Put(ctx, "alice", client.PutInput{Provider: "acme"})
			return err
		},
		"logout": func(ctx context.Context, c *client.Client) error {
			_, err := c.Logout(ctx, "alice")
			return err
		},
		"delete": func(ctx context.Context, c *client.Client) error {
			return c.Delete(ctx, "alice", client.DeleteOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				desk := newTokenDesk()
				c := desk.client(t, client.Options{})
				_, err := c.Token(t.Context(), "alice")
				require.NoError(t, err)

				desk.refuses(http.StatusConflict, "stale_token", "")
				require.Error(t, change(t.Context(), c))
				_, err = c.Token(t.Context(), "alice")
				require.NoError(t, err)
				assert.Equal(t, 1, desk.count(tokenCall), "nothing was changed")

				desk.answers(nil)
				desk.meets(func(r *http.Request) bool { return r.URL.Path[len(r.URL.Path)-6:] == "/token" })
				require.ErrorIs(t, change(t.Context(), c), client.ErrUnavailable)
				_, err = c.Token(t.Context(), "alice")
				require.NoError(t, err)
				assert.Equal(t, 2, desk.count(tokenCall), "it may have been changed")

				desk.meets(func(*http.Request) bool { return false })
				require.ErrorIs(t, change(t.Context(), c), client.ErrUnavailable)
				for range 2 {
					_, err = c.Token(t.Context(), "alice")
					require.NoError(t, err)
				}
				assert.Equal(t, 3, desk.count(tokenCall), "and if refreshd cannot be asked the token serves on")

				desk.meets(nil)
				desk.answers(func(w http.ResponseWriter, _ *http.Request) { deskJSON(w, http.StatusOK, json.RawMessage(shownRecord)) })
				require.NoError(t, change(t.Context(), c))
				desk.refuses(http.StatusConflict, "logged_out", "")
				_, err = c.Token(t.Context(), "alice")
				require.ErrorIs(t, err, client.ErrLoggedOut)
			})
		})
	}
}

// TestTokenFromBeforeAChangeIsNotKept stores a credential anew while its token
// is being read.
func TestTokenFromBeforeAChangeIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		old, release := true, make(chan struct{})
		reply := func(generation uint64) map[string]any {
			return (&deskToken{generation: generation, version: generation, end: time.Now().Add(time.Hour)}).reply("alice")
		}
		desk.answers(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut:
				deskJSON(w, http.StatusOK, map[string]any{"id": "alice", "version": 5})
			case old:
				old = false
				<-release
				deskJSON(w, http.StatusOK, reply(1))
			case desk.count(tokenCall) == 2:
				deskJSON(w, http.StatusOK, reply(4)) // a replica that lags behind
			default:
				deskJSON(w, http.StatusOK, reply(5))
			}
		})
		first := make(chan error, 1)
		go func() {
			_, err := c.Token(t.Context(), "alice")
			first <- err
		}()
		synctest.Wait()
		_, err := c.Put(t.Context(), "alice", client.PutInput{Provider: "acme"})
		require.NoError(t, err)
		token, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(4), token.Generation, "not what is still under way")
		close(release)
		require.NoError(t, <-first)
		synctest.Wait()
		token, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(4), token.Generation)
		pass(time.Second)
		token, err = c.Token(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, uint64(5), token.Generation, "what is older than the change serves for a second only")
		assert.Equal(t, 3, desk.count(tokenCall))
	})
}

func TestTouchOfWhatIsNoSession(t *testing.T) {
	t.Parallel()
	desk := newTokenDesk()
	desk.refuses(http.StatusConflict, "session_over", "")
	_, err := desk.client(t, client.Options{}).Touch(t.Context(), "alice")
	require.ErrorIs(t, err, client.ErrSessionOver)
	told, ok := errors.AsType[*client.Error](err)
	require.True(t, ok)
	assert.Equal(t, http.StatusConflict, told.Status)
}
