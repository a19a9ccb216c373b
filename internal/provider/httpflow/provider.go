package httpflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/wire"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// Provider is one backend, spoken to as it is declared. It is safe for
// concurrent use.
type Provider struct {
	name  string
	calls calls
	wire  *wire.Client
}

// Check reports what is wrong with the settings, all of it, without opening or
// reading anything. Its error is a [provider.SettingErrors].
func Check(o Options) error {
	_, err := build(o)
	return err
}

// New returns a provider. It sends nothing. Its errors are those of [Check], and
// one that wraps [provider.ErrSettings] for what is wrong with the connection.
func New(o Options) (*Provider, error) {
	all, err := build(o)
	if err != nil {
		return nil, err
	}
	client, err := wire.New(wire.Options{
		Provider: o.Name, Timeout: o.Timeout, Proxy: o.Proxy, CAFile: o.CAFile, MaxConns: o.MaxConns,
		Crowded: provider.WarnCrowded(o.Log.With().Str("provider", o.Name).Logger()),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", provider.ErrSettings, err)
	}
	return &Provider{name: o.Name, calls: all, wire: client}, nil
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

// Prepare does nothing: all that a declared call needs is in its declaration.
func (*Provider) Prepare(context.Context) error { return nil }

// Exchange makes the call of the presentation's method once and returns what
// came of it.
//
// MaySend is asked where what it allows goes to the kernel: below TLS.
//
// As soon as the reply has been read, in whole or as far as it came, Keep is
// called with the tokens that stand in the declared places, whatever the rest of
// the reply is like, at most once, and not if there was none. Should it fail the
// outcome carries the token all the same. What counts as a token depends on the
// place: servers set a cookie for an anonymous session with any reply, so a
// header or a cookie counts only with a success; and nothing that a refusal, or
// a declared failure that ends the login, holds is a token of the user.
//
// ctx can call the exchange off until there is a connection to send it on. From
// then on it runs to its end.
func (p *Provider) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	c := p.calls.of(in.Method)
	if c == nil {
		return credential.Outcome{
			Method: in.Method, Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured,
			Detail: "the settings declare no such call",
		}
	}
	get := valuesOf(in.Token, in.Subject)
	if in.Method == credential.MethodLogin {
		get = valuesOfSignIn(in.SignIn, in.Subject)
	}
	out := p.make(ctx, c, get, in.Start, in.MaySend, in.Keep)
	out.Method = in.Method
	return out
}

// of returns the call that a method makes, nil if it is not declared.
func (all calls) of(m credential.Method) *call {
	switch m {
	case credential.MethodLogin:
		return all.login
	case credential.MethodRefresh:
		return all.refresh
	case credential.MethodExtend:
		return all.extend
	case credential.MethodNone:
	}
	return nil
}

// Revoke logs the token out. That it is no session any more, by whatever sign,
// is no error. The error is [provider.ErrNoRevocation] if no such call is
// declared, else a [*provider.CallError]; it can be called again after any of
// them.
func (p *Provider) Revoke(ctx context.Context, token credential.Token) error {
	if p.calls.logout == nil {
		return fmt.Errorf("provider %s: %w", p.name, provider.ErrNoRevocation)
	}
	out := p.make(ctx, p.calls.logout, valuesOf(token, ""), nil, nil, nil)
	if out.Class == credential.ClassOK || out.Class == credential.ClassPermanent && out.Reason == credential.ReasonSessionEnded {
		return nil
	}
	return &provider.CallError{Provider: p.name, Op: string(kindLogout), Outcome: out}
}

// UserData asks who the user is. Without such a call the outcome is of ClassOK,
// and nothing was asked. Where the reply replaced the session's ID, the outcome
// has the new one as its token. start, which may be nil, is asked before the
// request is written; after an error nothing is sent.
func (p *Provider) UserData(ctx context.Context, token credential.Token, subject string, start func() error) (credential.UserData, credential.Outcome) {
	if p.calls.userData == nil {
		return nil, credential.Outcome{Class: credential.ClassOK}
	}
	out := p.make(ctx, p.calls.userData, valuesOf(token, subject), start, nil, nil)
	return out.UserData, out
}

// Verify asks whether the token is still taken. One that is not is of
// ClassPermanent. Without such a call the outcome is of ClassOK, and nothing was
// asked. Where the reply replaced the session's ID, the outcome has the new one
// as its token. start, which may be nil, is asked before the request is written;
// after an error nothing is sent.
func (p *Provider) Verify(ctx context.Context, token credential.Token, subject string, start func() error) credential.Outcome {
	if p.calls.verify == nil {
		return credential.Outcome{Class: credential.ClassOK}
	}
	return p.make(ctx, p.calls.verify, valuesOf(token, subject), start, nil, nil)
}

func valuesOf(token credential.Token, subject string) values {
	return func(f reqtemplate.Field) string {
		switch f {
		case reqtemplate.AccessToken:
			return token.Access.Reveal()
		case reqtemplate.RefreshToken:
			return token.Refresh.Reveal()
		case reqtemplate.Subject:
			return subject
		case reqtemplate.Username, reqtemplate.Password:
		}
		return ""
	}
}

func valuesOfSignIn(in credential.SignIn, subject string) values {
	return func(f reqtemplate.Field) string {
		switch f {
		case reqtemplate.Username:
			return in.Username.Reveal()
		case reqtemplate.Password:
			return in.Password.Reveal()
		case reqtemplate.Subject:
			return subject
		case reqtemplate.AccessToken, reqtemplate.RefreshToken:
		}
		return ""
	}
}

// make makes a call. start, maySend and keep may be nil.
func (p *Provider) make(ctx context.Context, c *call, get values, start, maySend func() error, keep func(credential.Found) error) credential.Outcome {
	request, err := c.request.render(get)
	if err != nil {
		return c.unmade(err)
	}
	request.Start, request.MaySend = start, maySend
	// A question that changes nothing may be given up at any time.
	request.Safe = request.Method == http.MethodGet && (c.kind == kindVerify || c.kind == kindUserData)
	in, err := p.wire.Do(ctx, request)
	if err != nil {
		if e, ok := errors.AsType[*wire.Error](err); ok {
			return e.Outcome
		}
		// Do has no other errors. Were there one, nothing would be known of it.
		return credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonNetwork}
	}
	defer in.Release()
	r := read(in, request.URL, time.Now())
	return c.judge(&r, keep)
}

