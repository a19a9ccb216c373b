// Package conformance holds what package client relies on in the service that
// it talks to. It runs over the real service and over the one in memory of
// package clienttest: what passes here may be tested there.
package conformance

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// A Service is what the suite runs over.
type Service struct {
	URL, Key string // of a service that is not used by anybody else, and a key that may do everything
	Provider string // the name of a provider of bearer tokens that live for some minutes at least
	// Issue has the provider issue a token that can be refreshed, each time
	// another one.
	Issue func(t *testing.T) *client.PutToken
}

// Run runs the suite. setup is called once.
func Run(t *testing.T, setup func(t *testing.T) Service) {
	t.Helper()
	s := suite{Service: setup(t)}
	c, err := client.New(s.URL, client.Options{Key: s.Key})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	s.client = c
	for _, one := range []struct {
		name string
		test func(*testing.T)
	}{
		{"Store", s.store},
		{"Token", s.token},
		{"Sessions", s.sessions},
		{"UserData", s.userData},
		{"End", s.end},
		{"Events", s.events},
		{"State", s.state},
		{"Refusals", s.refusals},
		{"Shapes", s.shapes},
	} {
		t.Run(one.name, one.test)
	}
}

type suite struct {
	Service

	client *client.Client
}

func (s suite) put(t *testing.T, id string) *client.Record {
	t.Helper()
	r, err := s.client.Put(t.Context(), id, client.PutInput{
		Provider: s.Provider, Subject: "4711", Labels: map[string]string{"suite": "conformance"}, Token: s.Issue(t),
		UserData: map[string]any{"page": "orders"},
	})
	require.NoError(t, err)
	return r
}

func (s suite) store(t *testing.T) {
	t.Helper()
	const id = "conformance:store"
	r := s.put(t, id)
	assert.Equal(t, id, r.ID)
	assert.Equal(t, s.Provider, r.Provider)
	assert.Equal(t, "4711", r.Subject)
	assert.Equal(t, map[string]string{"suite": "conformance"}, r.Labels)
	assert.Equal(t, client.StateActive, r.State)
	assert.Equal(t, uint64(1), r.Version)
	assert.Equal(t, uint64(1), r.Generation)
	assert.True(t, r.Refreshable)
	assert.False(t, r.ExpiresAt.IsZero())
	assert.False(t, r.Since.IsZero())

	got, err := s.client.Get(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, r.Version, got.Version)

	_, err = s.client.Put(t.Context(), id, client.PutInput{Provider: s.Provider, Token: s.Issue(t), IfAbsent: true})
	require.ErrorIs(t, err, client.ErrConflict)
	_, err = s.client.Put(t.Context(), id, client.PutInput{Provider: s.Provider, Token: s.Issue(t), IfVersion: got.Version + 1})
	require.ErrorIs(t, err, client.ErrConflict)

	token := s.Issue(t)
	again, err := s.client.Put(t.Context(), id, client.PutInput{Provider: s.Provider, Token: token, IfVersion: got.Version})
	require.NoError(t, err)
	assert.Equal(t, got.Version+1, again.Version)
	assert.Equal(t, got.Generation+1, again.Generation)
	same, err := s.client.Put(t.Context(), id, client.PutInput{Provider: s.Provider, Token: token})
	require.NoError(t, err)
	assert.Equal(t, again.Version, same.Version, "the same token was stored twice")
	assert.True(t, same.Unchanged, "it was not told that nothing was stored")
	assert.False(t, again.Unchanged, "a new login was stored")
}

func (s suite) token(t *testing.T) {
	t.Helper()
	const id = "conformance:token"
	r := s.put(t, id)
	token, err := s.client.Token(t.Context(), id)
	require.NoError(t, err)
	assert.NotEmpty(t, token.AccessToken)
	assert.Equal(t, client.SendBearer, token.Send.As)
	assert.Equal(t, r.Generation, token.Generation)
	assert.Equal(t, r.Version, token.Version)

	next, err := s.client.Refresh(t.Context(), id, token.Generation)
	require.NoError(t, err)
	assert.Equal(t, token.Generation+1, next.Generation)
	assert.Equal(t, token.Version+1, next.Version)
	assert.NotEqual(t, token.AccessToken, next.AccessToken)

	late, err := s.client.Refresh(t.Context(), id, token.Generation) // somebody else has used the old one
	require.NoError(t, err)
	assert.Equal(t, next.Generation, late.Generation)

	_, err = s.client.Refresh(t.Context(), id, next.Generation)
	require.ErrorIs(t, err, client.ErrFreshRejected)
}

func (s suite) sessions(t *testing.T) {
	t.Helper()
	const id = "conformance:sessions"
	s.put(t, id)
	_, err := s.client.Touch(t.Context(), id)
	require.ErrorIs(t, err, client.ErrNoSession)
	_, err = s.client.SetPresence(t.Context(), id, client.PresenceActive)
	require.ErrorIs(t, err, client.ErrNoSession)
	_, err = s.client.SetPresence(t.Context(), id, "asleep")
	require.ErrorIs(t, err, client.ErrInvalid)
}

