package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/bench/internal/rig"
	"github.com/refreshd/refreshd/internal/practice"
)

func secretEnv() []string { return []string{"CLIENT_SECRET=" + clientSecret} }

// runLoop is L.
func (b *bench) runLoop(ctx context.Context, folder string, grants []practice.Minted) error {
	var in strings.Builder
	for _, g := range grants {
		in.WriteString(g.RefreshToken + "\n")
	}
	p, err := rig.Start(ctx, folder, rig.Command{
		Name: "loop", Path: b.bin.loop, Tail: tail, Env: secretEnv(), In: strings.NewReader(in.String()),
		Args: []string{"--token-url", b.url + "/token", "--client-id", clientID, "--concurrency", strconv.Itoa(b.concurrency)},
	})
	if err != nil {
		return err
	}
	return p.Wait()
}

// asynqToken is a token as the asynq worker takes it.
type asynqToken struct {
	ID           string `json:"id"`
	RefreshToken string `json:"refresh_token"`
}

// runAsynq is N. Its tasks wait in the queue before it starts.
func (b *bench) runAsynq(ctx context.Context, folder string, grants []practice.Minted) error {
	server, socket, err := startRedis(ctx, folder)
	if err != nil {
		return err
	}
	defer server.End()
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, g := range grants {
		if err := enc.Encode(asynqToken{ID: g.Subject, RefreshToken: g.RefreshToken}); err != nil { //nolint:gosec // handing tokens over is what this is for
			return err
		}
	}
	args := []string{"--redis", socket, "--token-url", b.url + "/token", "--client-id", clientID, "--concurrency", strconv.Itoa(b.concurrency)}
	fill, err := rig.Start(ctx, folder, rig.Command{
		Name: "fill", Path: b.bin.asynqWorker, Tail: tail, Env: secretEnv(), In: &in, Args: append([]string{"--fill"}, args...),
	})
	if err != nil {
		return err
	}
	if err := fill.Wait(); err != nil {
		return err
	}
	before, err := b.admin.Summary(ctx)
	if err != nil {
		return err
	}
	p, err := rig.Start(ctx, folder, rig.Command{Name: "asynqworker", Path: b.bin.asynqWorker, Tail: tail, Env: secretEnv(), Args: args})
	if err != nil {
		return err
	}
	defer p.End()
	return b.rotations(ctx, p, before)
}

// configText is refreshd's configuration. The rate is one that bounds nothing;
// all but the limits is as it comes.
func configText(listen, socket, providerURL string, concurrency int) string {
	return fmt.Sprintf(`listen: %s
data_dir: ./data
redis: {url: "unix://%s"}
keyset: {file: ./data/keyset.json}
providers:
  practice:
    kind: oauth2
    token_url: %s/token
    client_id: %s
    client_secret: {file: ./client.secret}
    rotation: {rotates: yes}
    limits: {concurrency: %d, per_second: 100000}
`, listen, socket, providerURL, clientID, concurrency)
}

// runRefreshd stores all grants with tokens that have run out, through a
// process that only serves the API, and then starts the whole service: what it
// finds is overdue, as after an outage. Those refreshes end as
// credential.recovered instead of credential.refreshed, at the same cost.
func (b *bench) runRefreshd(ctx context.Context, folder string, grants []practice.Minted) error {
	server, socket, err := startRedis(ctx, folder)
	if err != nil {
		return err
	}
	defer server.End()
	address, err := rig.FreeAddress(ctx)
	if err != nil {
		return err
	}
	config := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(config, []byte(configText(address, socket, b.url, b.limit)), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "client.secret"), []byte(clientSecret), 0o600); err != nil {
		return err
	}
	if err := b.store(ctx, folder, config, address, grants); err != nil {
		return err
	}
	before, err := b.admin.Summary(ctx)
	if err != nil {
		return err
	}
	service := rig.Command{Name: "refreshd", Path: b.bin.refreshd, Tail: tail, Args: []string{"serve", "--config", config}}
	if b.profile != "" {
		file := filepath.Join(b.profile, fmt.Sprintf("refreshd-%02d.pprof", b.runs))
		service = rig.Command{Name: "profiled", Path: b.bin.profiled, Tail: tail, Args: []string{"--config", config, "--profile", file}}
	}
	p, err := rig.Start(ctx, folder, service)
	if err != nil {
		return err
	}
	defer p.End()
	return b.rotations(ctx, p, before)
}

// store puts all grants through refreshd's API.
func (b *bench) store(ctx context.Context, folder, config, address string, grants []practice.Minted) error {
	p, err := rig.Start(ctx, folder, rig.Command{Name: "refreshd-api", Path: b.bin.refreshd, Tail: tail, Args: []string{"serve", "--config", config, "--roles", "api"}})
	if err != nil {
		return err
	}
	defer p.End()
	c := newAPI(address)
	defer c.close()
	if err := p.Until(ctx, patience("ready", 30*time.Second), c.ready); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(folder, "data", "admin.key")) //nolint:gosec // a file of ours
	if err != nil {
		return err
	}
	c.key = strings.TrimSpace(string(key))
	return c.putAll(ctx, grants, time.Now().Add(-time.Minute))
}
