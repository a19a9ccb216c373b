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
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/httpflow"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/refresh"
)

// warnBefore is how long before the end of a refresh token's life it is
// announced.
const warnBefore = 7 * 24 * time.Hour

// connsPerProvider bounds the connections to a provider without a limit of its
// own.
const connsPerProvider = 256

// backend is a provider of either kind as the engine expects it.
type backend interface {
	refresh.Exchanger
	CheckLogin(in credential.Login) error
	Retire()
	Close()
}

// authorizationServer makes a provider of package oauth2 what the engine
// expects. What RFC 6749 has no call for is declared, as it is for a backend of
// one's own.
type authorizationServer struct {
	provider *oauth2.Provider
	declared *httpflow.Provider // nil where nothing is
}

// Prepare turns a failed preparation into an outcome: nothing was sent, or the
// operator has to mend the settings.
func (s authorizationServer) Prepare(ctx context.Context) *credential.Outcome {
	err := s.provider.Prepare(ctx)
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
func (s authorizationServer) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	return s.provider.Exchange(ctx, in, "")
}

// Revoke ends the refresh token, and with it what was issued for it (RFC 7009
// section 2.1); the access token where there is no other.
func (s authorizationServer) Revoke(ctx context.Context, token credential.Token) error {
	victim := token.Refresh
	if victim.IsZero() {
		victim = token.Access
	}
	return s.provider.Revoke(ctx, victim, "")
}

func (s authorizationServer) UserData(ctx context.Context, token credential.Token, subject string, start func() error) (credential.UserData, credential.Outcome) {
	if s.declared == nil {
		return nil, credential.Outcome{Class: credential.ClassOK}
	}
	return s.declared.UserData(ctx, token, subject, start)
}

func (s authorizationServer) Verify(ctx context.Context, token credential.Token, subject string, start func() error) credential.Outcome {
	if s.declared == nil {
		return credential.Outcome{Class: credential.ClassOK}
	}
	return s.declared.Verify(ctx, token, subject, start)
}

// CheckLogin takes every login: a refresh needs the refresh token alone (RFC 6749
// section 6).
func (authorizationServer) CheckLogin(credential.Login) error { return nil }

func (s authorizationServer) Retire() {
	s.provider.Retire()
	if s.declared != nil {
		s.declared.Retire()
	}
}

func (s authorizationServer) Close() {
	s.provider.Close()
	if s.declared != nil {
		s.declared.Close()
	}
}

// ownBackend makes a provider of package httpflow what the engine expects.
type ownBackend struct{ *httpflow.Provider }

// Prepare has nothing to do: all that is called is declared.
func (ownBackend) Prepare(context.Context) *credential.Outcome { return nil }

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
	backend  backend
}

// build returns the engine's targets, and a function that must be told whether
// they were taken over: it retires the providers that were replaced, or else closes
// those that were made. Nothing is changed if build fails.
func (ps *providers) build(conf *config.Config) (targets []refresh.Target, settle func(taken bool), err error) {
	next := make(map[string]builtProvider, len(conf.Providers))
	var fresh []backend
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
			b, err := ps.open(name, set)
			if err != nil {
				return nil, nil, fmt.Errorf("providers.%s: %w", name, err)
			}
			fresh = append(fresh, b)
			one = builtProvider{settings: settings, backend: b}
		}
		next[name] = one
		targets = append(targets, refresh.Target{
			Name: name, Policy: policy(conf, set), Exchanger: one.backend, Settings: settings,
			Limits: refresh.Limits{Concurrency: set.Limits.Concurrency, PerSecond: set.Limits.PerSecond},
			Verify: set.Verify.Declared(), LogsOut: set.Logout.Declared(), CheckLogin: one.backend.CheckLogin,
		})
	}
	return targets, func(taken bool) {
		if !taken {
			closeAll(fresh)
			return
		}
		for name, old := range ps.built {
			if next[name].backend != old.backend {
				old.backend.Retire() // who waits for a permit has looked it up already
			}
		}
		ps.built = next
	}, nil
}

