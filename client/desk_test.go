package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// deskKey is the API key that a tokenDesk takes.
const deskKey = "rdk_test-key-that-nobody-may-see"

// tokenDesk plays refreshd for one credential after another: it answers reads
// and refreshes of tokens, and counts what it was asked. It is in memory, so
// that it works inside a synctest bubble.
type tokenDesk struct {
	mu     sync.Mutex
	life   time.Duration            // of a new token
	tokens map[string]*deskToken    // by credential
	calls  map[string]int           // by method and the end of the path
	asked  []*http.Request          // in order
	bodies []string                 // of asked
	before func(*http.Request) bool // called without the lock; false cuts the connection
	answer http.HandlerFunc         // in place of the desk's own answers, if set
}

type deskToken struct {
	generation, version uint64
	end                 time.Time
}

func newTokenDesk() *tokenDesk {
	return &tokenDesk{life: time.Hour, tokens: map[string]*deskToken{}, calls: map[string]int{}}
}

// client returns a client of the desk that ends with the test.
func (d *tokenDesk) client(t *testing.T, opts client.Options) *client.Client {
	t.Helper()
	if opts.KeyFunc == nil {
		opts.Key = deskKey
	}
	timeout := time.Duration(0)
	if opts.HTTPClient != nil {
		timeout = opts.HTTPClient.Timeout
	}
	opts.HTTPClient = &http.Client{Transport: d, Timeout: timeout}
	c, err := client.New("http://127.0.0.1:7420/under", opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// options are those of a client of the desk.
func (d *tokenDesk) options() client.Options {
	return client.Options{Key: deskKey, HTTPClient: &http.Client{Transport: d}}
}

// RoundTrip answers a request in memory.
func (d *tokenDesk) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
	}
	d.mu.Lock()
	d.calls[req.Method+" "+req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]]++
	d.asked, d.bodies = append(d.asked, req), append(d.bodies, string(body))
	before, answer := d.before, d.answer
	d.mu.Unlock()
	if before != nil && !before(req) {
		return nil, errors.New("connection reset by the test")
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if answer == nil {
		answer = func(w http.ResponseWriter, r *http.Request) { d.serve(w, r, body) }
	}
	answer(w, req)
	return w.Result(), nil
}

func (d *tokenDesk) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/under/v1/credentials/"), "/")
	if r.Header.Get("Authorization") != "Bearer "+deskKey || len(parts) != 2 {
		deskProblem(w, http.StatusUnauthorized, "unauthorized", "")
		return
	}
	one := d.tokens[parts[0]]
	if one == nil {
		one = &deskToken{generation: 1, version: 1, end: time.Now().Add(d.life)}
		d.tokens[parts[0]] = one
	}
	if parts[1] == "refresh" {
		var in struct {
			RejectedGeneration uint64 `json:"rejected_generation"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			deskProblem(w, http.StatusBadRequest, "bad_request", "")
			return
		}
		if in.RejectedGeneration == 0 || in.RejectedGeneration == one.generation {
			one.renew(d.life)
		}
	} else if least, err := time.ParseDuration(r.URL.Query().Get("min_ttl")); err == nil && time.Until(one.end) < least {
		one.renew(d.life)
	}
	deskJSON(w, http.StatusOK, one.reply(parts[0]))
}

func (o *deskToken) renew(life time.Duration) {
	o.generation++
	o.version++
	o.end = time.Now().Add(life)
}

func (o *deskToken) reply(id string) map[string]any {
	return map[string]any{
		"access_token": deskSecret(id, o.generation), "token_type": "Bearer",
		"expires_at": o.end.UTC(), "expires_in": int64(time.Until(o.end) / time.Second),
		"scope": "read write", "version": o.version, "generation": o.generation, "send": map[string]any{"as": "bearer"},
	}
}

// deskSecret is the access token of a generation.
func deskSecret(id string, generation uint64) string {
	return fmt.Sprintf("at-%s-%d", id, generation)
}

func deskJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(http.ErrAbortHandler) // whoever asked is gone
	}
}

// deskProblem answers as refreshd does when it refuses something.
func deskProblem(w http.ResponseWriter, status int, code, more string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"type":"urn:refreshd:problem:%s","title":"T","status":%d,"code":%q,"detail":"what is wrong"%s}`, code, status, code, more)
}

// refuses has the desk answer everything with a problem.
func (d *tokenDesk) refuses(status int, code, more string) {
	d.answers(func(w http.ResponseWriter, _ *http.Request) { deskProblem(w, status, code, more) })
}

// answers has the desk answer everything so; nil for its own answers.
func (d *tokenDesk) answers(h http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = h
}

// meets has the desk call f before each answer.
func (d *tokenDesk) meets(f func(*http.Request) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = f
}

// count tells how often the desk was asked that.
func (d *tokenDesk) count(what string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[what]
}

// last returns the last request with its body.
func (d *tokenDesk) last() (*http.Request, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[len(d.asked)-1], d.bodies[len(d.bodies)-1]
}

// renew has refreshd refresh a credential by itself.
func (d *tokenDesk) renew(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens[id].renew(d.life)
}
