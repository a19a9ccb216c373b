package service

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

const pageOrigin = "https://app.example"

// front is what a front end has: a key of one user, or nothing at all.
type front struct {
	*api

	id string // of the key
}

// newFront makes a key that is good for one user's credentials.
func newFront(t *testing.T, admin, at *api, subject string) *front {
	t.Helper()
	var made struct{ ID, Key string }
	body := map[string]any{"name": "phone", "subject": subject, "scopes": []string{"token:read", "credential:write", "event:read"}}
	require.NoError(t, admin.Call(t.Context(), http.MethodPost, "/v1/keys", body, &made))
	return &front{api: newAPI(t, at.Base, made.Key), id: made.ID}
}

// newTicket makes a ticket for the event stream.
func (a *api) newTicket(t *testing.T) (text, cursor string) {
	t.Helper()
	var made struct{ Ticket, Cursor string }
	require.NoError(t, a.Call(t.Context(), http.MethodPost, "/v1/events/tickets", nil, &made))
	return made.Ticket, made.Cursor
}

// page asks as a browser does for a page of that origin, without a key.
func (a *api) page(t *testing.T, ctx context.Context, method, path string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, a.Base+path, nil)
	require.NoError(t, err)
	req.Header.Set("Accept", "text/event-stream")
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := a.HTTP.Do(req)
	require.NoError(t, err)
	return resp
}