// LoadConfig reads the configuration as [config.Load] does, and refuses with it
// what no provider can be built of. It builds them as the service does, so that
// nothing is valid here that a start or a reload refuses.
func LoadConfig(path string, env []string) (*config.Config, error) {
	ps := &providers{log: zerolog.Nop()}
	return config.Load(path, env, func(name string, set config.Provider) []config.Problem {
		built, err := ps.open(name, set)
		if err != nil {
			return problemsOf(err)
		}
		built.Close()
		return nil
	})
}

// problemsOf lists what an error of [providers.open] says of settings.
func problemsOf(err error) []config.Problem {
	wrong, ok := errors.AsType[provider.SettingErrors](err)
	if !ok {
		return []config.Problem{{Text: err.Error()}}
	}
	list := make([]config.Problem, len(wrong))
	for i, one := range wrong {
		list[i] = config.Problem{Key: one.Key, Text: one.Err.Error()}
	}
	return list
}

func (ps *providers) open(name string, set config.Provider) (backend, error) {
	matchers := make([]provider.Matcher, len(set.Errors))
	for i, rule := range set.Errors {
		matchers[i] = provider.Matcher{Status: rule.Status, Error: rule.Error, Description: rule.Description, Class: classOf(rule.Class)}
	}
	conns := set.Limits.Concurrency
	if conns == 0 {
		conns = connsPerProvider
	}
	if set.Kind == "http" {
		declared, err := httpflow.New(ps.declared(name, set, matchers, conns))
		if err != nil {
			return nil, err
		}
		return ownBackend{declared}, nil
	}
	server, err := oauth2.New(oauth2.Options{
		Name: name, Issuer: set.Issuer, TokenURL: set.TokenURL, RevokeURL: set.RevokeURL,
		ClientID: set.ClientID, ClientSecret: set.ClientSecret, ClientAuth: oauth2.ClientAuth(set.ClientAuth),
		Timeout: set.Timeout, Matchers: matchers, Proxy: set.HTTP.Proxy.Reveal(), CAFile: set.HTTP.CAFile,
		MaxConns: conns, Version: ps.version, Log: ps.log,
	})
	if err != nil {
		return nil, err
	}
	if !set.UserData.Declared() && !set.Verify.Declared() {
		return authorizationServer{provider: server}, nil
	}
	declared, err := httpflow.New(ps.declared(name, set, matchers, conns))
	if err != nil {
		server.Close()
		return nil, err
	}
	return authorizationServer{provider: server, declared: declared}, nil
}

// classOf returns the class of a rule. Transient is the operator's promise that
// nothing was processed.
func classOf(class credential.Class) credential.Class {
	if class == credential.ClassTransient {
		return credential.ClassNotProcessed
	}
	return class
}

// declared returns what a provider's settings declare of calls.
func (ps *providers) declared(name string, set config.Provider, matchers []provider.Matcher, conns int) httpflow.Options {
	o := httpflow.Options{
		Name: name, Verify: callOf(set.Verify), UserData: callOf(set.UserData), Matchers: matchers,
		Timeout: set.Timeout, Proxy: set.HTTP.Proxy.Reveal(), CAFile: set.HTTP.CAFile, MaxConns: conns, Version: ps.version, Log: ps.log,
	}
	if set.Kind == "http" {
		o.Login, o.Refresh, o.Logout, o.Extend = callOf(set.Login), callOf(set.Refresh), callOf(set.Logout), callOf(set.Session.Extend)
		o.Failures = failuresOf(set.Session.LoggedOutWhen)
		o.Send = sendOf(set)
	}
	return o
}

// sendOf tells how a provider's token travels.
func sendOf(set config.Provider) httpflow.Send {
	switch {
	case set.Send.Header != "":
		return httpflow.Send{As: httpflow.AsHeader, Name: set.Send.Header}
	case set.Send.Cookie != "":
		return httpflow.Send{As: httpflow.AsCookie, Name: set.Send.Cookie}
	default:
		return httpflow.Send{As: httpflow.AsBearer}
	}
}

