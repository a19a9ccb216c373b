package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/internal/practice"
)

const (
	// callers is how many calls of the API, and of the provider's resource, are
	// made at a time.
	callers = 16
	// page is how many credentials one listing holds.
	page = 1000
	// mostAnswer bounds an answer, in bytes: a listing is the longest.
	mostAnswer = 8 << 20
)

// api is refreshd's HTTP API.
type api struct {
	base string
	key  string
	http *http.Client
}

// status is an answer that is not a success.
type status struct {
	code int
	what string
}

// Error tells what was answered.
func (s *status) Error() string { return s.what }

// login is what is stored.
type login struct {
	Provider string `json:"provider"`
	Token    token  `json:"token"`
}

type token struct {
	AccessToken  string    `json:"access_token"`
	RefreshToken string    `json:"refresh_token"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// listing is a page of credentials, as far as it matters here.
type listing struct {
	Credentials []listed `json:"credentials"`
	Next        string   `json:"next"`
}

type listed struct {
	ID        string    `json:"id"`
	State     string    `json:"state"`
	InDoubt   bool      `json:"in_doubt"`
	ExpiresAt time.Time `json:"expires_at"`
}

func newClient() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
}

func (a *api) put(ctx context.Context, grants []practice.Minted, expires time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callers)
	for _, g := range grants {
		group.Go(func() error {
			return a.call(ctx, http.MethodPut, "/v1/credentials/"+url.PathEscape(g.Subject), login{
				Provider: providerName,
				Token:    token{AccessToken: g.AccessToken, RefreshToken: g.RefreshToken, ExpiresAt: expires},
			}, nil)
		})
	}
	return group.Wait()
}

// call makes one call and reads its answer into result, if that is not nil.
func (a *api) call(ctx context.Context, method, path string, body, result any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return &status{code: resp.StatusCode, what: fmt.Sprintf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(answer)))}
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}
