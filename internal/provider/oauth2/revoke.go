package oauth2

import (
	"context"
	"net/url"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
)

// Revoke tells the provider that the token is no longer needed (RFC 7009).
// hint is "access_token", "refresh_token" or "". A token that the provider
// does not know is revoked already: no error. The error is
// [provider.ErrNoRevocation] if there is nowhere to send it to, else a
// [*provider.CallError]; it can be called again after any of them.
func (p *Provider) Revoke(ctx context.Context, token credential.Secret, hint string) error {
	to, err := p.revokeURL(ctx)
	if err != nil {
		return err
	}
	form := "token=" + url.QueryEscape(token.Reveal()) + p.auth.Reveal()
	if hint != "" {
		form += "&token_type_hint=" + url.QueryEscape(hint)
	}
	reply, failure := p.post(ctx, to, form, nil, nil, nil)
	if failure != nil {
		p.suspect(failure.outcome)
		return p.callError("revocation", failure)
	}
	defer reply.Release()
	if reply.Status >= 200 && reply.Status <= 299 {
		return nil
	}
	out := p.classify(reply, provider.Parse(reply.Body, reply.Cut != nil), token)
	p.suspect(out)
	out.Token = credential.Token{}
	return p.callError("revocation", &failed{outcome: out})
}
