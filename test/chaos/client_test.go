package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// client speaks to one run of a replica as a program that uses it does.
type client struct {
	base string
	key  string
	http *http.Client
}

// record is a credential as the API shows it.
type record struct {
	ID         string    `json:"id"`
	Provider   string    `json:"provider"`
	State      string    `json:"state"`
	Reason     string    `json:"reason"`
	Version    uint64    `json:"version"`
	Generation uint64    `json:"generation"`
	ExpiresAt  time.Time `json:"expires_at"`
	DueAt      time.Time `json:"due_at"`
	InDoubt    bool      `json:"in_doubt"`
}

type token struct {
	AccessToken string    `json:"access_token"`
	ExpiresAt   time.Time `json:"expires_at"`
	Version     uint64    `json:"version"`
	Generation  uint64    `json:"generation"`
}

// refusal is an answer that is not a success (RFC 9457).
type refusal struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error tells what the API said; it never repeats a secret.
func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Detail) }

// call makes one call; an answer of 300 and above is a *refusal.
func (c *client) call(ctx context.Context, method, path string, body, result any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(string(data)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		refused := &refusal{Status: resp.StatusCode}
		_ = json.Unmarshal(answer, refused) // without a body the status says enough
		return refused
	}
	if result == nil {
		return nil
	}
	if json.Unmarshal(answer, result) != nil {
		return fmt.Errorf("answer to %s %s is not what was expected", method, path)
	}
	return nil
}

func credentialPath(id string) string { return "/v1/credentials/" + url.PathEscape(id) }

func (c *client) put(ctx context.Context, provider, id string, m practice.Minted) (record, error) {
	var r record
	err := c.call(ctx, http.MethodPut, credentialPath(id), map[string]any{
		"provider": provider, "subject": m.Subject,
		"token": map[string]any{"access_token": m.AccessToken, "refresh_token": m.RefreshToken, "expires_in": m.ExpiresIn},
	}, &r)
	return r, err
}

func (c *client) token(ctx context.Context, id string) (token, error) {
	var got token
	err := c.call(ctx, http.MethodGet, credentialPath(id)+"/token", nil, &got)
	return got, err
}

// list reads every credential.
func (c *client) list(ctx context.Context) (map[string]record, error) {
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
		if err := c.call(ctx, http.MethodGet, "/v1/credentials?"+query.Encode(), nil, &page); err != nil {
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

// log reads the event log from its start.
func (c *client) log(ctx context.Context) ([]cloudEvent, error) {
	var all []cloudEvent
	for cursor := "0"; ; {
		var page struct {
			Events []struct {
				Event cloudEvent `json:"event"`
			} `json:"events"`
			Cursor string `json:"cursor"`
		}
		query := url.Values{"limit": {"1000"}, "cursor": {cursor}}
		if err := c.call(ctx, http.MethodGet, "/v1/events?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		if len(page.Events) == 0 {
			return all, nil
		}
		for _, e := range page.Events {
			all = append(all, e.Event)
		}
		cursor = page.Cursor
	}
}
