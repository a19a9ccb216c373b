package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

func sentinels() map[string]error {
	return map[string]error{
		"unauthorized": client.ErrUnauthorized, "forbidden": client.ErrForbidden, "invalid": client.ErrInvalid,
		"not_found": client.ErrNotFound, "conflict": client.ErrConflict, "reauth_required": client.ErrReauthRequired,
		"logged_out": client.ErrLoggedOut, "fresh_rejected": client.ErrFreshRejected, "not_refreshable": client.ErrNotRefreshable,
		"login_refused": client.ErrLoginRefused, "no_session": client.ErrNoSession, "session_over": client.ErrSessionOver,
		"unavailable": client.ErrUnavailable, "closed": client.ErrClosed,
	}
}

// TestProblemsHaveTheirErrors covers every code that refreshd's API answers
// with: each matches one sentinel at the most.
func TestProblemsHaveTheirErrors(t *testing.T) {
	t.Parallel()
	for code, row := range map[string]struct {
		status int
		want   string // of sentinels; "" for none
	}{
		"not_found":         {404, "not_found"},
		"no_such_route":     {404, ""},
		"bad_method":        {405, ""},
		"unauthorized":      {401, "unauthorized"},
		"forbidden":         {403, "forbidden"},
		"bad_request":       {400, "invalid"},
		"invalid":           {422, "invalid"},
		"unknown_provider":  {422, "invalid"},
		"login_unsupported": {422, "invalid"},
		"dead_on_arrival":   {422, "invalid"},
		"min_ttl":           {422, "invalid"},
		"bad_cursor":        {422, "invalid"},
		"bad_filter":        {422, "invalid"},
		"login_refused":     {422, "login_refused"},
		"account_locked":    {422, "login_refused"},
		"stale_token":       {409, "conflict"},
		"conflict":          {409, "conflict"},
		"precondition":      {412, "conflict"},
		"not_refreshable":   {409, "not_refreshable"},
		"fresh_rejected":    {409, "fresh_rejected"},
		"reauth_required":   {409, "reauth_required"},
		"logged_out":        {409, "logged_out"},
		"no_session":        {409, "no_session"},
		"session_over":      {409, "session_over"},
		"too_large":         {413, ""},
		"media_type":        {415, ""},
		"slow_body":         {408, "unavailable"},
		"too_many_streams":  {503, "unavailable"},
		"unavailable":       {503, "unavailable"},
		"internal":          {500, "unavailable"},
		"full":              {507, ""},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			desk := newTokenDesk()
			desk.refuses(row.status, code, `,"reason":"why","errors":[{"location":"body.token","message":"m"}]`)
			_, err := desk.client(t, client.Options{}).Get(t.Context(), "alice")
			for name, sentinel := range sentinels() {
				assert.Equal(t, name == row.want, errors.Is(err, sentinel), "%v and %s", err, name)
			}
			told, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, client.Error{Status: row.status, Code: code, Detail: "what is wrong", Location: "body.token"}, *told)
			require.EqualError(t, told, "refreshd: what is wrong ("+strconv.Itoa(row.status)+" "+code+")")

			_, reauth := errors.AsType[*client.ReauthError](err)
			assert.Equal(t, row.want == "reauth_required" || row.want == "logged_out" || row.want == "fresh_rejected", reauth)
			away, unavailable := errors.AsType[*client.UnavailableError](err)
			assert.Equal(t, row.want == "unavailable", unavailable)
			if unavailable {
				assert.Equal(t, "why", away.Reason)
			}
		})
	}
}

func TestRefusalsThatAreNotRefreshds(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		status     int
		kind, body string
		want       string
	}{
		"a proxy's 404":      {404, "text/html", garbage, ""},
		"a proxy's 401":      {401, "text/html", garbage, "unauthorized"},
		"a proxy's 403":      {403, "application/json", `{"code":"not_found","detail":"` + garbage + `"}`, "forbidden"},
		"a proxy's 429":      {429, "text/plain", garbage, "unavailable"},
		"a broken problem":   {422, "application/problem+json", `{"code":"min_ttl","detail":"` + garbage, ""},
		"an endless problem": {503, "application/problem+json", strings.Repeat(garbage, 10_000), "unavailable"},
		"an odd status":      {600, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desk := newTokenDesk()
			desk.answers(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", row.kind)
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
			})
			_, err := desk.client(t, client.Options{}).Get(t.Context(), "alice")
			require.Error(t, err)
			assert.NotContains(t, err.Error(), garbage)
			for name, sentinel := range sentinels() {
				assert.Equal(t, name == row.want, errors.Is(err, sentinel), "%v and %s", err, name)
			}
		})
	}
}

func TestDetailsAreFitToBeShown(t *testing.T) {
	t.Parallel()
	desk := newTokenDesk()
	desk.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"code":"conflict","detail":"a\u001b[31m\nb`+strings.Repeat("ü", 1000)+`"}`)
	})
	_, err := desk.client(t, client.Options{}).Get(t.Context(), "alice")
	require.ErrorIs(t, err, client.ErrConflict)
	assert.True(t, strings.HasPrefix(err.Error(), "refreshd: a [31m bü"), err.Error())
	assert.Less(t, len(err.Error()), 600)
}

func TestRetryAfterIsRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"7":                             7 * time.Second,
		"-7":                            0,
		"7.5":                           0,
		"99999999999":                   time.Hour,
		"Wed, 21 Oct 2015 07:28:00 GMT": 0,
		"Wed, 21 Oct 2099 07:28:00 GMT": time.Hour,
		"soon":                          0,
	} {
		desk := newTokenDesk()
		desk.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", text)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		_, err := desk.client(t, client.Options{}).Get(t.Context(), "alice")
		away, ok := errors.AsType[*client.UnavailableError](err)
		require.True(t, ok, "%q: %v", text, err)
		assert.Equal(t, want, away.RetryAfter, "%q", text)
	}
}

func TestUnavailableErrorOfOthers(t *testing.T) {
	t.Parallel()
	err := error(&client.UnavailableError{RetryAfter: 2 * time.Second, Reason: "provider_unavailable"})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.NotErrorIs(t, err, context.Canceled)
	require.EqualError(t, err, "refreshd is not available now: provider_unavailable, ask again in 2s")
}