// unmade is the outcome of a request that could not be made, of which nothing
// was sent: the provider has called nothing dead. Only a name or a password that
// does not fit ends what it belongs to, for no login with it will ever be asked. A
// token that does not fit waits for settings that send it elsewhere: what they have
// wrong must not log its user out.
func (c *call) unmade(err error) credential.Outcome {
	out := credential.Outcome{
		Class: credential.ClassNotSent, Reason: credential.ReasonInvalidRequest, Detail: err.Error() + "; nothing was sent",
	}
	if _, unfit := errors.AsType[*unfitError](err); unfit && c.kind == kindLogin {
		out.Class, out.Reason = credential.ClassPermanent, c.deadReason()
	}
	return out
}

// judge says what a reply means, and has its tokens kept.
func (c *call) judge(r *reply, keep func(credential.Found) error) credential.Outcome {
	fields := provider.Parse(r.body, r.cut != nil)
	found := r.found(c.places, fields.Whole)
	v := c.declared(r, fields)
	found = c.issued(r, found, v, true)
	if !v.decided() {
		v = c.failed(r, fields, !found.Token.Access.IsZero())
		found = c.issued(r, found, v, false)
	}
	if keep != nil && !found.IsZero() {
		_ = keep(found) // whoever keeps it knows; the outcome has the token
	}
	if !v.decided() {
		v = c.incomplete(r, found)
	}
	out := credential.Outcome{Class: v.class, Reason: v.reason, Token: found.Token}
	if !found.Token.Access.IsZero() {
		out.ExpiresIn = r.lasts(c.places)
		out.ExpiresAt = credential.JWTExpiry(found.Token.Access)
	}
	if !v.decided() || !found.Token.Refresh.IsZero() {
		out.RefreshExpiresIn = r.refreshLasts(c.places, found.Token.Refresh)
	}
	if !v.decided() {
		out.Class = credential.ClassOK
		c.tell(r, &out)
	} else {
		out.RetryAfter = provider.RetryAfter(r.header, r.now)
		if v.class == credential.ClassAmbiguous && r.cut != nil {
			out.Reason = r.cut.Outcome.Reason
		}
		if v.reason == credential.ReasonMalformedReply && c.mustIssue && found.Token.Access.IsZero() {
			out.Missing = []credential.Absence{r.absentToken(named{"access_token", c.places.AccessToken})}
		}
	}
	out.Detail = detail(r, v, out)
	return out
}

