package providercheck

import (
	"context"
	"net/netip"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Provider is the provider that is looked at, as the service would speak to it.
type Provider interface {
	// Prepare does what can fail before anything is sent, such as discovery.
	// A non-nil outcome means that an exchange is not possible.
	Prepare(ctx context.Context) *credential.Outcome
	// Exchange presents what it is given, once.
	Exchange(ctx context.Context, in credential.Presentation) credential.Outcome
	// Revoke ends what a token stands for. What it answers has no secret.
	Revoke(ctx context.Context, token credential.Token) error
	UserData(ctx context.Context, token credential.Token, subject string, start func() error) (credential.UserData, credential.Outcome)
	Verify(ctx context.Context, token credential.Token, subject string, start func() error) credential.Outcome
}

// Calls says which calls the settings declare.
type Calls struct{ Login, Refresh, Extend, Verify, UserData, Logout bool }

// Places says what the settings expect of the reply to a login.
type Places struct{ RefreshToken, Expiry, Subject, UserData bool }

// Endpoint is an address in the settings.
type Endpoint struct {
	Key string // as the settings call it
	URL string // may hold templates behind its host
}

// Options say what to look at.
type Options struct {
	Provider  Provider
	Endpoints []Endpoint
	Issuer    bool // endpoints are discovered
	Client    bool // the provider knows this service as a client (RFC 6749), which refresh tokens are issued to
	Calls     Calls
	Places    Places
	Rotates   bool          // every refresh brings a new refresh token
	Session   bool          // the token is a sliding session
	Lifetime  time.Duration // assumed where a reply tells none; 0: an hour

	// SignIn is a test login, which is made and ended again; zero for none.
	SignIn credential.SignIn

	Proxy     credential.Secret // http or https URL
	CAFile    string
	Timeout   time.Duration              // of one look at an address
	Forbidden func(addr netip.Addr) bool // addresses that must not be dialled
	Now       func() time.Time
}

// Run looks at everything, and tells what it found in that order.
func Run(ctx context.Context, o Options) []Finding {
	r := &run{Options: o}
	if !r.reach(ctx) {
		r.add(CheckClient, Skipped, "nothing was asked of the provider, for it cannot be reached", "")
		return r.found
	}
	if !r.prepare(ctx) {
		return r.found
	}
	if o.Client {
		r.client(ctx)
	}
	r.signIn(ctx)
	return r.found
}

// run is one look at a provider.
type run struct {
	Options

	found []Finding
}

func (r *run) add(check Check, severity Severity, what, remedy string) {
	r.found = append(r.found, Finding{Check: check, Severity: severity, What: what, Remedy: remedy})
}

func (r *run) addAll(list []Finding) { r.found = append(r.found, list...) }

// prepare has the provider find its endpoints out.
func (r *run) prepare(ctx context.Context) bool {
	o := r.Provider.Prepare(ctx)
	switch {
	case o != nil:
		what, remedy := discoveryAdvice(*o)
		r.add(CheckDiscovery, Fail, what, remedy)
	case r.Issuer:
		r.add(CheckDiscovery, OK, "the issuer announces its endpoints", "")
	}
	return o == nil
}

// madeUp is a refresh token that nobody has issued.
const madeUp = "refreshd-provider-check.made-up"

// client presents a refresh token that nobody has issued: how it is refused
// tells whether the client is accepted (RFC 6749 section 5.2).
func (r *run) client(ctx context.Context) {
	o := r.exchange(ctx, credential.Presentation{Method: credential.MethodRefresh, Token: credential.Token{Refresh: credential.NewSecret(madeUp)}})
	severity, what, remedy := clientAdvice(o)
	r.add(CheckClient, severity, what, remedy)
}

// exchange makes a call of which nothing is kept.
func (r *run) exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	in.MaySend = func() error { return nil }
	in.Keep = func(credential.Found) error { return nil }
	return r.Provider.Exchange(ctx, in)
}
