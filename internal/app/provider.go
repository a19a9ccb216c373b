package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/refresh"
)

// warnBefore is how long before the end of a refresh token's life it is
// announced.
const warnBefore = 7 * 24 * time.Hour

// connsPerProvider bounds the connections to a provider without a limit of its
// own.
const connsPerProvider = 256

// exchanger makes a provider of package oauth2 what the engine expects.
type exchanger struct{ provider *oauth2.Provider }

// Prepare turns a failed preparation into an outcome: nothing was sent, or the
// operator has to mend the settings.
func (x exchanger) Prepare(ctx context.Context) *credential.Outcome {
	err := x.provider.Prepare(ctx)
	if err == nil {
		return nil
	}
	if carried, ok := errors.AsType[*provider.CallError](err); ok {
		return &carried.Outcome
	}
	return &credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonNetwork, Detail: "discovery"}
}

// Exchange asks for no scope: without one the scope stays what the user
// granted (RFC 6749 section 6), and some providers refuse to be told.
func (x exchanger) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	return x.provider.Exchange(ctx, in, "")
}

func (x exchanger) Revoke(ctx context.Context, token credential.Secret) error {
	return x.provider.Revoke(ctx, token, "")
}

// providers holds what was built from the configured providers. One whose
// settings did not change keeps its connections when the configuration is
// loaded again.
type providers struct {
	version string
	log     zerolog.Logger
	built   map[string]builtProvider
}

type builtProvider struct {
	settings string
	provider *oauth2.Provider
}

// build returns the engine's targets, and a function that must be told whether
// they were taken over: it closes the connections that are not needed any more,
// or else those that were made. Nothing is changed if build fails.
func (ps *providers) build(conf *config.Config) (targets []refresh.Target, settle func(taken bool), err error) {
	next := make(map[string]builtProvider, len(conf.Providers))
	var fresh []*oauth2.Provider
	defer func() {
		if err != nil {
			closeAll(fresh)
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(conf.Providers)) {
		set := conf.Providers[name]
		settings := fingerprint(set)
		one, ok := ps.built[name]
		if !ok || one.settings != settings {
			p, err := ps.open(name, set)
			if err != nil {
				return nil, nil, fmt.Errorf("providers.%s: %w", name, err)
			}
			fresh = append(fresh, p)
			one = builtProvider{settings: settings, provider: p}
		}
		next[name] = one
		targets = append(targets, refresh.Target{
			Name: name, Policy: policy(conf, set), Exchanger: exchanger{one.provider}, Settings: settings,
			Limits: refresh.Limits{Concurrency: set.Limits.Concurrency, PerSecond: set.Limits.PerSecond},
		})
	}
	return targets, func(taken bool) {
		if !taken {
			closeAll(fresh)
			return
		}
		for name, old := range ps.built {
			if next[name].provider != old.provider {
				old.provider.Close()
			}
		}
		ps.built = next
	}, nil
}

func (ps *providers) open(name string, set config.Provider) (*oauth2.Provider, error) {
	matchers := make([]provider.Matcher, len(set.Errors))
	for i, rule := range set.Errors {
		class := rule.Class
		if class == credential.ClassTransient {
			class = credential.ClassNotProcessed
		}
		matchers[i] = provider.Matcher{Status: rule.Status, Error: rule.Error, Description: rule.Description, Class: class}
	}
	conns := set.Limits.Concurrency
	if conns == 0 {
		conns = connsPerProvider
	}
	return oauth2.New(oauth2.Options{
		Name: name, Issuer: set.Issuer, TokenURL: set.TokenURL, RevokeURL: set.RevokeURL,
		ClientID: set.ClientID, ClientSecret: set.ClientSecret, ClientAuth: oauth2.ClientAuth(set.ClientAuth),
		Timeout: set.Timeout, Matchers: matchers, Proxy: set.HTTP.Proxy.Reveal(), CAFile: set.HTTP.CAFile,
		MaxConns: conns, Version: ps.version, Log: ps.log,
	})
}

func closeAll(list []*oauth2.Provider) {
	for _, p := range list {
		p.Close()
	}
}

// close closes every connection.
func (ps *providers) close() {
	for _, one := range ps.built {
		one.provider.Close()
	}
	ps.built = nil
}

// fingerprint identifies a client's settings without showing them: whether a
// secret was changed must be seen, what it is must not. The content of a CA file
// counts, for it is renewed in its place.
func fingerprint(set config.Provider) string {
	shown := fmt.Sprintf("%+v", set) // secrets print as <secret>
	var authorities []byte
	if set.HTTP.CAFile != "" {
		authorities, _ = os.ReadFile(set.HTTP.CAFile) // whoever opens the provider tells what is wrong with it
	}
	sum := sha256.Sum256([]byte(shown + "\x00" + set.ClientSecret.Reveal() + "\x00" + set.HTTP.Proxy.Reveal() + "\x00" + string(authorities)))
	return hex.EncodeToString(sum[:])
}

func policy(conf *config.Config, set config.Provider) credential.Policy {
	return credential.Policy{
		RefreshAt: conf.Schedule.RefreshAt, Jitter: conf.Schedule.Jitter,
		DefaultLifetime: set.DefaultLifetime,
		Rotates:         set.Rotation.Rotates, Grace: set.Rotation.Grace,
		RefreshIdle: set.RefreshToken.Idle, RefreshAbsolute: set.RefreshToken.Absolute, WarnBefore: warnBefore,
		Times: conf.Recovery.Times(set.Timeout),
	}
}

// longestAttempt is how long a drain may have to wait: an exchange that was
// just sent, its commit and a margin.
func longestAttempt(conf *config.Config) time.Duration {
	var timeout time.Duration
	for _, set := range conf.Providers {
		timeout = max(timeout, set.Timeout)
	}
	longest := conf.Recovery.Times(max(timeout, credential.DefaultTimes(0).Exchange))
	return longest.Exchange + longest.Commit + longest.Margin
}
