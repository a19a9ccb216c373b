package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// sendingID is the credential that most tests of a sendingHouse use.
const sendingID = "acme:alice"

// sendingHouse is what a transport talks to: a refreshd whose credentials all
// have the same token, and a resource that takes that of the generation that is
// good.
type sendingHouse struct {
	api, resource *httptest.Server
	client        *client.Client

	mu         sync.Mutex
	generation uint64 // in refreshd's hand
	good       uint64 // what the resource takes; at least the one in hand after a refresh
	send       map[string]string
	refusal    string // code of the problem that tokens and refreshes are refused with
	away       bool
	touchAs    string // result of touches

	reports, exchanges int
	touches            [][]string
	seen               map[string]int        // requests at the resource by X-Request
	refused            int                   // of them
	graphql, loginPage bool                  // how the resource refuses
	onRequest          func(r *http.Request) // at the resource, before it is judged
	onRefused          func(n int)           // at the resource, at the n-th refusal
	onRead             func()                // at refreshd, when the answer to a read is made and not sent
	onReport           func()                // at refreshd, before a rejection is answered
}

func setupSending(t *testing.T) *sendingHouse {
	t.Helper()
	h := newSendingHouse()
	h.api = httptest.NewServer(h.apiRoutes(t.Errorf))
	t.Cleanup(h.api.Close)
	h.resource = httptest.NewServer(http.HandlerFunc(h.serveResource))
	t.Cleanup(h.resource.Close)
	c, err := client.New(h.api.URL, client.Options{Key: "rk_test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	h.client = c
	return h
}

func newSendingHouse() *sendingHouse {
	return &sendingHouse{generation: 1, good: 1, send: map[string]string{"as": "bearer"}, seen: map[string]int{}, touchAs: "no_session"}
}

// apiRoutes serves refreshd; complain hears of what it cannot read.
func (h *sendingHouse) apiRoutes(complain func(format string, args ...any)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/credentials/{id}/token", func(w http.ResponseWriter, _ *http.Request) {
		reply := httptest.NewRecorder()
		h.mu.Lock()
		h.answer(reply)
		h.mu.Unlock()
		if h.onRead != nil {
			h.onRead()
		}
		maps.Copy(w.Header(), reply.Header())
		w.WriteHeader(reply.Code)
		_, _ = w.Write(reply.Body.Bytes()) // whoever asked may be gone
	})
	mux.HandleFunc("POST /v1/credentials/{id}/refresh", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			RejectedGeneration uint64 `json:"rejected_generation"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			complain("the body of a refresh: %v", err)
		}
		if h.onReport != nil {
			h.onReport()
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.reports++
		if in.RejectedGeneration > h.generation {
			writeTestJSON(w, http.StatusConflict, "application/problem+json", map[string]any{"code": "conflict", "detail": "never handed out", "status": 409})
			return
		}
		if h.refusal == "" && !h.away && in.RejectedGeneration == h.generation {
			h.exchanges++
			h.generation++
			h.good = max(h.good, h.generation)
		}
		h.answer(w)
	})
	mux.HandleFunc("PUT /v1/credentials/{id}", func(w http.ResponseWriter, r *http.Request) {
		h.signIn()
		h.mu.Lock()
		defer h.mu.Unlock()
		writeTestJSON(w, http.StatusOK, "application/json", map[string]any{
			"id": r.PathValue("id"), "provider": "acme", "state": "active", "version": h.generation, "generation": h.generation,
		})
	})
	mux.HandleFunc("POST /v1/touches", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			IDs []string `json:"ids"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			complain("the body of touches: %v", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.touches = append(h.touches, in.IDs)
		if h.away {
			h.answer(w)
			return
		}
		var out struct {
			Touches []map[string]string `json:"touches"`
		}
		for _, id := range in.IDs {
			out.Touches = append(out.Touches, map[string]string{"id": id, "result": h.touchAs})
		}
		writeTestJSON(w, http.StatusOK, "application/json", out)
	})
	return mux
}

// answer answers a token read or a refresh; h.mu is held.
func (h *sendingHouse) answer(w http.ResponseWriter) {
	switch {
	case h.away:
		w.Header().Set("Retry-After", "7")
		writeTestJSON(w, http.StatusServiceUnavailable, "application/problem+json", map[string]any{"code": "unavailable", "detail": "not now", "status": 503})
	case h.refusal != "":
		writeTestJSON(w, http.StatusConflict, "application/problem+json", map[string]any{
			"code": h.refusal, "detail": "the user has to act", "status": 409, "reason": "invalid_grant", "since": "2026-01-02T03:04:05Z",
		})
	default:
		writeTestJSON(w, http.StatusOK, "application/json", map[string]any{
			"access_token": testToken(h.generation), "token_type": "Bearer", "expires_in": 3600,
			"expires_at": time.Now().Add(time.Hour), "version": h.generation, "generation": h.generation, "send": h.send,
		})
	}
}

func testToken(generation uint64) string { return fmt.Sprintf("at-secret-%d", generation) }

// serveResource judges the token of a request and answers with its body.
func (h *sendingHouse) serveResource(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the body was cut off", http.StatusBadRequest)
		return
	}
	if h.onRequest != nil {
		h.onRequest(r)
	}
	h.mu.Lock()
	h.seen[r.Header.Get("X-Request")]++
	good := h.carried(r) == testToken(h.good)
	if !good {
		if h.refused++; h.onRefused != nil {
			h.onRefused(h.refused)
		}
	}
	h.mu.Unlock()
	switch {
	case good:
		_, _ = fmt.Fprintf(w, "hello %s", body)
	case h.graphql:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"me":null},"errors":[`+refusedError+`]}`)
	case h.loginPage:
		http.Redirect(w, r, "/login", http.StatusFound)
	default:
		http.Error(w, "who are you?", http.StatusUnauthorized)
	}
}

// carried returns the token of a request, from where it has to be.
func (h *sendingHouse) carried(r *http.Request) string {
	switch h.send["as"] {
	case "header":
		return r.Header.Get(h.send["name"])
	case "cookie":
		if c, err := r.Cookie(h.send["name"]); err == nil {
			return c.Value
		}
		return ""
	default:
		return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
}

// expire makes the resource refuse the token that refreshd has.
func (h *sendingHouse) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.good = h.generation + 1
}

// refuse makes refreshd refuse everything with that code, "" nothing.
func (h *sendingHouse) refuse(code string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusal = code
}

// signIn is what the user does: there is a new token, and the resource takes it.
func (h *sendingHouse) signIn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusal = ""
	h.generation++
	h.good = h.generation
}

// counts returns how often refreshd was told of a rejection, and how often the
// provider was called for it.
func (h *sendingHouse) counts() (reports, exchanges int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reports, h.exchanges
}

func writeTestJSON(w http.ResponseWriter, status int, kind string, value any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	if text, err := json.Marshal(value); err == nil {
		_, _ = w.Write(text) // whoever asked may be gone
	}
}

// get sends a GET for path with a client and returns status and body.
func (h *sendingHouse) get(t *testing.T, c *http.Client) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.resource.URL, nil)
	require.NoError(t, err)
	res, err := c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

// roundTripFunc is a transport that is one function.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
