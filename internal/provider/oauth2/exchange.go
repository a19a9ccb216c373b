package oauth2

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/wire"
)

// Exchange presents the refresh token once (RFC 6749 section 6) and returns
// what came of it. scope is sent if it is not empty; it can only narrow what
// was granted.
//
// MaySend is asked where what it allows goes to the kernel: below TLS.
//
// As soon as the reply has been read, in whole or as far as it came, Keep is
// called with what tokens were found in it, before anything else is looked at
// and whatever the reply's status. It is called at most once, and not if there
// was no token. Should it fail the outcome carries the token all the same.
//
// ctx can call the exchange off until there is a connection to send it on.
// From then on it runs to its end.
func (p *Provider) Exchange(ctx context.Context, in credential.Presentation, scope string) credential.Outcome {
	to := p.tokenURL()
	if to == nil {
		return notSent("the token endpoint is not known yet")
	}
	if in.Token.Refresh.IsZero() {
		return notSent("there is no refresh token")
	}
	reply, err := p.post(ctx, to, p.refreshForm(in.Token.Refresh, scope), in.Start, in.MaySend, handing(in.Hand))
	if err != nil {
		p.suspect(err.outcome)
		return err.outcome
	}
	defer reply.Release()
	fields := provider.Parse(reply.Body, reply.Cut != nil)
	if !fields.Found.IsZero() {
		_ = in.Keep(fields.Found) // whoever keeps it knows; the outcome has the token
	}
	out := p.classify(reply, fields, in.Token.Refresh)
	p.suspect(out)
	return out
}

// notSent is the outcome of an exchange that was not begun.
func notSent(why string) credential.Outcome {
	return credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonUnavailable, Detail: why}
}

// refreshForm returns the body of a refresh request.
func (p *Provider) refreshForm(refresh credential.Secret, scope string) string {
	form := "grant_type=refresh_token&refresh_token=" + url.QueryEscape(refresh.Reveal()) + p.auth.Reveal()
	if scope != "" {
		form += "&scope=" + url.QueryEscape(scope)
	}
	return form
}

// handing returns what hands on the token in a reply, for whoever reads it; nil
// if nobody wants it.
func handing(hand func(credential.Found)) func(body []byte) {
	if hand == nil {
		return nil
	}
	return func(body []byte) {
		if found := provider.Parse(body, false).Found; !found.IsZero() {
			hand(found)
		}
	}
}

// post sends a form. start, maySend and came, which see in [wire.Request], may be nil.
func (p *Provider) post(ctx context.Context, to *url.URL, form string, start, maySend func() error, came func([]byte)) (*wire.Reply, *failed) {
	reply, err := p.wire.Do(ctx, wire.Request{Method: http.MethodPost, URL: to, Header: p.header(), Body: form, Start: start, MaySend: maySend, Came: came})
	if err != nil {
		return nil, wireFailure(err)
	}
	return reply, nil
}

// wireFailure turns a call without a reply into what the rest works with. The
// detail of the outcome says all that may be shown of err.
func wireFailure(err error) *failed {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return &failed{outcome: e.Outcome}
	}
	// Do has no other errors. Were there one, nothing would be known of it.
	return &failed{outcome: credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonNetwork}}
}

// classify says what the reply means, and where it broke off, how.
func (p *Provider) classify(reply *wire.Reply, fields provider.Fields, sent credential.Secret) credential.Outcome {
	out := provider.Classify(provider.Reply{
		Status:  reply.Status,
		Header:  reply.Header,
		Fields:  fields,
		Cut:     reply.Cut != nil,
		Secrets: append([]credential.Secret{sent}, p.secrets...),
	}, p.matchers, time.Now())
	if reply.Cut == nil {
		return out
	}
	out.Detail += ", cut off: " + reply.Cut.Outcome.Detail
	if out.Class == credential.ClassAmbiguous {
		out.Reason = reply.Cut.Outcome.Reason
	}
	return out
}