func (s suite) userData(t *testing.T) {
	t.Helper()
	const id = "conformance:user-data"
	s.put(t, id)
	type user struct{ Page string }
	u, err := client.UserData[user](t.Context(), s.client, id)
	require.NoError(t, err)
	assert.True(t, u.Known)
	assert.Equal(t, user{Page: "orders"}, u.Data)
	assert.Equal(t, "4711", u.Subject)
	assert.Equal(t, client.StateActive, u.State)
	assert.NotZero(t, u.Version)
}

func (s suite) end(t *testing.T) {
	t.Helper()
	const id = "conformance:end"
	r := s.put(t, id)
	out, err := s.client.Logout(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, client.StateLoggedOut, out.State)
	assert.Equal(t, r.Version+1, out.Version)
	_, err = s.client.Token(t.Context(), id)
	require.ErrorIs(t, err, client.ErrLoggedOut)
	why, ok := errors.AsType[*client.ReauthError](err)
	require.True(t, ok)
	assert.Equal(t, id, why.ID)
	assert.False(t, why.Since.IsZero())
	u, err := client.UserData[any](t.Context(), s.client, id)
	require.NoError(t, err)
	assert.False(t, u.Known, "it outlived the logout")
	again, err := s.client.Logout(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, out.Version, again.Version)

	require.ErrorIs(t, s.client.Delete(t.Context(), id, client.DeleteOptions{IfVersion: out.Version + 1}), client.ErrConflict)
	require.NoError(t, s.client.Delete(t.Context(), id, client.DeleteOptions{IfVersion: out.Version}))
	_, err = s.client.Get(t.Context(), id)
	require.ErrorIs(t, err, client.ErrNotFound)
	require.ErrorIs(t, s.client.Delete(t.Context(), id, client.DeleteOptions{}), client.ErrNotFound)
	back := s.put(t, id)
	assert.Equal(t, out.Version+2, back.Version, "the count goes on behind the deletion")
}

func (s suite) events(t *testing.T) {
	t.Helper()
	const id = "conformance:events"
	cursor, err := s.client.Cursor(t.Context())
	require.NoError(t, err)
	first := s.put(t, id)
	_, err = s.client.Refresh(t.Context(), id, first.Generation)
	require.NoError(t, err)
	_, err = s.client.Logout(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, s.client.Delete(t.Context(), id, client.DeleteOptions{}))

	all := s.read(t, client.Filter{Prefix: id}, cursor, 4)
	kinds := []client.EventType{client.EventConnected, client.EventRefreshed, client.EventLoggedOut, client.EventDeleted}
	for i, e := range all {
		assert.Equal(t, kinds[i], e.Type)
		assert.Equal(t, id, e.Credential)
		assert.Equal(t, s.Provider, e.Provider)
		assert.Equal(t, map[string]string{"suite": "conformance"}, e.Labels)
		assert.Equal(t, first.Version+uint64(i), e.Version)
		assert.Equal(t, first.Version+uint64(i)-1, e.PreviousVersion)
		assert.NotEmpty(t, e.ID)
		assert.NotEmpty(t, e.Source)
		assert.False(t, e.Time.IsZero())
	}
	states := []client.State{client.StateActive, client.StateActive, client.StateLoggedOut, client.StateDeleted}
	for i, e := range all {
		assert.Equal(t, states[i], e.State, "after %s", e.Type)
	}

	some := s.read(t, client.Filter{Prefix: id, Types: []string{"*.connected", "credential.del*"}, Provider: s.Provider, Labels: map[string]string{"suite": "conformance"}}, cursor, 2)
	assert.Equal(t, client.EventDeleted, some[1].Type)
	assert.Equal(t, first.Version, some[1].PreviousVersion, "among those that were asked for")
	rest := s.read(t, client.Filter{Prefix: id}, all[1].Cursor, 2)
	assert.Equal(t, all[2].ID, rest[0].ID, "behind a cursor")
	assert.Equal(t, all[0].ID, s.read(t, client.Filter{Prefix: id}, client.FromStart, 1)[0].ID)
}

// read returns the first events behind a cursor.
func (s suite) read(t *testing.T, want client.Filter, cursor string, n int) []client.Event {
	t.Helper()
	var all []client.Event
	for e, err := range s.client.Watch(t.Context(), want, cursor) {
		require.NoError(t, err)
		if all = append(all, e); len(all) == n {
			break
		}
	}
	require.Len(t, all, n)
	return all
}

