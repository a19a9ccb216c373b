package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// A Transport is an [http.RoundTripper] that puts a credential's token on each
// request. Make one with [Client.Transport]. It is safe for concurrent use, and
// costs nothing to make.
type Transport struct {
	client   *Client
	usage    *usage
	base     http.RoundTripper
	rejected func(*http.Response) bool
	reauth   func(ctx context.Context, reason string) error
	hosts    []origin
	anywhere bool // no hosts were named
	silent   bool
}

// A TransportOption is a setting of a [Transport].
type TransportOption func(*Transport)

// WithRejection sets what tells that a resource refused the token of a request:
// [RejectREST] unless set, [RejectGraphQL], or a function of the caller's own.
// That one is called for every response, by many goroutines at once. What it
// reads of the body it has to hand on in a new one, and it must not close it.
func WithRejection(rejected func(*http.Response) bool) TransportOption {
	return func(t *Transport) { t.rejected = rejected }
}

// WithReauth sets what is called where only the user can mend the credential.
// It may show a login, and returns when the new token or login was stored (with
// [Client.Put], by a page that refreshd serves, or otherwise): the requests that
// waited are then sent with the new token. They fail with its error if it
// returns one, wrapped beside what made the login necessary.
//
// reason is "reauth_required" or "logged_out", the credential's state;
// "fresh_rejected" where a token was refused that had just replaced another; or
// "not_refreshable" where there is no way to a new token but from the user.
//
// It is called once however many requests need it, on all transports of the
// client for that credential, and they share its outcome. It runs in a goroutine
// of its own. Its ctx has the values of the request that came first, and ends
// when no request waits any more or the client is closed; it has to return then.
// A request that it makes with that ctx does not cause another login.
func WithReauth(reauth func(ctx context.Context, reason string) error) TransportOption {
	return func(t *Transport) { t.reauth = reauth }
}

// WithHosts names the hosts that the token may go to, as "api.example" for the
// scheme's own port or "api.example:8443". Requests to others are sent as they
// are, without it. Name them where URLs come from elsewhere, such as links in
// replies.
//
// Without this option the token goes to whichever host a request is for, but not
// to another that it is redirected to.
func WithHosts(hosts ...string) TransportOption {
	return func(t *Transport) {
		t.anywhere = false
		for _, host := range hosts {
			t.hosts = append(t.hosts, namedOrigin(host))
		}
	}
}

// WithoutTouch keeps requests from being reported as uses of a session. It is
// for those that do not count as one with the backend, such as a health check.
func WithoutTouch() TransportOption {
	return func(t *Transport) { t.silent = true }
}

// Transport returns an [http.RoundTripper] that puts the token of a credential
// on each request, in the way that the provider's configuration says: as a
// bearer, in a header, or in a cookie. It sends them with base, which is
// [http.DefaultTransport] if nil.
//
// Where the resource refuses the token (see [WithRejection]), refreshd is asked
// for another, once for all requests that used the same one, and the request is
// sent a second time if its body can be: if it has none, or a GetBody, which
// [http.NewRequest] sets for the usual readers. No request is sent more than
// twice. Otherwise, and where a refresh cannot help, the response goes to the
// caller as it came. Where refreshd says that only the user can mend it, see
// [WithReauth], or cannot tell, the request fails with the error of
// [Client.Refresh]: a response of the resource would look as if the user had to
// sign in.
//
// The token is not sent to another host, another port or from https to http
// after a redirect, nor does it come back on the way; see also [WithHosts].
// What the caller has put on a request stays, but for what stands in the token's
// place. The Request of each response is the caller's own, so that programs
// which log it do not log the token.
//
// Requests that succeed are reported as uses of the session where the
// credential is one; see [Options.TouchInterval].
func (c *Client) Transport(id string, base http.RoundTripper, opts ...TransportOption) *Transport {
	if base == nil {
		base = http.DefaultTransport
	}
	t := &Transport{client: c, usage: c.usages.of(id), base: base, rejected: RejectREST, anywhere: true}
	for _, opt := range opts {
		opt(t)
	}
	return t
}

// RoundTrip sends a request with the token. Beside those of the base transport,
// its errors are those of [Client.Token].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.mayCarry(req) {
		return t.base.RoundTrip(req)
	}
	ctx := req.Context()
	seen := t.usage.login.ended.Load()
	token, err := t.token(ctx, seen)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	res, err := t.send(req, req.Body, token)
	if err != nil {
		return nil, err
	}
	if !t.rejected(res) {
		t.used(res, token)
		return res, nil
	}
	again := resendable(req)
	fresh, err := t.replacement(ctx, token.Generation, seen, again)
	switch {
	case !again, errors.Is(err, ErrFreshRejected), errors.Is(err, ErrNotRefreshable):
		return res, nil
	case err != nil:
		discard(res)
		return nil, fmt.Errorf("the resource refused the token (status %d): %w", res.StatusCode, err)
	}
	body := req.Body
	if body != nil && body != http.NoBody {
		if body, err = req.GetBody(); err != nil {
			return res, nil //nolint:nilerr // it cannot be sent again after all
		}
	}
	discard(res)
	if res, err = t.send(req, body, fresh); err != nil {
		return nil, err
	}
	if !t.rejected(res) {
		t.used(res, fresh)
	}
	return res, nil
}

// CloseIdleConnections closes those of the base transport, if it has such a
// method; see [http.Client.CloseIdleConnections].
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// send sends a copy of the request with a body and the token.
func (t *Transport) send(req *http.Request, body io.ReadCloser, token *Token) (*http.Response, error) {
	own := req.WithContext(req.Context())
	own.Body = body
	if own.Header = req.Header.Clone(); own.Header == nil {
		own.Header = http.Header{}
	}
	token.Apply(own)
	res, err := t.base.RoundTrip(own)
	if err != nil {
		return nil, err
	}
	res.Request = req
	return res, nil
}

// token returns the token to send with, for which the user may have to sign in.
func (t *Transport) token(ctx context.Context, seen uint64) (*Token, error) {
	token, err := t.client.Token(ctx, t.usage.id)
	if err == nil || !t.mends(err) {
		return token, err
	}
	if err := t.signIn(ctx, err, seen); err != nil {
		return nil, err
	}
	return t.client.Token(ctx, t.usage.id)
}

// replacement returns the token to send with in place of a refused one. The
// user is asked to sign in only if the request can be sent again.
func (t *Transport) replacement(ctx context.Context, refused, seen uint64, again bool) (*Token, error) {
	token, err := t.client.replace(ctx, t.usage.id, refused)
	if err == nil || !again || !t.mends(err) {
		return token, err
	}
	if err := t.signIn(ctx, err, seen); err != nil {
		return nil, err
	}
	return t.client.replace(ctx, t.usage.id, refused)
}

// used notes that a response was had with a token.
func (t *Transport) used(res *http.Response, token *Token) {
	if !t.silent && isUse(res.StatusCode) {
		t.client.usages.note(t.usage, token.Generation)
	}
}

// resendable reports whether a request can be sent again after it was sent.
func resendable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// closeBody closes the body of a request that is not sent.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nobody reads it
	}
}
