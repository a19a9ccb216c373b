package oauth2

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/wire"
)

// ClientAuth is how the client shows the provider who it is.
type ClientAuth string

// The ways of RFC 6749 section 2.3.1, and a public client's, which only names
// itself.
const (
	AuthBasic ClientAuth = "basic" // in the Authorization header
	AuthPost  ClientAuth = "post"  // in the body
	AuthNone  ClientAuth = "none"
)

// Options are the settings of a provider.
type Options struct {
	Name         string // of the provider, as configured
	Issuer       string // for discovery; "" if TokenURL is given
	TokenURL     string // "" is discovered
	RevokeURL    string // "" is discovered if there is an issuer, else there is none
	ClientID     string
	ClientSecret credential.Secret
	ClientAuth   ClientAuth // "" is basic with a secret, none without
	Timeout      time.Duration
	Matchers     []provider.Matcher
	Proxy        string
	CAFile       string
	MaxConns     int
	Version      string // of this program, for User-Agent
	AllowHTTP    bool   // lets URLs be http that do not point to this machine
	Log          zerolog.Logger
}

// wrong says what is wrong with one of the settings.
func wrong(key, format string, args ...any) error {
	return provider.SettingErrors{{Key: key, Err: fmt.Errorf(format, args...)}}
}

// validate reports the first thing that is wrong, naming the key as the
// settings call it.
func (o Options) validate() error {
	switch {
	case o.Name == "":
		return wrong("name", "a provider needs one")
	case o.Issuer == "" && o.TokenURL == "":
		return wrong("token_url", "it is not set, and issuer neither; one is needed")
	case o.ClientID == "":
		return wrong("client_id", "it is empty")
	case !slices.Contains([]ClientAuth{AuthBasic, AuthPost, AuthNone}, o.ClientAuth):
		return wrong("client_auth", "it is %q; give basic, post or none", string(o.ClientAuth))
	case o.ClientAuth == AuthNone && !o.ClientSecret.IsZero():
		return wrong("client_auth", "it is none, but there is a client_secret; drop one of them")
	case o.ClientAuth != AuthNone && o.ClientSecret.IsZero():
		return wrong("client_auth", "it is %s, but client_secret is empty; set it, or client_auth to none", o.ClientAuth)
	}
	for i, m := range o.Matchers {
		if err := m.Validate(); err != nil {
			return wrong(fmt.Sprintf("errors[%d]", i), "%w", err)
		}
	}
	return nil
}

// endpoint parses one of the provider's URLs. What the URL holds beside
// scheme, host and path may be a secret and is not quoted.
func (o Options) endpoint(key, text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, wrong(key, "it is not an absolute URL")
	}
	switch {
	case u.User != nil:
		return nil, wrong(key, "it has a user in it; give client_id and client_secret instead")
	case u.Fragment != "":
		return nil, wrong(key, "it has a fragment, which RFC 6749 section 3.2 forbids")
	}
	if err := wire.CheckURL(u, o.AllowHTTP); err != nil {
		return nil, wrong(key, "it %w", err)
	}
	return u, nil
}

// issuer parses the issuer, which OpenID Connect Discovery 1.0 section 3 and
// RFC 8414 section 2 let have no query.
func (o Options) issuer() (*url.URL, error) {
	u, err := o.endpoint("issuer", o.Issuer)
	if err == nil && u != nil && u.RawQuery != "" {
		return nil, wrong("issuer", "it has a query, which RFC 8414 section 2 forbids")
	}
	return u, err
}

// header returns the fields of every form that is posted.
func (o Options) header() http.Header {
	h := o.plainHeader()
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	if o.ClientAuth == AuthBasic {
		// RFC 6749 section 2.3.1: both are form-encoded before they are put
		// together.
		user := url.QueryEscape(o.ClientID) + ":" + url.QueryEscape(o.ClientSecret.Reveal())
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user)))
	}
	return h
}

// plainHeader returns the fields of every request.
func (o Options) plainHeader() http.Header {
	agent := "refreshd"
	if o.Version != "" {
		agent += "/" + o.Version
	}
	return http.Header{"Accept": {"application/json"}, "User-Agent": {agent}}
}

// credentials returns what client authentication adds to a form.
func (o Options) credentials() string {
	switch o.ClientAuth {
	case AuthBasic:
		return ""
	case AuthPost:
		return "&client_id=" + url.QueryEscape(o.ClientID) + "&client_secret=" + url.QueryEscape(o.ClientSecret.Reveal())
	case AuthNone:
		return "&client_id=" + url.QueryEscape(o.ClientID)
	}
	return ""
}

// withDefaults fills in what was left open.
func (o Options) withDefaults() Options {
	if o.ClientAuth == "" {
		o.ClientAuth = AuthBasic
		if o.ClientSecret.IsZero() {
			o.ClientAuth = AuthNone
		}
	}
	return o
}