func (s suite) state(t *testing.T) {
	t.Helper()
	const id = "conformance:state"
	var got []client.State
	for now, err := range s.client.State(t.Context(), id) {
		require.NoError(t, err)
		got = append(got, now.State)
		switch len(got) {
		case 1:
			s.put(t, id)
		case 2:
			_, err := s.client.Logout(t.Context(), id)
			require.NoError(t, err)
		}
		if len(got) == 3 {
			break
		}
	}
	assert.Equal(t, []client.State{client.StateDeleted, client.StateActive, client.StateLoggedOut}, got)
}

func (s suite) refusals(t *testing.T) {
	t.Helper()
	_, err := s.client.Token(t.Context(), "conformance:nobody")
	require.ErrorIs(t, err, client.ErrNotFound)
	_, err = client.UserData[any](t.Context(), s.client, "conformance:nobody")
	require.ErrorIs(t, err, client.ErrNotFound)
	_, err = s.client.Put(t.Context(), "conformance:nobody", client.PutInput{Provider: s.Provider, Token: &client.PutToken{}})
	require.ErrorIs(t, err, client.ErrInvalid)
	for name, e := range map[string]struct {
		want   client.Filter
		cursor string
	}{
		"bad_cursor": {cursor: "nonsense"},
		"bad_filter": {want: client.Filter{Types: []string{"credential.nonsense"}}},
	} {
		for _, err := range s.client.Watch(t.Context(), e.want, e.cursor) {
			told, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, name, told.Code)
			assert.NotEmpty(t, told.Location)
		}
	}

	stranger, err := client.New(s.URL, client.Options{Key: "rdk_stranger"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stranger.Close()) })
	_, err = stranger.Token(t.Context(), "conformance:token")
	require.ErrorIs(t, err, client.ErrUnauthorized)
}

// shapes looks at replies as they are: which members they have.
func (s suite) shapes(t *testing.T) {
	t.Helper()
	const id = "conformance:shapes"
	s.put(t, id)
	record := []string{"id", "provider", "subject", "labels", "state", "since", "version", "generation", "expires_at", "expires_in", "refreshable", "has_login", "paused", "in_doubt", "created_at", "updated_at"}
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		all, some          []string // members that are there, and such as may be
	}{
		"token": {
			method: http.MethodGet, path: "/v1/credentials/" + id + "/token", status: http.StatusOK,
			all: []string{"access_token", "token_type", "expires_at", "expires_in", "version", "generation", "send"}, some: []string{"scope"},
		},
		"record": {
			method: http.MethodGet, path: "/v1/credentials/" + id, status: http.StatusOK, all: record,
			some: []string{"reason", "due_at", "presence", "last_success_at", "learned_lifetime", "refresh_token_expires_at"},
		},
		"user data": {
			method: http.MethodGet, path: "/v1/credentials/" + id + "/user-data", status: http.StatusOK,
			all: []string{"subject", "state", "expires_at", "version", "user_data"},
		},
		"touches": {
			method: http.MethodPost, path: "/v1/touches", body: `{"ids":["` + id + `"]}`, status: http.StatusOK,
			all: []string{"touches"},
		},
		"a page of events": {
			method: http.MethodGet, path: "/v1/events?cursor=0&limit=10", status: http.StatusOK, all: []string{"events", "cursor"},
		},
		"not found": {
			method: http.MethodGet, path: "/v1/credentials/conformance:nobody/token", status: http.StatusNotFound,
			all: []string{"type", "title", "status", "code", "detail"},
		},
		"a generation that never was": {
			method: http.MethodPost, path: "/v1/credentials/" + id + "/refresh", body: `{"rejected_generation":99}`, status: http.StatusConflict,
			all: []string{"type", "title", "status", "code", "detail"},
		},
		"no session": {
			method: http.MethodPost, path: "/v1/credentials/" + id + "/touch", status: http.StatusConflict,
			all: []string{"type", "title", "status", "code", "detail"},
		},
		"invalid": {
			method: http.MethodPut, path: "/v1/credentials/" + id, body: `{"provider":"` + s.Provider + `","token":{}}`, status: http.StatusUnprocessableEntity,
			all: []string{"type", "title", "status", "code", "detail", "errors"},
		},
	} {
		var body io.Reader = http.NoBody
		if tt.body != "" {
			body = strings.NewReader(tt.body)
		}
		req, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL+tt.path, body)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+s.Key)
		req.Header.Set("Accept", "application/json")
		if tt.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		got := s.members(t, req, tt.status)
		for _, member := range tt.all {
			assert.Contains(t, got, member, name)
		}
		for _, member := range got {
			assert.True(t, member == "$schema" || slices.Contains(tt.all, member) || slices.Contains(tt.some, member), "%s: %s is not known", name, member)
		}
	}
}

// members returns the names in the object that a request is answered with.
func (s suite) members(t *testing.T, req *http.Request, status int) []string {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, status, res.StatusCode, req.URL.Path)
	var object map[string]json.RawMessage
	require.NoError(t, json.NewDecoder(res.Body).Decode(&object))
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	return names
}
