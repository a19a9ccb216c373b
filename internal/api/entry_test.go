package api_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

// TestPanics: a panic is answered without its value, is logged with its stack,
// and costs nobody else anything.
func TestPanics(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		value any
		log   string
	}{
		"a text":          {"canary-in-a-panic", `"panic":"string"`},
		"an error":        {errors.New("canary-in-a-panic"), `"panic":"*errors.errorString"`},
		"a runtime error": {nilMapWrite(), "assignment to entry in nil map"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.engine.set(func(e *fakeEngine) { e.panics = row.value })
			got := b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "")
			require.Equal(t, http.StatusInternalServerError, got.status)
			p := got.problem(t)
			assert.Equal(t, "internal", p.Code)
			assert.NotContains(t, got.body, "canary")
			assert.NotContains(t, got.body, "map")
			log := b.log.String()
			assert.Contains(t, log, row.log)
			assert.Contains(t, log, "fake_test.go", "the stack")
			assert.Contains(t, log, `"route":"GET /v1/credentials/{id}/token"`)
			assert.NotContains(t, log, "canary")

			b.engine.set(func(e *fakeEngine) { e.panics = nil })
			assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "").status)
		})
	}
}

// nilMapWrite returns what a panic of the runtime brings.
func nilMapWrite() (value any) {
	defer func() { value = recover() }()
	maps.Copy(map[string]int(nil), map[string]int{"x": 1})
	return nil
}

// TestPanicInMidAnswer: an answer that was begun is cut off, so that nobody
// takes it for whole.
func TestPanicInMidAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half of ")
			_ = http.NewResponseController(w).Flush()
			panic("in mid-answer")
		})
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/metrics", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+b.admin)
	res, err := b.server.Client().Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = io.ReadAll(res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// deadlines is a writer that notes when it got a write deadline.
type deadlines struct {
	*httptest.ResponseRecorder

	steps []string
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	if at.IsZero() {
		d.steps = append(d.steps, "no deadline")
	} else {
		d.steps = append(d.steps, "deadline")
	}
	return nil
}

func (d *deadlines) Write(p []byte) (int, error) {
	d.steps = append(d.steps, "write")
	return d.ResponseRecorder.Write(p)
}

// TestAnswersHaveAWriteDeadline: whoever does not read an answer holds it only
// for so long, and the time that it took to be found does not count.
func TestAnswersHaveAWriteDeadline(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for _, path := range []string{"/v1/credentials/acct-1/token", "/v1/credentials/nobody", "/openapi.json", "/nowhere"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+b.admin)
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		b.api.ServeHTTP(w, r)
		assert.Equal(t, []string{"deadline", "write"}, w.steps, path)
	}
}

// brokenBody is a body that fails in the middle.
type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }

func TestBodiesThatDoNotCome(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for err, status := range map[error]int{
		os.ErrDeadlineExceeded: http.StatusRequestTimeout,
		io.ErrUnexpectedEOF:    http.StatusBadRequest,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/credentials/x", brokenBody{err})
		r.Header.Set("Authorization", "Bearer "+b.admin)
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		assert.Equal(t, status, w.Code)
		assert.Equal(t, "close", w.Header().Get("Connection"), "what follows on the connection is unknown")
	}
}

// failingWriter is a connection whose client is gone.
type failingWriter struct{ header http.Header }

func (f failingWriter) Header() http.Header       { return f.header }
func (f failingWriter) WriteHeader(int)           {}
func (f failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestClientsThatAreGone: an answer that nobody takes is no panic to look into.
func TestClientsThatAreGone(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/credentials/acct-1/token", nil)
	r.Header.Set("Authorization", "Bearer "+b.admin)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { b.api.ServeHTTP(failingWriter{http.Header{}}, r) })
	assert.NotContains(t, b.log.String(), "panicked")
	assert.Contains(t, b.log.String(), `"status":200`)
}

func TestRequestsAreLoggedAndCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "")
	b.call(t, http.MethodGet, "/v1/credentials/nobody/token", "")
	b.call(t, http.MethodGet, "/nowhere/acct-1", "")
	b.call(t, http.MethodGet, "/v1/../x", "")
	log := b.log.String()
	assert.Contains(t, log, `{"level":"debug","route":"GET /v1/credentials/{id}/token","status":200,"took":"`)
	assert.Contains(t, log, `"route":"GET /v1/credentials/{id}/token","status":404`)
	assert.NotContains(t, log, "acct-1", "an ID is no part of a route")
	assert.NotContains(t, log, "nobody")

	metrics := b.call(t, http.MethodGet, "/metrics", "").body
	assert.Contains(t, metrics, `refreshd_http_requests_total{route="GET /v1/credentials/{id}/token",status="200"} 1`)
	assert.Contains(t, metrics, `refreshd_http_requests_total{route="GET /v1/credentials/{id}/token",status="404"} 1`)
	assert.Contains(t, metrics, `refreshd_http_requests_total{route="/",status="404"} 1`)
	assert.Contains(t, metrics, `refreshd_http_requests_total{route="none",status="400"} 1`)
	assert.Contains(t, metrics, `refreshd_http_request_duration_seconds_count{route="GET /v1/credentials/{id}/token"} 2`)
	assert.NotContains(t, metrics, "acct-1")
}

// TestNoCanaryAnywhere sends and stores secrets in every way there is: none
// comes back in an answer or stands in the log, but the access token in the
// answer that is there for it.
func TestNoCanaryAnywhere(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Log = o.Log.Level(zerolog.TraceLevel) })
	const sent = "canary-sent"
	var answers []answer
	for _, body := range []string{
		`{"provider":"acme","token":{"access_token":"` + sent + `","refresh_token":"` + sent + `"}}`,
		`{"provider":"` + sent + `\n","token":{"access_token":"` + sent + `"}}`,
		`{"provider":"acme","token":"` + sent + `"}`,
		`{"provider":"acme","token":{"access_token":"` + sent + `","expires_in":"` + sent + `"}}`,
		`{"provider":"acme","token":{"access_token":"` + sent + `\u0001"}}`,
		`{"provider":"acme","token":{"` + sent + `":1}}`,
		`{"provider":"acme","labels":{"` + sent + `=":"x"},"token":{"access_token":"a"}}`,
		`{"provider":"acme","login":{"password":"` + sent + `"}}`,
		`{"provider":"acme","token":{"access_token":"` + sent + `"`,
		sent,
		`"` + sent + `"`,
		`{"name":"` + sent + `","scopes":["` + sent + `"]}`,
		`{"rejected_generation":"` + sent + `"}`,
	} {
		answers = append(answers,
			b.call(t, http.MethodPut, "/v1/credentials/x", body),
			b.call(t, http.MethodPut, "/v1/credentials/x", body, "Content-Type", sent),
			b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", body+" "),
			b.call(t, http.MethodPost, "/v1/keys", body+" "),
		)
	}
	for _, path := range []string{
		"/v1/credentials", "/v1/credentials/acct-1", "/v1/status", "/v1/providers", "/v1/keys", "/metrics", "/healthz", "/readyz", "/openapi.json",
		"/v1/credentials?state=" + sent, "/v1/credentials?limit=" + sent, "/v1/credentials?" + sent + "=1", "/v1/credentials?label=" + sent,
		"/v1/credentials/acct-1/token?min_ttl=" + sent, "/v1/events?cursor=" + sent, "/v1/events?wait=" + sent, "/" + sent,
		"/v1/keys/" + sent, "/v1/credentials/" + sent + "%00",
	} {
		answers = append(answers, b.call(t, http.MethodGet, path, "", "Accept", "application/json"),
			b.call(t, http.MethodDelete, path, ""),
			b.call(t, http.MethodGet, path, "", "Authorization", "Bearer "+sent, "Accept", "application/json"),
			b.call(t, http.MethodPut, path, "{}", "If-Match", sent, "Content-Encoding", sent))
	}
	b.store("acct-1", 60)
	for _, err := range []error{errors.New(accessToken), &api.FaultError{Kind: api.FaultUnavailable, Detail: "d", Err: errors.New("cause")}} {
		b.engine.set(func(e *fakeEngine) { e.err = err })
		answers = append(answers, b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", ""))
	}
	for _, got := range answers {
		for _, secret := range []string{sent, accessToken, refreshToken, "rdk_" + b.admin[4:]} {
			assert.NotContains(t, got.body, secret)
			for name, values := range got.header {
				assert.NotContains(t, values, secret, name)
			}
		}
	}
	assert.NotContains(t, b.log.String(), sent)
	assert.NotContains(t, b.log.String(), refreshToken)
	assert.NotContains(t, b.log.String(), b.admin)
}
