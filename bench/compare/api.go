package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/internal/practice"
)

// writers is how many credentials are stored at a time.
const writers = 16

// api is refreshd's HTTP API.
type api struct {
	base string
	key  string
	http *http.Client
}

func newAPI(address string) *api {
	return &api{base: "http://" + address, http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: writers}}}
}

func (a *api) close() { a.http.CloseIdleConnections() }

func (a *api) ready(ctx context.Context) (bool, error) {
	err := a.call(ctx, http.MethodGet, "/readyz", nil)
	return err == nil, err
}

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

func (a *api) putAll(ctx context.Context, grants []practice.Minted, expired time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, g := range grants {
		group.Go(func() error {
			return a.call(ctx, http.MethodPut, "/v1/credentials/"+url.PathEscape(g.Subject), login{
				Provider: "practice", Token: token{AccessToken: g.AccessToken, RefreshToken: g.RefreshToken, ExpiresAt: expired},
			})
		})
	}
	return group.Wait()
}

// call makes one call whose answer does not matter.
func (a *api) call(ctx context.Context, method, path string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+a.key)
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return nil
}
