package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/wire"
	"github.com/refreshd/refreshd/internal/providercheck"
)

// ErrNoProvider says that the configuration has no provider of that name.
var ErrNoProvider = errors.New("the configuration has no such provider")

// ProviderFinding is one thing that was looked at of a provider.
type ProviderFinding = providercheck.Finding

// ProviderFail is the severity of a [ProviderFinding] that does not work.
const ProviderFail = providercheck.Fail

// ProviderCheckOptions say which provider to look at.
type ProviderCheckOptions struct {
	Config  string   // path of the configuration file
	Env     []string // as of os.Environ
	Version string
	Name    string            // of the provider
	SignIn  credential.SignIn // a test login; zero for none
}

// CheckProvider says whether a provider's settings work. It needs no running
// service, opens no store and changes nothing.
//
// Errors: that of the configuration; [ErrNoProvider].
func CheckProvider(ctx context.Context, opts ProviderCheckOptions) ([]ProviderFinding, error) {
	conf, err := LoadConfig(opts.Config, opts.Env)
	if err != nil {
		return nil, err
	}
	set, ok := conf.Providers[opts.Name]
	if !ok {
		known := cmp.Or(strings.Join(slices.Sorted(maps.Keys(conf.Providers)), ", "), "none at all")
		return nil, fmt.Errorf("%w: %q; it has %s; if the name is right, put it there", ErrNoProvider, opts.Name, known)
	}
	ps := &providers{version: opts.Version, log: zerolog.Nop()}
	opened, err := ps.open(opts.Name, set)
	if err != nil { // a file has changed since
		return nil, fmt.Errorf("providers.%s: %w", opts.Name, err)
	}
	defer opened.Close()
	return providercheck.Run(ctx, checkOf(set, opened, opts.SignIn)), nil
}

// checkOf says what there is to look at of a provider.
func checkOf(set config.Provider, opened backend, signIn credential.SignIn) providercheck.Options {
	places := set.Login.Response
	o := providercheck.Options{
		Provider: opened, Issuer: set.Issuer != "" && set.TokenURL == "", Client: set.Kind != "http",
		Calls: providercheck.Calls{
			Login: set.Login.Declared(), Refresh: set.Refresh.Declared(), Extend: set.Session.Extend.Declared(),
			Verify: set.Verify.Declared(), UserData: set.UserData.Declared(), Logout: set.Logout.Declared(),
		},
		Places: providercheck.Places{
			RefreshToken: !places.RefreshToken.IsZero(), Subject: !places.Subject.IsZero(), UserData: !places.UserData.IsZero(),
			Expiry: !places.ExpiresIn.Place().IsZero() || !places.ExpiresAt.Place().IsZero(),
		},
		Rotates: set.Rotation.Rotates == credential.RotatesYes,
		Session: set.Session.IdleTimeout > 0, Lifetime: set.DefaultLifetime, SignIn: signIn,
		Proxy: set.HTTP.Proxy, CAFile: set.HTTP.CAFile, Timeout: set.Timeout, Forbidden: wire.Forbidden, Now: time.Now,
	}
	for _, row := range []providercheck.Endpoint{
		{Key: "issuer", URL: set.Issuer},
		{Key: "token_url", URL: set.TokenURL},
		{Key: "revoke_url", URL: set.RevokeURL},
		{Key: "login", URL: set.Login.Request.URL},
		{Key: "refresh", URL: set.Refresh.Request.URL},
		{Key: "session.extend", URL: set.Session.Extend.Request.URL},
		{Key: "verify", URL: set.Verify.Request.URL},
		{Key: "user_data", URL: set.UserData.Request.URL},
		{Key: "logout", URL: set.Logout.Request.URL},
	} {
		if row.URL != "" {
			o.Endpoints = append(o.Endpoints, row)
		}
	}
	return o
}

// SignIn is a login with that name and password.
func SignIn(username, password string) credential.SignIn {
	return credential.SignIn{Username: credential.NewSecret(username), Password: credential.NewSecret(password)}
}