// issued returns what of the found tokens the reply can have issued, given the
// verdict on it, which may be none.
func (c *call) issued(r *reply, found credential.Found, v verdict, declared bool) credential.Found {
	if !v.decided() {
		return found
	}
	counts := func(p Place) bool {
		switch {
		case c.kind != kindLogin && c.kind != kindRefresh:
			return false
		case v.class == credential.ClassPermanent:
			return c.kind == kindRefresh && p.JSON != "" && !declared
		}
		return p.JSON != "" || r.ok()
	}
	if !counts(c.places.AccessToken) {
		found.Token.Access = credential.Secret{}
	}
	if !counts(c.places.RefreshToken) {
		found.Token.Refresh = credential.Secret{}
	}
	return found
}

// incomplete is the verdict on a success of which a part that matters may be
// missing; none if nothing is.
func (c *call) incomplete(r *reply, found credential.Found) verdict {
	switch {
	case !found.Complete && c.mustIssue:
		return malformed("refresh_token (" + c.places.RefreshToken.String() + ") may be missing")
	case r.cut != nil && !c.mustIssue && c.mayHide(r, found):
		return malformed("")
	}
	return verdict{}
}

// mayHide reports whether what is not there of a body can change what a reply
// without a required token means. Of one that is too long that is what the settings
// look for in it: the backend's status and headers say that the call worked, however
// long the page is that comes with them.
func (c *call) mayHide(r *reply, found credential.Found) bool {
	if r.tooLong() {
		return c.readsBody || c.request.graphQL || !found.Complete
	}
	return c.readsBody || c.wantsJSON || r.html
}

// tell takes out of a success what it tells beside the tokens, and notes which
// declared places were empty.
func (c *call) tell(r *reply, out *credential.Outcome) {
	out.Subject = r.subject(c.places.Subject)
	if !c.places.UserData.IsZero() {
		data, why := r.userData(c.places.UserData)
		out.UserData = data
		if why != "" {
			out.Missing = append(out.Missing, r.absent(named{"user_data", c.places.UserData}, why))
			if c.kind == kindUserData {
				out.Class, out.Reason = credential.ClassAmbiguous, credential.ReasonMalformedReply
			}
		}
	}
	for _, n := range c.places.list() {
		if n.place.IsZero() || n.name == "user_data" || n.name == "access_token" {
			continue
		}
		if n.name == "refresh_token" {
			if out.Token.Refresh.IsZero() {
				out.Missing = append(out.Missing, r.absentToken(n))
			}
			continue
		}
		if n.expires() {
			if r.expiry(n.place) == 0 {
				out.Missing = append(out.Missing, r.absentExpiry(n))
			}
			continue
		}
		if _, ok := r.text(n.place); !ok {
			out.Missing = append(out.Missing, r.absent(n, notFound))
		}
	}
}

// detail describes a reply for people: its status, what came of it in fixed
// words, and which places of the settings were empty. It holds nothing that was
// received.
func detail(r *reply, v verdict, out credential.Outcome) string {
	parts := []string{"HTTP " + strconv.Itoa(r.status)}
	if v.why != "" {
		parts = append(parts, v.why)
	}
	if r.cut != nil {
		why := "cut off: " + r.cut.Outcome.Detail
		if r.tooLong() && out.Reason == credential.ReasonMalformedReply {
			why += "; give the request another path, with a shorter reply"
		}
		parts = append(parts, why)
	}
	for _, a := range out.Missing {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, ", ")
}
