package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// garbage is what a server says that is not refreshd, and nobody may see.
const garbage = "secret-word-of-somebody"

func TestRepliesThatAreNone(t *testing.T) {
	t.Parallel()
	token := func(more string) string {
		return fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":3600,"generation":1,"version":1%s}`, garbage, more)
	}
	for name, reply := range map[string]struct{ kind, body string }{
		"a page":              {"text/html", "<html>" + garbage},
		"a page, as JSON":     {"application/json", "<html>" + garbage},
		"nothing":             {"application/json", ""},
		"no type":             {"", token("")},
		"null":                {"application/json", "null"},
		"a list":              {"application/json", `["` + garbage + `"]`},
		"cut off":             {"application/json", token("")[:60]},
		"trailing bytes":      {"application/json", token("") + garbage},
		"expiry of text":      {"application/json", strings.Replace(token(""), "3600", `"`+garbage+`"`, 1)},
		"a bad time":          {"application/json", token(`,"expires_at":"` + garbage + `"`)},
		"no token":            {"application/json", strings.Replace(token(""), garbage, "", 1)},
		"a token with breaks": {"application/json", strings.Replace(token(""), garbage, garbage+`\r\nHost: x`, 1)},
		"an ended token":      {"application/json", strings.Replace(token(""), "3600", "0", 1)},
		"a negative life":     {"application/json", strings.Replace(token(""), "3600", "-5", 1)},
		"a nameless header":   {"application/json", token(`,"send":{"as":"header"}`)},
		"a name with a break": {"application/json", token(`,"send":{"as":"header","name":"a\nb"}`)},
		"without end":         {"application/json", `{"access_token":"` + strings.Repeat("a", 5<<20) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desk := newTokenDesk()
			desk.answers(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{reply.kind}
				_, _ = io.WriteString(w, reply.body)
			})
			_, err := desk.client(t, client.Options{}).Token(t.Context(), "alice")
			require.ErrorIs(t, err, client.ErrUnavailable)
			assert.NotContains(t, err.Error(), garbage)
			assert.NotContains(t, err.Error(), deskKey)
			assert.Less(t, len(err.Error()), 300)
		})
	}
}

func TestServersThatMisbehave(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]http.HandlerFunc{
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cuts its reply": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"access_token":"`+garbage)
		},
		"cuts its chunks": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"`+garbage+`"`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"sends huge headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Filler", strings.Repeat("a", 128<<10))
			deskJSON(w, http.StatusOK, map[string]any{})
		},
		"fails with a page": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, strings.Repeat("<p>"+garbage, 100_000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(serve)
			defer server.Close()
			c, err := client.New(server.URL, client.Options{Key: deskKey})
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			_, err = c.Token(t.Context(), "alice")
			require.ErrorIs(t, err, client.ErrUnavailable)
			assert.NotContains(t, err.Error(), garbage)
			assert.NotContains(t, err.Error(), deskKey)
			assert.Less(t, len(err.Error()), 300)
		})
	}
}

func TestServerThatIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		desk.meets(func(r *http.Request) bool { <-r.Context().Done(); return false })
		c := desk.client(t, client.Options{HTTPClient: &http.Client{Timeout: 7 * time.Second}})
		began := time.Now()
		_, err := c.Token(t.Context(), "alice")
		require.ErrorIs(t, err, client.ErrUnavailable)
		require.ErrorContains(t, err, "did not answer in time")
		assert.Equal(t, 7*time.Second, time.Since(began))

		began = time.Now()
		_, err = desk.client(t, client.Options{}).Get(t.Context(), "alice")
		require.ErrorIs(t, err, client.ErrUnavailable)
		assert.Equal(t, time.Minute, time.Since(began), "unless set")
	})
}

func TestIDsThatRefreshdWouldRefuse(t *testing.T) {
	t.Parallel()
	desk := newTokenDesk()
	c := desk.client(t, client.Options{})
	for _, id := range []string{"", ".", "..", "../touches", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\nb", "-a", "{a}", "ä", strings.Repeat("a", 129)} {
		_, err := c.Token(t.Context(), id)
		told, ok := errors.AsType[*client.Error](err)
		require.True(t, ok, "%q: %v", id, err)
		require.ErrorIs(t, err, client.ErrInvalid)
		assert.Equal(t, "path.id", told.Location)
		_, err = c.Get(t.Context(), id)
		require.ErrorIs(t, err, client.ErrInvalid)
		require.ErrorIs(t, c.Delete(t.Context(), id, client.DeleteOptions{}), client.ErrInvalid)
		_, err = client.UserData[any](t.Context(), c, id)
		require.ErrorIs(t, err, client.ErrInvalid)
	}
	assert.Zero(t, desk.count(tokenCall))
	_, err := c.Token(t.Context(), strings.Repeat("a.B:9@_-", 16))
	require.NoError(t, err)
}
