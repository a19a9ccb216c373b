package oauth2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/wire"
)

// maxAway caps for how long the document's server can keep a provider from being
// discovered: that holds up all its credentials, and not the one that asked.
const maxAway = time.Hour

// maxQuoted is how much of a document's text an error quotes.
const maxQuoted = 200

var errNoDocument = errors.New("there is no metadata document at the issuer; set token_url instead")

// document reads a provider's metadata.
type document struct {
	issuer  *url.URL
	options Options
	wire    *wire.Client
	log     zerolog.Logger
}

// metadata is the part of the document that is used, the same in OpenID
// Connect Discovery 1.0 section 3 and RFC 8414 section 2.
type metadata struct {
	Issuer             string   `json:"issuer"`
	TokenEndpoint      string   `json:"token_endpoint"`
	RevocationEndpoint string   `json:"revocation_endpoint"`
	AuthMethods        []string `json:"token_endpoint_auth_methods_supported"`
}

// fetch reads the document, at the place that OpenID Connect Discovery 1.0
// section 4 gives it, or else at that of RFC 8414 section 3.
func (d document) fetch(ctx context.Context) (endpoints, *failed) {
	for _, at := range d.places() {
		meta, failure := d.read(ctx, at)
		if failure != nil {
			return endpoints{}, failure
		}
		if meta != nil {
			return d.check(*meta)
		}
	}
	return endpoints{}, operator(errNoDocument)
}

// places returns where the document may be: behind the issuer's path, and in
// front of it.
func (d document) places() []*url.URL {
	path := strings.TrimSuffix(d.issuer.Path, "/")
	behind, before := *d.issuer, *d.issuer
	behind.Path, behind.RawPath = path+"/.well-known/openid-configuration", ""
	before.Path, before.RawPath = "/.well-known/oauth-authorization-server"+path, ""
	return []*url.URL{&behind, &before}
}

// read reads the document at one place; nil if there is none.
func (d document) read(ctx context.Context, at *url.URL) (*metadata, *failed) {
	reply, err := d.wire.Do(ctx, wire.Request{Method: http.MethodGet, URL: at, Header: d.options.plainHeader(), Safe: true})
	if err != nil {
		failure := wireFailure(err)
		if failure.outcome.Class != credential.ClassOperator {
			failure.outcome.Class = credential.ClassNotSent // to the token endpoint, that is
		}
		return nil, failure
	}
	defer reply.Release()
	switch {
	case reply.Cut != nil:
		return nil, unavailable(reply, reply.Cut.Outcome.Detail)
	case reply.Status == http.StatusTooManyRequests, reply.Status == http.StatusRequestTimeout, reply.Status >= 500:
		return nil, unavailable(reply, "")
	case reply.Status != http.StatusOK:
		return nil, nil
	}
	var meta metadata
	if err := json.Unmarshal(reply.Body, &meta); err != nil || meta.Issuer == "" {
		return nil, nil // a page that is no such document, as sites answer for any path
	}
	return &meta, nil
}

// unavailable is the failure of a reading that may succeed later.
func unavailable(reply *wire.Reply, what string) *failed {
	out := credential.Outcome{
		Class:      credential.ClassNotSent,
		Reason:     credential.ReasonUnavailable,
		Detail:     strings.TrimSpace(fmt.Sprintf("HTTP %d %s", reply.Status, what)),
		RetryAfter: min(provider.RetryAfter(reply.Header, time.Now()), maxAway),
	}
	return &failed{outcome: out}
}

// operator is the failure of a reading that the settings, or the provider's,
// stand in the way of.
func operator(err error) *failed {
	return &failed{
		outcome: credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured},
		err:     err,
	}
}

// check takes the endpoints out of the document. Its issuer must be the
// configured one to the letter (OpenID Connect Discovery 1.0 section 4.3, RFC
// 8414 section 3.3): else one provider could speak for another.
func (d document) check(meta metadata) (endpoints, *failed) {
	if meta.Issuer != d.options.Issuer {
		return endpoints{}, operator(fmt.Errorf("issuer is %q, but the document there says %q; if that is the provider, set issuer to it",
			d.options.Issuer, meta.Issuer[:min(len(meta.Issuer), maxQuoted)]))
	}
	var found endpoints
	var err error
	if found.token, err = d.options.endpoint("the discovered token_endpoint", meta.TokenEndpoint); err != nil {
		return endpoints{}, operator(err)
	}
	if found.token == nil {
		return endpoints{}, operator(errors.New("the document names no token_endpoint; set token_url"))
	}
	if found.revoke, err = d.options.endpoint("the discovered revocation_endpoint", meta.RevocationEndpoint); err != nil {
		return endpoints{}, operator(err)
	}
	d.checkAuth(meta.AuthMethods)
	return found, nil
}

// checkAuth warns if the provider does not announce the configured client
// authentication. It may take it nevertheless: documents are often incomplete.
func (d document) checkAuth(announced []string) {
	method := map[ClientAuth]string{AuthBasic: "client_secret_basic", AuthPost: "client_secret_post", AuthNone: "none"}[d.options.ClientAuth]
	if len(announced) > 0 && !slices.Contains(announced, method) {
		d.log.Warn().Str("client_auth", string(d.options.ClientAuth)).Strs("announced", announced[:min(len(announced), maxQuoted)]).
			Msg("the provider does not announce this client authentication")
	}
}
