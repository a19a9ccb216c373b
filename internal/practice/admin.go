package practice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Admin steers a practice provider in another process over its admin
// interface. Its methods do what the methods of [Server] do. They are safe for
// concurrent use. [Admin.Close] lets go of its connections.
type Admin struct {
	base string
	key  string
	http *http.Client
}

// AdminError is a refusal by the server.
type AdminError struct {
	Status  int
	Message string
}

// Error tells the status and the server's message.
func (e *AdminError) Error() string {
	return fmt.Sprintf("practice provider: %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
}

// NewAdmin makes a client for the server at baseURL, such as
// "http://127.0.0.1:7421".
func NewAdmin(baseURL string) *Admin { return NewAdminWithKey(baseURL, "") }

// NewAdminWithKey is [NewAdmin] for a server with an admin key.
func NewAdminWithKey(baseURL, key string) *Admin {
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	return &Admin{base: strings.TrimRight(baseURL, "/"), key: key, http: &http.Client{Transport: transport}}
}

// Close closes idle connections.
func (a *Admin) Close() { a.http.CloseIdleConnections() }

// Healthy returns nil when the server answers.
func (a *Admin) Healthy(ctx context.Context) error {
	return a.call(ctx, http.MethodGet, "/healthz", nil, nil)
}

// Mint makes new grants; see [Server.Mint].
func (a *Admin) Mint(ctx context.Context, req MintRequest) ([]Minted, error) {
	return lines[Minted](ctx, a, http.MethodPost, "/admin/grants", req)
}

// Grant returns the state of one grant; see [Server.Grant].
func (a *Admin) Grant(ctx context.Context, id string) (GrantState, error) {
	var state GrantState
	err := a.call(ctx, http.MethodGet, "/admin/grants/"+url.PathEscape(id), nil, &state)
	return state, err
}

// Grants returns the state of every grant; see [Server.Grants].
func (a *Admin) Grants(ctx context.Context) ([]GrantState, error) {
	return lines[GrantState](ctx, a, http.MethodGet, "/admin/grants", nil)
}

// Revoke withdraws a grant; see [Server.Revoke].
func (a *Admin) Revoke(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodPost, "/admin/grants/"+url.PathEscape(id)+"/revoke", nil, nil)
}

// Ledger returns entries; see [Server.Ledger].
func (a *Admin) Ledger(ctx context.Context, q LedgerQuery) ([]Entry, error) {
	query := url.Values{}
	if q.Grant != "" {
		query.Set("grant", q.Grant)
	}
	if q.After > 0 {
		query.Set("after", strconv.FormatUint(q.After, 10))
	}
	return lines[Entry](ctx, a, http.MethodGet, "/admin/ledger?"+query.Encode(), nil)
}

// Summary returns the ledger in numbers; see [Server.Summary].
func (a *Admin) Summary(ctx context.Context) (Summary, error) {
	var sum Summary
	err := a.call(ctx, http.MethodGet, "/admin/ledger/summary", nil, &sum)
	return sum, err
}

// AddFault adds a fault; see [Server.AddFault].
func (a *Admin) AddFault(ctx context.Context, f Fault) (string, error) {
	var id faultID
	err := a.call(ctx, http.MethodPost, "/admin/faults", f, &id)
	return id.ID, err
}

// Faults returns all faults; see [Server.Faults].
func (a *Admin) Faults(ctx context.Context) ([]FaultState, error) {
	var states []FaultState
	err := a.call(ctx, http.MethodGet, "/admin/faults", nil, &states)
	return states, err
}

// RemoveFault removes one fault; see [Server.RemoveFault].
func (a *Admin) RemoveFault(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodDelete, "/admin/faults/"+url.PathEscape(id), nil, nil)
}

// ClearFaults removes all faults; see [Server.ClearFaults].
func (a *Admin) ClearFaults(ctx context.Context) error {
	return a.call(ctx, http.MethodDelete, "/admin/faults", nil, nil)
}

// SetClientSecret registers or changes a client; see [Server.SetClientSecret].
func (a *Admin) SetClientSecret(ctx context.Context, id, secret string) error {
	return a.call(ctx, http.MethodPost, "/admin/clients", Client{ID: id, Secret: secret}, nil)
}

// DisableClient disables a client; see [Server.DisableClient].
func (a *Admin) DisableClient(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodPost, "/admin/clients/"+url.PathEscape(id)+"/disable", nil, nil)
}

// Settings returns what is in force.
func (a *Admin) Settings(ctx context.Context) (Settings, error) {
	var settings Settings
	err := a.call(ctx, http.MethodGet, "/admin/settings", nil, &settings)
	return settings, err
}

// Configure changes settings; see [Server.Configure].
func (a *Admin) Configure(ctx context.Context, p SettingsPatch) (Settings, error) {
	var settings Settings
	err := a.call(ctx, http.MethodPost, "/admin/settings", p, &settings)
	return settings, err
}

// call makes one call and decodes its reply into result, unless that is nil.
func (a *Admin) call(ctx context.Context, method, path string, body, result any) error {
	resp, err := a.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	if result != nil {
		err = json.NewDecoder(resp.Body).Decode(result)
	}
	_, drainErr := io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	if err = errors.Join(err, drainErr, resp.Body.Close()); err != nil {
		return fmt.Errorf("reply of the practice provider to %s %s: %w", method, path, err)
	}
	return nil
}

// lines makes one call and decodes its reply, a JSON value per line.
func lines[T any](ctx context.Context, a *Admin, method, path string, body any) (values []T, err error) {
	resp, err := a.do(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	dec := json.NewDecoder(resp.Body)
	for {
		var v T
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return values, nil
		} else if err != nil {
			return nil, fmt.Errorf("line %d of the practice provider's reply to %s %s: %w", len(values)+1, method, path, err)
		}
		values = append(values, v)
	}
}

// do makes one call; a status of 300 and above is an *AdminError.
func (a *Admin) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode the call %s %s: %w", method, path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("practice provider: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.key)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("practice provider: %w", err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // the refusal below says more
	var p problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAdminBody)).Decode(&p); err != nil {
		p.Error = "no message"
	}
	return nil, &AdminError{Status: resp.StatusCode, Message: p.Error}
}
