package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
)

const (
	callTimeout = 30 * time.Second
	askAgain    = 25 * time.Millisecond
	streamRest  = 500 * time.Millisecond // before a broken stream is resumed
	maxAnswer   = 16 << 20
)

// service is the running refreshd as a client of its HTTP API sees it.
type service struct {
	base string
	key  credential.Secret
	http *http.Client
}

func newService(address string, connections int) *service {
	return &service{base: "http://" + address, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}}
}

func (s *service) close() { s.http.CloseIdleConnections() }

// awaitReady returns what keeps the service's data, once the service is ready.
// The error is [ErrChildEnded] when gone is closed before.
func (s *service) awaitReady(ctx context.Context, keyFile string, gone <-chan struct{}) (store string, err error) {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		if store, err = s.ready(ctx, keyFile); err == nil {
			return store, nil
		}
		select {
		case <-tick.C:
		case <-gone:
			return "", ErrChildEnded
		case <-ctx.Done():
			return "", fmt.Errorf("refreshd is not ready: %w (last: %w)", context.Cause(ctx), err)
		}
	}
}

// ready asks whether the service is ready, and whether it is the one that made
// the key: between our look for a free port and its own bind, another program
// may have taken it, another demo for one.
func (s *service) ready(ctx context.Context, keyFile string) (store string, err error) {
	if err := s.call(ctx, http.MethodGet, "/readyz", nil, nil); err != nil {
		return "", err
	}
	key, err := os.ReadFile(keyFile) //nolint:gosec // a file of the demo's own folder
	if err != nil {
		return "", fmt.Errorf("admin key: %w", err)
	}
	s.key = credential.NewSecret(strings.TrimSpace(string(key)))
	return s.store(ctx)
}

// tokenBody is a token reply as the API takes it.
type tokenBody struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"`
}

// loginBody is what an owner stores.
type loginBody struct {
	Provider string    `json:"provider"`
	Subject  string    `json:"subject"`
	Token    tokenBody `json:"token"`
}

// put stores one grant.
func (s *service) put(ctx context.Context, id string, m practice.Minted) error {
	return s.call(ctx, http.MethodPut, "/v1/credentials/"+url.PathEscape(id), loginBody{
		Provider: providerName, Subject: m.Subject,
		Token: tokenBody{AccessToken: m.AccessToken, RefreshToken: m.RefreshToken, ExpiresIn: m.ExpiresIn},
	}, nil)
}

// list returns all records.
func (s *service) list(ctx context.Context) ([]row, error) {
	var rows []row
	query := url.Values{"limit": {"1000"}}
	for {
		var page struct {
			Credentials []struct {
				ID        string           `json:"id"`
				State     credential.State `json:"state"`
				Version   uint64           `json:"version"`
				ExpiresAt time.Time        `json:"expires_at"`
			} `json:"credentials"`
			Next string `json:"next"`
		}
		if err := s.call(ctx, http.MethodGet, "/v1/credentials?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, c := range page.Credentials {
			rows = append(rows, row{ID: c.ID, State: c.State, Version: c.Version, Expires: c.ExpiresAt})
		}
		if page.Next == "" {
			return rows, nil
		}
		query.Set("cursor", page.Next)
	}
}

// store tells what keeps the service's data.
func (s *service) store(ctx context.Context) (string, error) {
	var status struct {
		Redis struct {
			Kind       string `json:"kind"`
			Durability string `json:"durability"`
		} `json:"redis"`
	}
	if err := s.call(ctx, http.MethodGet, "/v1/status", nil, &status); err != nil {
		return "", err
	}
	return status.Redis.Kind + " (" + status.Redis.Durability + ")", nil
}

// follow hands every event on, from the start of the log, and resumes a stream
// that breaks off, until ctx ends.
func (s *service) follow(ctx context.Context, got func(event) error) {
	cursor := "0"
	for ctx.Err() == nil {
		cursor = s.stream(ctx, cursor, got)
		rest := time.NewTimer(streamRest)
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		rest.Stop()
	}
}

// stream follows one connection and returns the cursor to resume from. Why it
// broke off does not matter: while the service runs it is resumed, and the end
// of the service is told by its process.
func (s *service) stream(ctx context.Context, cursor string, got func(event) error) string {
	resp, err := s.send(ctx, http.MethodGet, "/v1/events", nil, map[string]string{"Accept": "text/event-stream", "Last-Event-ID": cursor})
	if err != nil {
		return cursor
	}
	defer resp.Body.Close()
	next, _ := readStream(resp.Body, cursor, func(m message) error {
		e, err := parseEvent(m.data)
		if err != nil {
			return err
		}
		return got(e)
	})
	return next
}

// call sends body as JSON, if it is not nil, and decodes the answer into
// answer, if that is not nil.
func (s *service) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.send(ctx, method, path, body, map[string]string{"Accept": "application/json"})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && answer != nil {
		err = json.Unmarshal(data, answer)
	}
	if err != nil {
		return fmt.Errorf("answer to %s %s: %w", method, path, err)
	}
	return nil
}

// send returns a successful answer, whose body the caller closes.
func (s *service) send(ctx context.Context, method, path string, body any, header map[string]string) (*http.Response, error) {
	content := []byte{}
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", method, path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !s.key.IsZero() {
		req.Header.Set("Authorization", "Bearer "+s.key.Reveal())
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	var problem struct {
		Detail string `json:"detail"`
	}
	refusal, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // what could be read is what can be told
	_ = json.Unmarshal(refusal, &problem)
	return nil, fmt.Errorf("%s %s: %s %s", method, path, resp.Status, problem.Detail)
}
