package harness

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

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/oracle"
)

// API speaks to one process as a program that uses it does.
type API struct {
	Base string
	Key  string
	HTTP *http.Client
}

// NewAPI speaks to a process until the end of the test.
func NewAPI(t testing.TB, base, key string) *API {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &API{Base: base, Key: key, HTTP: &http.Client{Transport: transport}}
}

// Record is a credential as the API shows it.
type Record struct {
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

// Token is the answer to a program that asks for one.
type Token struct {
	AccessToken string    `json:"access_token"`
	ExpiresAt   time.Time `json:"expires_at"`
	Version     uint64    `json:"version"`
	Generation  uint64    `json:"generation"`
	Send        struct {
		As   string `json:"as"`
		Name string `json:"name"`
	} `json:"send"`
}

// Refusal is an answer that is not a success (RFC 9457).
type Refusal struct { //nolint:errname // an answer first, an error where nobody expected it
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// Error tells what the API said; it never repeats a secret.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%d %s: %s (state %q, reason %q)", r.Status, r.Code, r.Detail, r.State, r.Reason)
}

// Call makes one call; an answer of 300 and above is a *Refusal. body and
// result are JSON, or nil.
func (a *API) Call(ctx context.Context, method, path string, body, result any) error {
	data, err := a.Raw(ctx, method, path, body)
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(data, result); err != nil {
		return fmt.Errorf("answer to %s %s is not what was expected", method, path)
	}
	return nil
}

// Raw makes one call with a body in JSON, or none, and returns the answer as it is.
func (a *API) Raw(ctx context.Context, method, path string, body any) ([]byte, error) {
	if body == nil {
		return a.Text(ctx, method, path, "")
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return a.Text(ctx, method, path, string(data))
}

// Text makes one call with a body as it is. A page of events rather than a
// stream is asked for, where there is the choice.
func (a *API) Text(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.Base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.Key)
	req.Header.Set("Accept", "application/json")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or could not be
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		refused := &Refusal{Status: resp.StatusCode}
		_ = json.Unmarshal(answer, refused) // without a body the status says enough
		return answer, refused
	}
	return answer, nil
}

// CredentialPath is where the API has a credential.
func CredentialPath(id string) string { return "/v1/credentials/" + url.PathEscape(id) }

// Put stores a login and returns the change as it was acknowledged.
func (a *API) Put(ctx context.Context, id string, m practice.Minted) (oracle.Change, error) {
	body := map[string]any{
		"provider": ProviderName, "subject": m.Subject,
		"token": map[string]any{"access_token": m.AccessToken, "refresh_token": m.RefreshToken, "expires_in": m.ExpiresIn},
	}
	asked := time.Now()
	var r Record
	err := a.Call(ctx, http.MethodPut, CredentialPath(id), body, &r)
	return oracle.Change{
		Credential: id, Kind: oracle.KindLogin, Grant: m.Grant, Version: r.Version, At: time.Now(),
		ExpiresAt: asked.Add(time.Duration(m.ExpiresIn) * time.Second),
	}, err
}

// Logout ends a credential and returns the change as it was acknowledged.
func (a *API) Logout(ctx context.Context, id string) (oracle.Change, error) {
	var r Record
	err := a.Call(ctx, http.MethodPost, CredentialPath(id)+"/logout", nil, &r)
	return oracle.Change{Credential: id, Kind: oracle.KindLogout, Version: r.Version, At: time.Now()}, err
}

// Delete removes a credential and returns the change as it was acknowledged.
func (a *API) Delete(ctx context.Context, id string) (oracle.Change, error) {
	err := a.Call(ctx, http.MethodDelete, CredentialPath(id), nil, nil)
	return oracle.Change{Credential: id, Kind: oracle.KindDelete, At: time.Now()}, err
}

// Token asks for a token that lives for minTTL at least.
func (a *API) Token(ctx context.Context, id string, minTTL time.Duration) (Token, error) {
	var got Token
	err := a.Call(ctx, http.MethodGet, CredentialPath(id)+"/token?min_ttl="+minTTL.String(), nil, &got)
	return got, err
}

// Read asks for a token as a reader who remembers, and returns what it was
// told.
func (a *API) Read(ctx context.Context, process, id string) (oracle.Read, Token) {
	asked := time.Now()
	got, err := a.Token(ctx, id, 0)
	r := oracle.Read{Process: process, ID: id, Version: got.Version, Generation: got.Generation, At: asked, ExpiresAt: got.ExpiresAt}
	if err != nil {
		r.Err = err.Error()
	}
	return r, got
}

// Refresh asks for a newer token than the present one.
func (a *API) Refresh(ctx context.Context, id string) error {
	return a.Call(ctx, http.MethodPost, CredentialPath(id)+"/refresh", nil, nil)
}

// List reads every credential.
func (a *API) List(ctx context.Context) (map[string]Record, error) {
	all := map[string]Record{}
	for cursor := ""; ; {
		var page struct {
			Credentials []Record `json:"credentials"`
			Next        string   `json:"next"`
		}
		query := url.Values{"limit": {"1000"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := a.Call(ctx, http.MethodGet, "/v1/credentials?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, r := range page.Credentials {
			all[r.ID] = r
		}
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// Log reads the whole event log.
func (a *API) Log(ctx context.Context) ([]oracle.Event, error) {
	var all []oracle.Event
	for cursor := "0"; ; {
		var page struct {
			Events []struct {
				Event cloudEvent `json:"event"`
			} `json:"events"`
			Cursor string `json:"cursor"`
		}
		if err := a.Call(ctx, http.MethodGet, "/v1/events?limit=1000&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			all = append(all, e.Event.seen())
		}
		if len(page.Events) == 0 {
			return all, nil
		}
		cursor = page.Cursor
	}
}

// cloudEvent is what a subscriber gets.
type cloudEvent struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Data struct {
		Credential      string `json:"credential"`
		State           string `json:"state"`
		PreviousState   string `json:"previous_state"`
		Reason          string `json:"reason"`
		Version         uint64 `json:"version"`
		PreviousVersion uint64 `json:"previous_version"`

		ExpiresAt time.Time `json:"expires_at"`
	} `json:"data"`
}

func (e cloudEvent) seen() oracle.Event {
	return oracle.Event{
		ID: e.ID, Credential: e.Data.Credential, Type: e.Type, State: e.Data.State, PreviousState: e.Data.PreviousState,
		Reason: e.Data.Reason, Version: e.Data.Version, Previous: e.Data.PreviousVersion, At: e.Time,
		ExpiresAt: e.Data.ExpiresAt,
	}
}
