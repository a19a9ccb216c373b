package client

import (
	"context"

	"golang.org/x/oauth2"
)

// Token returns a token of a credential. One that is good is in hand after the
// first call, and is returned without a call, a lock or an allocation; the next
// is fetched ahead of its end, in the background. Where there is none,
// refreshd is asked once however many callers wait, and each waits no longer
// than its own ctx.
//
// While refreshd cannot be reached, or does not answer, the token in hand is
// handed out until it ends. Errors: a [ReauthError] where only the user can mend it,
// [ErrNotFound], an [UnavailableError], [ErrNotRefreshable],
// [ErrUnauthorized], [ErrForbidden], [ErrInvalid], [ErrClosed], or the cause of
// ctx.
func (c *Client) Token(ctx context.Context, id string) (*Token, error) {
	h, err := c.slots.of(c, id).good(ctx)
	if err != nil {
		return nil, err
	}
	return &h.token, nil
}

// Refresh tells refreshd that a token of that generation was rejected by a
// resource although it had not expired, and returns a newer one. If there is a
// newer one already, that is returned without a refresh; and however many
// callers report one generation, it is refreshed once. Generation 0 asks for a
// refresh of whatever is in hand.
//
// The errors are those of [Client.Token], and a [ReauthError] that matches
// [ErrFreshRejected] where the token that was rejected had just replaced
// another that was rejected.
func (c *Client) Refresh(ctx context.Context, id string, rejectedGeneration uint64) (*Token, error) {
	return c.replace(ctx, id, rejectedGeneration)
}

func (c *Client) replace(ctx context.Context, id string, rejected uint64) (*Token, error) {
	h, err := c.slots.of(c, id).replace(ctx, rejected)
	if err != nil {
		return nil, err
	}
	return &h.token, nil
}

// TokenSource returns a source for programs that take one from package
// golang.org/x/oauth2. It is [Client.Token] with a context that was given
// before: ctx bounds the waits of all its calls, so it has to live as long as
// the source. It costs nothing to make and is safe for concurrent use; wrapping
// it in oauth2.ReuseTokenSource only makes it slower.
//
// Its tokens tell their "generation" and "version" (uint64), "scope",
// "send_as" and "send_name" (string) through Extra. oauth2.Transport sends every
// token as a bearer; for credentials that travel otherwise use
// [Client.Transport].
func (c *Client) TokenSource(ctx context.Context, id string) oauth2.TokenSource {
	return &source{ctx: ctx, slot: c.slots.pin(c, id)}
}

// source is a slot as an oauth2.TokenSource.
type source struct {
	ctx  context.Context //nolint:containedctx // an oauth2.TokenSource is given its context beforehand
	slot *slot
}

// Token returns a token, as oauth2.TokenSource asks for.
func (s *source) Token() (*oauth2.Token, error) {
	h, err := s.slot.good(s.ctx)
	if err != nil {
		return nil, err
	}
	return h.oauth, nil
}