func callOf(c config.HTTPCall) *httpflow.Call {
	if !c.Declared() {
		return nil
	}
	r, places := c.Request, c.Response
	call := &httpflow.Call{
		Request: httpflow.Request{
			Method: r.Method, URL: r.URL, Query: plain(r.Query), Headers: plain(r.Headers), Form: plain(r.Form), JSON: r.JSON,
		},
		Response: httpflow.Response{
			AccessToken: placeOf(places.AccessToken), RefreshToken: placeOf(places.RefreshToken),
			ExpiresIn: expiryOf(places.ExpiresIn), ExpiresAt: expiryOf(places.ExpiresAt),
			RefreshExpiresIn: expiryOf(places.RefreshExpiresIn), RefreshExpiresAt: expiryOf(places.RefreshExpiresAt),
			Subject: placeOf(places.Subject), UserData: placeOf(places.UserData),
			TokenType: placeOf(places.TokenType), Scope: placeOf(places.Scope),
		},
		Failures: failuresOf(c.FailedWhen),
	}
	if r.GraphQL.Query != "" {
		call.Request.GraphQL = &httpflow.GraphQL{Query: r.GraphQL.Query, Variables: r.GraphQL.Variables, OperationName: r.GraphQL.OperationName}
	}
	return call
}

// plain returns the texts of templates, which may hold secrets.
func plain(texts map[string]credential.Secret) map[string]string {
	if texts == nil {
		return nil
	}
	list := make(map[string]string, len(texts))
	for name, text := range texts {
		list[name] = text.Reveal()
	}
	return list
}

func placeOf(p config.Place) httpflow.Place {
	return httpflow.Place{JSON: p.JSON, Header: p.Header, Cookie: p.Cookie}
}

func expiryOf(e config.Expiry) httpflow.Place {
	place := placeOf(e.Place())
	place.Unit = httpflow.Unit(e.Unit)
	return place
}

func failuresOf(list []config.Failure) []httpflow.Failure {
	failures := make([]httpflow.Failure, len(list))
	for i, f := range list {
		failures[i] = httpflow.Failure{
			StatusFrom: f.Status.From, StatusTo: f.Status.To, Redirect: f.Redirect.Any || f.Redirect.Location != "", Location: f.Redirect.Location,
			JSON: f.JSON, Equals: string(f.Equals), BodyContains: f.BodyContains, Class: classOf(f.Class), Reason: f.Reason,
		}
	}
	return failures
}

func closeAll(list []backend) {
	for _, b := range list {
		b.Close()
	}
}

// close closes every connection.
func (ps *providers) close() {
	for _, one := range ps.built {
		one.backend.Close()
	}
	ps.built = nil
}

// fingerprint identifies a client's settings without showing them: whether a
// secret was changed must be seen, what it is must not. The content of a CA file
// counts, for it is renewed in its place.
func fingerprint(set config.Provider) string {
	shown := []string{fmt.Sprintf("%+v", set)} // secrets print as <secret>
	for _, secret := range set.Secrets() {
		shown = append(shown, secret.Reveal())
	}
	var authorities []byte
	if set.HTTP.CAFile != "" {
		authorities, _ = os.ReadFile(set.HTTP.CAFile) // whoever opens the provider tells what is wrong with it
	}
	sum := sha256.Sum256([]byte(strings.Join(append(shown, string(authorities)), "\x00")))
	return hex.EncodeToString(sum[:])
}

func policy(conf *config.Config, set config.Provider) credential.Policy {
	var sessions credential.SessionPolicy
	if set.Session.IdleTimeout > 0 {
		sessions = credential.SessionPolicy{
			Idle: set.Session.IdleTimeout, Absolute: set.Session.AbsoluteTimeout, Extend: set.Session.Extend.Declared(),
			WarnBefore: set.Session.WarnBefore, OnActive: set.Session.OnActive, OnDeath: set.Session.OnDeath,
		}
	}
	return credential.Policy{
		RefreshAt: conf.Schedule.RefreshAt, Jitter: conf.Schedule.Jitter, MinInterval: conf.Schedule.MinInterval,
		DefaultLifetime: set.DefaultLifetime,
		Rotates:         set.Rotation.Rotates, Grace: set.Rotation.Grace,
		RefreshIdle: set.RefreshToken.Idle, RefreshAbsolute: set.RefreshToken.Absolute, WarnBefore: warnBefore,
		CanLogin: set.Login.Declared(), NoRefresh: set.Kind == "http" && !set.Refresh.Declared(), AsksUserData: set.UserData.Declared(),
		Sessions: sessions,
		Times:    conf.Recovery.Times(set.Timeout),
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
