package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// FuzzPut sends arbitrary bytes as a login: whatever they are, the answer is a
// record or a problem that the caller can mend, and never a fault of the
// service.
func FuzzPut(f *testing.F) {
	for _, seed := range []string{
		login, `{}`, `{"provider":"acme","token":{"access_token":"a","expires_in":1e400}}`, `{"provider":"acme","token":{"access_token":"a","expires_at":"0001-01-01T00:00:00Z"}}`,
		strings.Repeat("[", 10_001), `{"provider":"acme","login":{"a":[[[]]]}}`, `{"provider":"acme","login":{"username":"u","password":"p"},"user_data":[1.0e2,{"a":null}]}`, `{"provider":"acme","login":{"username":"\u0000"}}`, "\x1f\x8b", `{"provider":"acme","labels":{"":""},"token":{"access_token":"\u007f"}}`,
		`{"provider":"acme","token":{"access_token":"e30.eyJleHAiOjFlMzB9.x"}}`, `{"provider":"acme","token":{"access_token":"a.!.b"}}`,
	} {
		f.Add(seed)
	}
	b := setupWithout(f)
	f.Fuzz(func(t *testing.T, body string) {
		b.engine.set(func(e *fakeEngine) { e.asked = nil })
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/credentials/x", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+b.admin)
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		got := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
		if got.status == http.StatusCreated || got.status == http.StatusOK || got.status == http.StatusAccepted {
			require.Len(t, b.engine.calls(), 1)
			return
		}
		require.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, got.status, got.body)
		got.problem(t)
		require.Empty(t, b.engine.calls())
	})
}

// FuzzTarget asks for arbitrary paths and queries.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{
		"/v1/credentials/acct-1/token?min_ttl=60s", "/v1/credentials?label=a%3Db&limit=1", "/v1/events?cursor=0&wait=0s", "/../x", "//", "/%00", "/v1/credentials/%2e%2e",
		"/v1/credentials/a%zz", "/v1/keys/0123456789abcdef", "/monitoring/../v1/keys", "/v1/credentials?limit=;", "*", "/v1/credentials/{id}",
	} {
		f.Add(seed)
	}
	b := setupWithout(f)
	f.Fuzz(func(t *testing.T, target string) {
		r := &http.Request{Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Host: "x"}
		var err error
		if r.URL, err = r.URL.Parse("http://x/"); err != nil {
			t.Skip()
		}
		if r.URL, err = r.URL.Parse(target); err != nil {
			t.Skip() // net/http refuses it
		}
		r = r.WithContext(t.Context())
		r.Header.Set("Authorization", "Bearer "+b.admin)
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		require.Less(t, w.Code, 500, "%s: %s", target, w.Body)
		require.NotContains(t, []int{301, 302, 308}, w.Code)
	})
}

// FuzzTouches sends arbitrary bytes as a list of touches.
func FuzzTouches(f *testing.F) {
	for _, seed := range []string{
		`{"ids":["acct-1","other:2"]}`, `{"ids":[]}`, `{"ids":["client:acme"]}`, `{"ids":["a","a"]}`, `{"ids":[[["a"]]]}`, `{"ids":["\ud800"]}`, `[]`, "",
	} {
		f.Add(seed)
	}
	b := setupWithout(f)
	key := b.keys.add("acct-", api.ScopeTokenRead)
	f.Fuzz(func(t *testing.T, body string) {
		b.engine.set(func(e *fakeEngine) { e.asked = nil })
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/touches", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		got := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
		if got.status != http.StatusOK {
			require.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, got.status, got.body)
			got.problem(t)
			require.Empty(t, b.engine.calls())
			return
		}
		var asked struct {
			IDs []string `json:"ids"`
		}
		require.NoError(t, json.Unmarshal([]byte(body), &asked))
		var reply struct {
			Touches []api.TouchAnswer `json:"touches"`
		}
		got.decode(t, &reply)
		require.Len(t, reply.Touches, len(asked.IDs))
		for i, one := range reply.Touches {
			require.Equal(t, asked.IDs[i], one.ID)
			require.Equal(t, !strings.HasPrefix(one.ID, "acct-"), one.Result == "forbidden")
		}
	})
}

// FuzzRefresh sends arbitrary bytes as what is said of a refresh: it is made
// now, planned, taken back or refused, and nothing else.
func FuzzRefresh(f *testing.F) {
	for _, seed := range []string{
		`{"rejected_generation":4}`, `{"after":"10m"}`, `{"after":"0s"}`, `{"at":"2027-01-15T08:10:00Z"}`, `{"at":"0001-01-01T00:00:00Z"}`, `{"cancel":true}`,
		`{"cancel":false,"after":""}`, `{"after":"1e9999s"}`, `{"after":"9223372036854775807ns"}`, `{"at":"2027-01-15T08:10:60+23:59"}`, `{}`, "",
	} {
		f.Add(seed)
	}
	b := setupWithout(f)
	f.Fuzz(func(t *testing.T, body string) {
		b.engine.set(func(e *fakeEngine) { e.asked = nil })
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/credentials/acct-1/refresh", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+b.admin)
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		got := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
		calls := strings.Join(b.engine.calls(), ",")
		switch got.status {
		case http.StatusOK:
			require.Regexp(t, `^refresh acct-1 \d+$`, calls)
		case http.StatusAccepted:
			require.Regexp(t, `plan acct-1 [-0-9a-z.µ]+$`, calls)
			var reply api.Accepted
			got.decode(t, &reply)
			require.NotEqual(t, reply.Cancelled, reply.DueAt != nil)
		default:
			require.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, got.status, got.body)
			got.problem(t)
			require.Empty(t, calls)
		}
	})
}
