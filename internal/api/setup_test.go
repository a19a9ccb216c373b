package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// The tokens of the stored credential. None may ever be seen but the access
// token in a token reply.
const (
	accessToken  = "canary-access-7Hq2"
	refreshToken = "canary-refresh-9Zx4"
)

// bundle is an API over fakes, and a server that serves it.
type bundle struct {
	engine  *fakeEngine
	keys    *fakeKeys
	events  *fakeEvents
	tickets *fakeTickets
	service *fakeService
	signals *fakeSignals

	subscriptions *fakeSubscriptions

	reg    *prometheus.Registry
	log    *buffer
	api    *api.API
	server *httptest.Server
	admin  string // a key that may do anything
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed at the next write, if somebody waits
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// wait returns once the log holds the text.
func (b *buffer) wait(t testing.TB, text string) {
	t.Helper()
	for {
		b.mu.Lock()
		found := strings.Contains(b.text.String(), text)
		if b.grown == nil {
			b.grown = make(chan struct{})
		}
		grown := b.grown
		b.mu.Unlock()
		if found {
			return
		}
		select {
		case <-grown:
		case <-t.Context().Done():
			t.Fatalf("the log never said %s", text)
		}
	}
}

// setup returns a fresh bundle with one credential, "acct-1", and a server.
// options may change what the API is made of.
func setup(t testing.TB, options ...func(*api.Options)) *bundle {
	t.Helper()
	b := setupWithout(t, options...)
	b.server = httptest.NewUnstartedServer(b.api)
	b.server.Config = b.api.Server()
	b.server.Start()
	t.Cleanup(func() {
		b.api.StopStreams()
		b.server.Close()
	})
	return b
}

// setupWithout is setup without a server: [bundle.call] goes to the handler.
func setupWithout(t testing.TB, options ...func(*api.Options)) *bundle {
	t.Helper()
	b := &bundle{
		engine: newFakeEngine(), keys: newFakeKeys(), events: newFakeEvents(), tickets: newFakeTickets(), service: &fakeService{ready: api.Readiness{Ready: true, Checks: []api.Check{}}},
		signals: new(fakeSignals), subscriptions: &fakeSubscriptions{},
		reg: prometheus.NewRegistry(), log: &buffer{},
	}
	b.admin = b.keys.add("", api.ScopeAdmin)
	b.store("acct-1", 3600)
	o := api.Options{
		Engine: b.engine, Control: b.engine, Records: b.engine, Events: b.events, Keys: b.keys, Tickets: b.tickets, Service: b.service, Signals: b.signals,
		Subscriptions: b.subscriptions, Endpoints: b.subscriptions,
		SendOf: func(provider string) api.Send {
			if provider == "airline" {
				return api.Send{As: api.SendHeader, Name: "X-Session-Token"}
			}
			return api.Send{}
		},
		Now: func() credential.Millis { return noon }, Version: "1.2.3", Source: "refreshd/test",
		Log: zerolog.New(b.log), Registerer: b.reg,
		Metrics: promhttp.HandlerFor(b.reg, promhttp.HandlerOpts{}),
	}
	for _, change := range options {
		change(&o)
	}
	var err error
	b.api, err = api.New(o)
	require.NoError(t, err)
	return b
}

// store puts an active credential in place.
func (b *bundle) store(id credential.ID, lifeSeconds int64) {
	b.engine.set(func(e *fakeEngine) {
		e.stored[id] = &credential.Held{
			Record: credential.Record{
				ID: id, Provider: "acme", Subject: "u-7", Labels: map[string]string{"team": "blue"},
				State: credential.StateActive, Since: noon - 5000, Version: 7, Revision: 9, Generation: 4,
				CreatedAt: noon - 9000, UpdatedAt: noon - 5000,
				ExpiresAt: noon + credential.Millis(lifeSeconds*1000), RefreshAt: noon + credential.Millis(lifeSeconds*600), Refreshable: true,
				LastAttempt: credential.Attempts{SucceededAt: noon - 5000, FailedAt: noon - 7000, Failure: credential.ReasonUnavailable, Detail: "503"},
			},
			Token: credential.Token{
				Access: credential.NewSecret(accessToken), Refresh: credential.NewSecret(refreshToken), Type: "Bearer", Scope: "read write",
			},
		}
	})
}

// answer is a response that was read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// problem reads the body as a problem, and checks what every problem has.
func (a answer) problem(t testing.TB) api.Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), a.body)
	var p api.Problem
	require.NoError(t, json.Unmarshal([]byte(a.body), &p))
	require.Equal(t, a.status, p.Status)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Detail)
	require.Equal(t, "urn:refreshd:problem:"+p.Code, p.Type)
	return p
}

// decode reads the body as JSON.
func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), v), a.body)
}

// setHeaders sets name, value pairs. An empty value takes a header away.
func setHeaders(r *http.Request, pairs []string) {
	for pair := range slices.Chunk(pairs, 2) {
		r.Header.Set(pair[0], pair[1])
		if pair[1] == "" {
			r.Header.Del(pair[0])
		}
	}
}

// call sends a request with the admin's key. headers are name, value pairs; an
// empty Authorization sends none.
func (b *bundle) call(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	base := "http://localhost"
	if b.server != nil {
		base = b.server.URL
	}
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, reader)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+b.admin)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	setHeaders(r, headers)
	if b.server == nil {
		if r.Body == nil {
			r.Body = http.NoBody
		}
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		return answer{status: w.Code, header: w.Header(), body: w.Body.String()}
	}
	res, err := b.server.Client().Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{status: res.StatusCode, header: res.Header, body: string(data)}
}
