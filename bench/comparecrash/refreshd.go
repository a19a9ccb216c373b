package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/bench/internal/rig"
	"github.com/refreshd/refreshd/internal/practice"
)

const (
	providerName = "practice"
	// lead is how long before they expire the credentials are stored, so that
	// all of them become due together: at nine tenths of it.
	lead = 4 * time.Second
	// limitOver is by how much limits.concurrency is above the number of
	// credentials: what a killed process had in the air counts until its permits
	// run out.
	limitOver = 2
	// putRate is how many credentials are stored per second, at the least.
	putRate = 300
)

// service are processes of refreshd on one data_dir. They are driven through
// the HTTP API alone.
type service struct {
	site

	program string
	grace   time.Duration

	http    *http.Client
	calls   *api // of the first process
	running []*rig.Process
}

func newService(s site, program string, grace time.Duration) (*service, error) {
	r := &service{site: s, program: program, grace: grace, http: newClient()}
	for name, text := range map[string]string{"config.yaml": r.config(), "client.secret": clientSecret} {
		if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// config is refreshd's configuration. The limits are raised so that all
// credentials can be in the air, and what spreads refreshes over time is turned
// off so that they are; all else is as it comes.
func (r *service) config() string {
	return fmt.Sprintf(`data_dir: ./data
redis: {url: "unix://%s"}
keyset: {file: ./data/keyset.json}
schedule: {refresh_at: 0.9, jitter: 0, min_interval: 0s}
providers:
  %s:
    kind: oauth2
    token_url: %s/token
    client_id: %s
    client_secret: {file: ./client.secret}
    rotation: {rotates: yes, grace: %s}
    limits: {concurrency: %d, per_second: 100000}
`, r.socket, providerName, r.providerURL, clientID, r.grace, limitOver*r.credentials)
}

// start starts the processes. The very first one makes the keys for all.
func (r *service) start(ctx context.Context) error {
	r.running = nil
	first := r.calls == nil
	var addresses []string
	for range processes {
		r.starts++
		address, err := rig.FreeAddress(ctx)
		if err != nil {
			return err
		}
		one, err := start(ctx, r.folder, rig.Command{
			Name: fmt.Sprintf("refreshd-%d", r.starts), Path: r.program, Args: []string{"serve"},
			Env: []string{"REFRESHD_LISTEN=" + address},
		})
		if err != nil {
			return err
		}
		r.running = append(r.running, one)
		addresses = append(addresses, address)
		if first {
			if err := r.ready(ctx, one, address); err != nil {
				return err
			}
		}
	}
	for n, one := range r.running {
		if err := r.ready(ctx, one, addresses[n]); err != nil {
			return err
		}
	}
	key, err := os.ReadFile(filepath.Join(r.folder, "data", "admin.key"))
	if err != nil {
		return err
	}
	r.calls = &api{base: "http://" + addresses[0], key: strings.TrimSpace(string(key)), http: r.http}
	return nil
}

func (r *service) ready(ctx context.Context, one *rig.Process, address string) error {
	asked := &api{base: "http://" + address, http: r.http}
	return one.Until(ctx, patience("it was ready"), func(ctx context.Context) (bool, error) {
		err := asked.call(ctx, http.MethodGet, "/readyz", nil, nil)
		return err == nil, err
	})
}

// fly stores tokens that all expire at one moment and so become due together,
// and returns when that has come.
func (r *service) fly(ctx context.Context, grants []practice.Minted) error {
	took := lead + time.Duration(len(grants))*time.Second/putRate
	var began, expires time.Time
	// A process that has just started may have to wait for the others before it
	// stores anything; it says so, and the first credential is stored again then.
	err := r.running[0].Until(ctx, patience("it stored a credential"), func(ctx context.Context) (bool, error) {
		began = time.Now()
		expires = began.Add(took)
		err := r.calls.put(ctx, grants[:1], expires)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if err := r.calls.put(ctx, grants[1:], expires); err != nil {
		return err
	}
	due := time.NewTimer(time.Until(began.Add(took * 8 / 10)))
	defer due.Stop()
	select {
	case <-due.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *service) kill() error { return rig.Kill(r.running...) }

// held lists the credentials and asks for a token of each that has one.
func (r *service) held(ctx context.Context) ([]holding, error) {
	var all []holding
	for cursor := ""; ; {
		var got listing
		path := fmt.Sprintf("/v1/credentials?limit=%d&cursor=%s", page, url.QueryEscape(cursor))
		if cursor == "" {
			path = fmt.Sprintf("/v1/credentials?limit=%d", page)
		}
		if err := r.calls.call(ctx, http.MethodGet, path, nil, &got); err != nil {
			return nil, err
		}
		for _, c := range got.Credentials {
			all = append(all, holding{
				subject: c.ID, reauth: c.State == "reauth_required",
				fresh: c.State == "active" && !c.InDoubt && time.Until(c.ExpiresAt) > accessTTL/2,
			})
		}
		if cursor = got.Next; cursor == "" {
			return all, nil
		}
	}
}

// tokens fills in the access tokens that are handed out.
func (r *service) tokens(ctx context.Context, all []holding) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callers)
	var mu sync.Mutex
	for i := range all {
		group.Go(func() error {
			var got token
			err := r.calls.call(ctx, http.MethodGet, "/v1/credentials/"+url.PathEscape(all[i].subject)+"/token", nil, &got)
			if refused, ok := errors.AsType[*status](err); ok && (refused.code == http.StatusConflict || refused.code == http.StatusServiceUnavailable) {
				return nil // there is none to be had
			}
			mu.Lock()
			defer mu.Unlock()
			all[i].access = got.AccessToken
			return err
		})
	}
	return group.Wait()
}

func (r *service) close() error {
	r.http.CloseIdleConnections()
	return r.kill()
}
