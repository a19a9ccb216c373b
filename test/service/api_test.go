package service

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
)

// api speaks to one process as a program that uses it does.
type api struct {
	base string
	key  string
	http *http.Client
}

func newAPI(t testing.TB, base, key string) *api {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &api{base: base, key: key, http: &http.Client{Transport: transport}}
}

// record is a credential as the API shows it.
type record struct {
	ID         string    `json:"id"`
	State      string    `json:"state"`
	Reason     string    `json:"reason"`
	Version    uint64    `json:"version"`
	Generation uint64    `json:"generation"`
	ExpiresAt  time.Time `json:"expires_at"`
	InDoubt    bool      `json:"in_doubt"`
	Subject    string    `json:"subject"`
	Paused     bool      `json:"paused"`
	Presence   string    `json:"presence"`
	OnceAt     time.Time `json:"refresh_once_at"`
	DueAt      time.Time `json:"due_at"`
	HasLogin   bool      `json:"has_login"`
	Learned    int64     `json:"learned_lifetime"`
	Session    *struct {
		IdleTimeout  int64     `json:"idle_timeout"`
		IdleDeadline time.Time `json:"idle_deadline"`

		AbsoluteDeadline *time.Time `json:"absolute_deadline"`
	} `json:"session"`
	LastFailure *struct {
		At     time.Time `json:"at"`
		Reason string    `json:"reason"`
		Detail string    `json:"detail"`
	} `json:"last_failure"`
}

type token struct {
	AccessToken string    `json:"access_token"`
	ExpiresAt   time.Time `json:"expires_at"`
	Version     uint64    `json:"version"`
	Generation  uint64    `json:"generation"`
	Send        struct {
		As   string `json:"as"`
		Name string `json:"name"`
	} `json:"send"`
}

// refusal is an answer that is not a success (RFC 9457).
type refusal struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// Error tells what the API said; it never repeats a secret.
func (r *refusal) Error() string {
	return fmt.Sprintf("%d %s: %s (state %q, reason %q)", r.Status, r.Code, r.Detail, r.State, r.Reason)
}

// call makes one call; an answer of 300 and above is a *refusal.
func (a *api) call(ctx context.Context, method, path string, body, result any) error {
	data, err := a.raw(ctx, method, path, body)
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(data, result); err != nil {
		return fmt.Errorf("answer to %s %s is not what was expected", method, path)
	}
	return nil
}

// raw makes one call with a body in JSON, or none.
func (a *api) raw(ctx context.Context, method, path string, body any) ([]byte, error) {
	if body == nil {
		return a.text(ctx, method, path, "")
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return a.text(ctx, method, path, string(data))
}

// text makes one call with a body as it is. A page of events rather than a
// stream is asked for, where there is the choice.
func (a *api) text(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	req.Header.Set("Accept", "application/json")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		refused := &refusal{Status: resp.StatusCode}
		_ = json.Unmarshal(answer, refused) // without a body the status says enough
		return answer, refused
	}
	return answer, nil
}

func credentialPath(id string) string { return "/v1/credentials/" + url.PathEscape(id) }

func login(m practice.Minted, expiresIn int64) map[string]any {
	return map[string]any{
		"provider": providerName, "subject": m.Subject,
		"token": map[string]any{"access_token": m.AccessToken, "refresh_token": m.RefreshToken, "expires_in": expiresIn},
	}
}

func (a *api) put(t testing.TB, id string, m practice.Minted, expiresIn int64) {
	t.Helper()
	require.NoError(t, a.call(t.Context(), http.MethodPut, credentialPath(id), login(m, expiresIn), nil))
}

func (a *api) get(t testing.TB, id string) record {
	t.Helper()
	var r record
	require.NoError(t, a.call(t.Context(), http.MethodGet, credentialPath(id), nil, &r))
	return r
}

// token asks for a token that lives for minTTL at least.
func (a *api) token(ctx context.Context, id string, minTTL time.Duration) (token, error) {
	var got token
	err := a.call(ctx, http.MethodGet, credentialPath(id)+"/token?min_ttl="+minTTL.String(), nil, &got)
	return got, err
}

func (a *api) refresh(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodPost, credentialPath(id)+"/refresh", nil, nil)
}

// list reads every credential.
func (a *api) list(t testing.TB) map[string]record {
	t.Helper()
	all := map[string]record{}
	for cursor := ""; ; {
		var page struct {
			Credentials []record `json:"credentials"`
			Next        string   `json:"next"`
		}
		query := url.Values{"limit": {"1000"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		require.NoError(t, a.call(t.Context(), http.MethodGet, "/v1/credentials?"+query.Encode(), nil, &page))
		for _, r := range page.Credentials {
			all[r.ID] = r
		}
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// awaitState waits until every credential is in the state, and returns them.
func (a *api) awaitState(t testing.TB, state string, count int) map[string]record {
	t.Helper()
	var all map[string]record
	eventually(t, patience, func() (bool, string) {
		all = a.list(t)
		others := map[string]int{}
		for _, r := range all {
			others[r.State]++
		}
		return others[state] == count && len(all) == count, fmt.Sprintf("want %d %s, have %v", count, state, others)
	})
	return all
}