// A front end's key is good for one user, whatever is called on whichever
// replica, and what is another's answers as what is not there.
func TestKeysOfOneSubject(t *testing.T) {
	t.Parallel()
	h := newHouse(t, newProvider(t, providerOptions{}), testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
	first, second := h.start(), h.start()
	minted := h.login(first.api, 2)
	require.NotEqual(t, minted[0].Subject, minted[1].Subject)
	own, foreign, unknown := credentialID(0), credentialID(1), credentialID(2)
	before := first.get(t, foreign)
	require.Equal(t, minted[1].Subject, before.Subject)

	for _, at := range []*api{first.api, second.api} {
		phone := newFront(t, first.api, at, minted[0].Subject)
		all := phone.list(t)
		require.Len(t, all, 1)
		assert.Contains(t, all, own)
		got, err := phone.Token(t.Context(), own, 0)
		require.NoError(t, err)
		assert.NotEmpty(t, got.AccessToken)

		var doc struct {
			Paths map[string]map[string]json.RawMessage `json:"paths"`
		}
		require.NoError(t, phone.Call(t.Context(), http.MethodGet, "/openapi.json", nil, &doc))
		calls := 0
		for path, item := range doc.Paths {
			for method := range item {
				if !strings.HasPrefix(path, "/v1/credentials/{id}") {
					continue
				}
				calls++
				told := phone.strangers(t, strings.ToUpper(method), path, foreign, unknown)
				if method == "put" && path == "/v1/credentials/{id}" {
					continue
				}
				assert.Equal(t, told[foreign], told[unknown], "%s %s tells whether it exists", method, path)
				assert.Contains(t, told[unknown], "404 not_found")
			}
		}
		assert.Greater(t, calls, 10)

		for _, path := range []string{"/v1/keys", "/v1/status", "/v1/providers", "/metrics", "/monitoring/"} {
			refused := refusedWith(t, phone.Call(t.Context(), http.MethodGet, path, nil, nil))
			assert.Equal(t, http.StatusForbidden, refused.Status, path)
		}
		body := login(minted[1], minted[1].ExpiresIn)
		refused := refusedWith(t, phone.Call(t.Context(), http.MethodPut, harness.CredentialPath(foreign), body, nil))
		assert.Equal(t, http.StatusForbidden, refused.Status, "as another")
		delete(body, "subject")
		refused = refusedWith(t, phone.Call(t.Context(), http.MethodPut, harness.CredentialPath(foreign), body, nil))
		assert.Equal(t, "this key is not good for that ID", refused.Detail, "as himself")
		var touched struct {
			Touches []struct{ ID, Result string } `json:"touches"`
		}
		require.NoError(t, phone.Call(t.Context(), http.MethodPost, "/v1/touches", map[string]any{"ids": []string{foreign, own, unknown}}, &touched))
		assert.Equal(t, []struct{ ID, Result string }{{foreign, "unknown"}, {own, "no_session"}, {unknown, "unknown"}}, touched.Touches)
	}
	assert.Equal(t, before.Version, first.get(t, foreign).Version, "nothing was done to it")
	assert.Equal(t, before.Paused, first.get(t, foreign).Paused)
	assert.Empty(t, h.provider.Summary().Violations)
}

// strangers makes one call for each ID and returns what was told, without the
// ID.
func (f *front) strangers(t *testing.T, method, path string, ids ...string) map[string]string {
	t.Helper()
	told := map[string]string{}
	for _, id := range ids {
		body := any(nil)
		if strings.HasSuffix(path, "/presence") {
			body = map[string]string{"presence": "active"}
		}
		answer, err := f.Raw(t.Context(), method, strings.Replace(path, "{id}", id, 1), body)
		refused := refusedWith(t, err)
		told[id] = fmt.Sprintf("%d %s %s", refused.Status, refused.Code, strings.ReplaceAll(string(answer), id, "ID"))
	}
	return told
}

// eventSource reads a stream as a browser's EventSource does.
type eventSource struct {
	t    *testing.T
	in   *bufio.Scanner
	last string // cursor
}

// open opens a stream with a ticket.
func (a *api) open(t *testing.T, query string) *eventSource {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	resp := a.page(t, ctx, http.MethodGet, "/v1/events?"+query, "Origin", pageOrigin)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	assert.Equal(t, "no-referrer", resp.Header.Get("Referrer-Policy"))
	assert.Equal(t, pageOrigin, resp.Header.Get("Access-Control-Allow-Origin"))
	return &eventSource{t: t, in: bufio.NewScanner(resp.Body)}
}

// next returns the type and the credential of the next event; false at the end.
func (s *eventSource) next() (kind, id string, ok bool) {
	for s.in.Scan() {
		name, value, _ := strings.Cut(s.in.Text(), ": ")
		switch name {
		case "id":
			s.last = value
		case "event":
			kind = value
		case "data":
			var event struct {
				Subject string `json:"subject"`
			}
			assert.NoError(s.t, json.Unmarshal([]byte(value), &event))
			return kind, event.Subject, true
		}
	}
	return "", "", false
}

// A page's stream: a ticket from one replica opens it on another, once, and it
// lives as long as the key.
func TestTicketsOverReplicas(t *testing.T) {
	t.Parallel()
	h := newHouse(t, newProvider(t, providerOptions{}), testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
	h.config["cors"] = map[string]any{"origins": []string{pageOrigin}}
	h.config["log"] = map[string]any{"level": "trace"}
	first, second := h.start(), h.start()
	minted := h.login(first.api, 2)
	own, foreign := credentialID(0), credentialID(1)
	phone := newFront(t, first.api, first.api, minted[0].Subject)

	ticket, cursor := phone.newTicket(t)
	// What happens before the page has opened its stream is not missed.
	require.NoError(t, first.Refresh(t.Context(), foreign))
	require.NoError(t, phone.Refresh(t.Context(), own))
	stream := second.open(t, "ticket="+ticket+"&cursor="+cursor)
	kind, id, ok := stream.next()
	require.True(t, ok)
	assert.Equal(t, "credential.refreshed "+own, kind+" "+id)

	// It comes back with the same URL, here and there.
	for _, at := range []*api{first.api, second.api} {
		resp := at.page(t, t.Context(), http.MethodGet, "/v1/events?ticket="+ticket, "Origin", pageOrigin, "Last-Event-ID", stream.last)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		assert.NotContains(t, string(body), ticket)
	}
	require.NoError(t, first.Call(t.Context(), http.MethodPost, harness.CredentialPath(foreign)+"/logout", nil, nil))
	require.NoError(t, phone.Call(t.Context(), http.MethodPost, harness.CredentialPath(own)+"/pause", nil, nil))
	require.NoError(t, phone.Call(t.Context(), http.MethodPost, harness.CredentialPath(own)+"/resume", nil, nil))
	require.NoError(t, phone.Refresh(t.Context(), own))
	next, _ := phone.newTicket(t)
	again := first.open(t, "ticket="+next+"&cursor="+stream.last)
	kind, id, ok = again.next()
	require.True(t, ok)
	assert.Equal(t, "credential.refreshed "+own, kind+" "+id, "from where it was, and nothing of the other")

	// The key goes, and with it what its tickets have opened.
	require.NoError(t, first.Call(t.Context(), http.MethodDelete, "/v1/keys/"+phone.id, nil, nil))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, s := range []*eventSource{again, stream} {
			for open := true; open; {
				_, _, open = s.next()
			}
		}
	}()
	admin := first.api
	eventually(t, patience, func() (bool, string) {
		select {
		case <-ended:
			return true, ""
		default: // an event has every stream look at its key
			m := minted[1]
			_ = admin.Call(t.Context(), http.MethodDelete, harness.CredentialPath("acme:other"), nil, nil)
			return false, fmt.Sprint("a stream goes on: ", admin.Call(t.Context(), http.MethodPut, harness.CredentialPath("acme:other"), map[string]any{
				"provider": providerName, "subject": m.Subject, "token": map[string]any{"access_token": m.AccessToken, "expires_in": 3600},
			}, nil))
		}
	})
	for _, process := range []*instance{first, second} {
		for _, secret := range []string{ticket, next, phone.Key} {
			assert.NotContains(t, process.String(), secret, "the log holds a secret")
		}
	}
}

// Whose pages may call is loaded again with the rest.
func TestOriginsAreLoadedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, newProvider(t, providerOptions{}), "")
	h.config["cors"] = map[string]any{"origins": []string{pageOrigin}}
	i := h.start("PATH=")
	allowed := func(origin string) string {
		resp := i.page(t, t.Context(), http.MethodOptions, "/v1/credentials/x", "Origin", origin, "Access-Control-Request-Method", "PUT")
		require.NoError(t, resp.Body.Close())
		if resp.StatusCode != http.StatusNoContent {
			assert.Empty(t, resp.Header.Get("Access-Control-Allow-Methods"))
		}
		return resp.Header.Get("Access-Control-Allow-Origin")
	}
	assert.Equal(t, pageOrigin, allowed(pageOrigin))
	assert.Empty(t, allowed("http://localhost:3000"))
	for _, row := range []struct {
		origins []string
		says    string
		first   string
	}{
		{[]string{"*"}, `cors\.origins\[0\]: a \* would let in pages`, pageOrigin},
		{[]string{"http://localhost:3000"}, `"message":"the configuration was loaded again"`, ""},
	} {
		h.config["cors"] = map[string]any{"origins": row.origins}
		h.save()
		i.hangUp(t)
		i.says(t, row.says)
		assert.Equal(t, row.first, allowed(pageOrigin))
	}
	assert.Equal(t, "http://localhost:3000", allowed("http://localhost:3000"))
}
