package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	key := client.Options{Key: deskKey}
	for name, row := range map[string]struct {
		url  string
		opts client.Options
		want string
	}{
		"no scheme":         {"127.0.0.1:7420", key, "base URL"},
		"no host":           {"http://", key, "base URL"},
		"only a port":       {"http://:7420", key, "base URL"},
		"another scheme":    {"redis://127.0.0.1", key, "base URL"},
		"a password":        {"https://me:secret-word@refreshd.example", key, "base URL"},
		"a query":           {"https://refreshd.example?key=secret-word", key, "base URL"},
		"a fragment":        {"https://refreshd.example#secret-word", key, "base URL"},
		"a line break":      {"https://refreshd.example\nsecret-word", key, "base URL"},
		"clear text":        {"http://refreshd.example", key, "in the clear"},
		"like loopback":     {"http://127.0.0.1.example", key, "in the clear"},
		"no key":            {"http://127.0.0.1", client.Options{}, "Options.Key is empty"},
		"two keys":          {"http://127.0.0.1", client.Options{Key: "secret-word", KeyFunc: func(context.Context) (string, error) { return "", nil }}, "both set"},
		"a key of two":      {"http://127.0.0.1", client.Options{Key: "secret-word b"}, "API key"},
		"a key with a CR":   {"http://127.0.0.1", client.Options{Key: "secret-word\r"}, "API key"},
		"a negative MinTTL": {"http://127.0.0.1", client.Options{Key: "k", MinTTL: -1}, "MinTTL"},
		"an agent's break":  {"http://127.0.0.1", client.Options{Key: "k", UserAgent: "a\nb"}, "UserAgent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.New(row.url, row.opts)
			require.ErrorContains(t, err, row.want)
			assert.NotContains(t, err.Error(), "secret-word")
		})
	}
}

func TestNewTakes(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"http://127.0.0.1:7420", "http://127.8.9.1", "http://[::1]:7420/", "http://[::ffff:127.0.0.1]", "http://localhost", "http://a.localhost",
		"https://refreshd.example/under/",
	} {
		c, err := client.New(url, client.Options{Key: deskKey})
		require.NoError(t, err, url)
		require.NoError(t, c.Close())
	}
	c, err := client.New("http://refreshd.example", client.Options{Key: deskKey, Insecure: true})
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk := newTokenDesk()
		c := desk.client(t, client.Options{})
		_, err := c.Token(t.Context(), "alice")
		require.NoError(t, err)
		desk.meets(func(r *http.Request) bool { <-r.Context().Done(); return false })
		waiting := make(chan error, 1)
		go func() {
			_, err := c.Token(t.Context(), "bob")
			waiting <- err
		}()
		pass(55 * time.Second) // less than a call may take
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-waiting, client.ErrClosed)
		require.NoError(t, c.Close(), "twice")

		_, err = c.Token(t.Context(), "alice")
		require.NoError(t, err, "what is in hand can still be read")
		_, err = c.Token(t.Context(), "carol")
		require.ErrorIs(t, err, client.ErrClosed)
		_, err = c.Get(t.Context(), "alice")
		require.ErrorIs(t, err, client.ErrClosed)
		pass(55 * time.Minute)
		_, err = c.Token(t.Context(), "alice")
		require.NoError(t, err, "to its end")
		pass(5 * time.Minute)
		_, err = c.Token(t.Context(), "alice")
		require.ErrorIs(t, err, client.ErrClosed)
		assert.Equal(t, 2, desk.count(tokenCall))
	})
}

func TestKeyFuncIsAskedForEachCall(t *testing.T) {
	t.Parallel()
	desk := newTokenDesk()
	gone := errors.New("the vault is sealed")
	keys := []string{"first", deskKey}
	c := desk.client(t, client.Options{UserAgent: "shop/2", KeyFunc: func(context.Context) (string, error) {
		if len(keys) == 0 {
			return "", gone
		}
		key := keys[0]
		keys = keys[1:]
		return key, nil
	}})
	_, err := c.Token(t.Context(), "alice")
	require.ErrorIs(t, err, client.ErrUnauthorized)
	asked, _ := desk.last()
	assert.Equal(t, "shop/2", asked.Header.Get("User-Agent"))
	_, err = c.Token(t.Context(), "alice")
	require.NoError(t, err)
	_, err = c.Token(t.Context(), "bob")
	require.ErrorIs(t, err, gone)
	require.ErrorContains(t, err, "KeyFunc")
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the key went elsewhere") }))
	defer elsewhere.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		first := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		defer first.Close()
		for _, own := range []*http.Client{nil, first.Client()} {
			c, err := client.New(first.URL, client.Options{Key: deskKey, HTTPClient: own})
			require.NoError(t, err)
			_, err = c.Refresh(t.Context(), "alice", 1)
			require.ErrorContains(t, err, "redirect")
			told, ok := errors.AsType[*client.Error](err)
			require.True(t, ok)
			assert.Equal(t, status, told.Status)
			require.NoError(t, c.Close())
		}
	}
}
