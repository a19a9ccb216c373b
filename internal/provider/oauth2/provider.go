package oauth2

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/wire"
)

// Provider is one authorization server, spoken to as one client. It is safe
// for concurrent use.
type Provider struct {
	name      string
	auth      credential.Secret   // what client authentication adds to a form
	header    func() http.Header  // the same one each time; a function, for it is secret and nothing prints it
	secrets   []credential.Secret // that are sent with every call
	matchers  []provider.Matcher
	fixed     endpoints  // from the settings; they win over discovered ones
	discovery *discovery // nil without an issuer
	wire      *wire.Client
	log       zerolog.Logger
}

// endpoints are the URLs that calls go to, nil where not known.
type endpoints struct{ token, revoke *url.URL }

// New returns a provider. It sends nothing; [Provider.Prepare] does. Every error
// wraps [provider.ErrSettings]; one about a key is a
// [provider.SettingErrors].
func New(o Options) (*Provider, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	issuer, err := o.issuer()
	if err != nil {
		return nil, err
	}
	var fixed endpoints
	if fixed.token, err = o.endpoint("token_url", o.TokenURL); err != nil {
		return nil, err
	}
	if fixed.revoke, err = o.endpoint("revoke_url", o.RevokeURL); err != nil {
		return nil, err
	}
	log := o.Log.With().Str("provider", o.Name).Logger()
	client, err := wire.New(wire.Options{
		Provider: o.Name, Timeout: o.Timeout, Proxy: o.Proxy, CAFile: o.CAFile, MaxConns: o.MaxConns,
		Crowded: provider.WarnCrowded(log),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", provider.ErrSettings, err)
	}
	header := o.header()
	p := &Provider{
		name:     o.Name,
		auth:     credential.NewSecret(o.credentials()),
		header:   func() http.Header { return header },
		matchers: o.Matchers,
		fixed:    fixed,
		wire:     client,
		log:      log,
	}
	if !o.ClientSecret.IsZero() {
		p.secrets = []credential.Secret{o.ClientSecret}
	}
	if issuer != nil {
		d := document{issuer: issuer, options: o, wire: client, log: p.log}
		p.discovery = &discovery{fetch: d.fetch, log: p.log}
	}
	return p, nil
}

// Name returns the provider's name.
func (p *Provider) Name() string { return p.name }

// Close closes the connections that no call uses. Calls that have begun run to
// their end.
func (p *Provider) Close() { p.wire.Close() }

// Retire is for a provider that another one takes the place of: whoever has it in
// hand still calls with it, and its connections are closed as soon as no call uses
// them.
func (p *Provider) Retire() { p.wire.Retire() }

// Prepare does what can fail before anything is sent to the token endpoint: it
// finds out where that is. Where the settings say so it does nothing. What was
// discovered is kept for an hour, and beyond that as long as discovery fails;
// of several callers one discovers. The error is a [*provider.CallError] of
// ClassNotSent or ClassOperator.
func (p *Provider) Prepare(ctx context.Context) error {
	if p.fixed.token != nil {
		return nil
	}
	_, err := p.discovery.get(ctx)
	if err != nil {
		return p.callError("discovery", err)
	}
	return nil
}

// tokenURL returns the token endpoint, nil if it is still to be discovered.
func (p *Provider) tokenURL() *url.URL {
	if p.fixed.token != nil {
		return p.fixed.token
	}
	return p.discovery.last().token
}

// revokeURL returns the revocation endpoint.
func (p *Provider) revokeURL(ctx context.Context) (*url.URL, error) {
	if p.fixed.revoke != nil {
		return p.fixed.revoke, nil
	}
	if p.discovery == nil {
		return nil, fmt.Errorf("provider %s: %w", p.name, provider.ErrNoRevocation)
	}
	found, err := p.discovery.get(ctx)
	if err != nil {
		return nil, p.callError("discovery", err)
	}
	if found.revoke == nil {
		return nil, fmt.Errorf("provider %s: %w", p.name, provider.ErrNoRevocation)
	}
	return found.revoke, nil
}

// suspect has the endpoints discovered again if what came of a call hints that
// they have moved.
func (p *Provider) suspect(o credential.Outcome) {
	if p.discovery != nil && (o.Class == credential.ClassOperator || o.Class == credential.ClassNotSent) {
		p.discovery.suspect()
	}
}

func (p *Provider) callError(op string, f *failed) error {
	return &provider.CallError{Provider: p.name, Op: op, Outcome: f.outcome, Err: f.err}
}

// failed is a call that brought nothing, on its way into an error.
type failed struct {
	outcome credential.Outcome
	err     error // safe to show; nil if the outcome says all
}
