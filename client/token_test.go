package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/refreshd/refreshd/client"
)

func TestTokenIsAppliedAsItSays(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		token  client.Token
		before http.Header
		want   http.Header
	}{
		"bearer":             {client.Token{AccessToken: "t", TokenType: "bearer", Send: client.Send{As: client.SendBearer}}, nil, http.Header{"Authorization": {"Bearer t"}}},
		"another type":       {client.Token{AccessToken: "t", TokenType: "MAC", Send: client.Send{As: client.SendBearer}}, nil, http.Header{"Authorization": {"MAC t"}}},
		"nothing said":       {client.Token{AccessToken: "t"}, nil, http.Header{"Authorization": {"Bearer t"}}},
		"in place":           {client.Token{AccessToken: "t"}, http.Header{"Authorization": {"a", "b"}}, http.Header{"Authorization": {"Bearer t"}}},
		"header":             {client.Token{AccessToken: "t", TokenType: "Bearer", Send: client.Send{As: client.SendHeader, Name: "x-session"}}, http.Header{"X-Session": {"old"}, "X": {"1"}}, http.Header{"X-Session": {"t"}, "X": {"1"}}},
		"cookie":             {client.Token{AccessToken: `t"=, x`, Send: client.Send{As: client.SendCookie, Name: "sid"}}, nil, http.Header{"Cookie": {`sid=t"=, x`}}},
		"cookie, among many": {client.Token{AccessToken: "t", Send: client.Send{As: client.SendCookie, Name: "sid"}}, http.Header{"Cookie": {"a=1; sid=old;sid2=3", "sid=older; SID=x"}}, http.Header{"Cookie": {"a=1; sid2=3; SID=x; sid=t"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example", nil)
			require.NoError(t, err)
			if row.before != nil {
				req.Header = row.before
			}
			row.token.Apply(req)
			assert.Equal(t, row.want, req.Header)
		})
	}
}

// TestSecretsAreNotShown prints, logs and encodes whatever callers have in
// their hands that holds a secret.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	token := client.Token{AccessToken: garbage, Generation: 7, ExpiresAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	put := client.PutToken{AccessToken: garbage, RefreshToken: garbage, Scope: "read"}
	login := client.Login{Username: garbage, Password: garbage}
	for name, value := range map[string]any{
		"token": token, "its pointer": &token, "in a list": []client.Token{token}, "in a struct": struct{ Token client.Token }{token},
		"put token": put, "put token's pointer": &put, "login": login, "login's pointer": &login,
		"put": client.PutInput{Provider: "p", Token: &put, Login: &login}, "put's parts": struct {
			Put   client.PutToken
			Login client.Login
		}{put, login},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%T"} {
			assert.NotContains(t, fmt.Sprintf(verb, value), garbage, "%s by %s", name, verb)
			assert.NotContains(t, fmt.Sprintf(verb, value), fmt.Sprintf("%x", garbage), "%s by %s", name, verb)
		}
		text, err := json.Marshal(value)
		require.NoError(t, err)
		assert.NotContains(t, string(text), garbage, "%s as JSON", name)
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "value", value)
		assert.NotContains(t, log.String(), garbage, "%s in a log", name)
	}
	assert.Equal(t, "token of generation 7 until 2026-01-02T03:04:05Z", fmt.Sprint(token))
	assert.Equal(t, "client.Token{token of generation 7 until 2026-01-02T03:04:05Z}", fmt.Sprintf("%#v", &token))
	assert.Equal(t, "<secret> client.Login{<secret>}", fmt.Sprintf("%s %#v", put, login))
}

func TestFromOAuth2(t *testing.T) {
	t.Parallel()
	issued := (&oauth2.Token{AccessToken: "a", RefreshToken: "r", TokenType: "bearer", Expiry: time.Now().Add(time.Hour)}).
		WithExtra(map[string]any{"scope": "read write"})
	put := client.FromOAuth2(issued)
	assert.InDelta(t, time.Hour.Seconds(), put.ExpiresIn.Seconds(), 60)
	put.ExpiresIn = 0
	assert.Equal(t, &client.PutToken{AccessToken: "a", RefreshToken: "r", TokenType: "bearer", Scope: "read write"}, put)

	ended := time.Now().Add(-time.Hour)
	put = client.FromOAuth2(&oauth2.Token{RefreshToken: "r", Expiry: ended})
	assert.Equal(t, &client.PutToken{RefreshToken: "r", ExpiresAt: ended}, put)
	assert.Equal(t, &client.PutToken{AccessToken: "a"}, client.FromOAuth2(&oauth2.Token{AccessToken: "a"}))
}
