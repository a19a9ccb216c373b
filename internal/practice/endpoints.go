package practice

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// metadata is an authorization server's description (RFC 8414, 2).
type metadata struct {
	Issuer                string   `json:"issuer"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	ResponseTypes         []string `json:"response_types_supported"` // required, and none: there is no authorization endpoint
	GrantTypes            []string `json:"grant_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	TokenAuth             []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuth        []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuth     []string `json:"introspection_endpoint_auth_methods_supported"`
}

// serveMetadata describes the server under the name by which it was called.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	issuer := "http://" + r.Host
	auth := authMethods(s.settings.Load().ClientAuth)
	s.writeJSON(w, http.StatusOK, metadata{
		Issuer:                issuer,
		TokenEndpoint:         issuer + "/token",
		RevocationEndpoint:    issuer + "/revoke",
		IntrospectionEndpoint: issuer + "/introspect",
		ResponseTypes:         []string{},
		GrantTypes:            []string{"refresh_token", "client_credentials"},
		Scopes:                strings.Split(defaultScope, " "),
		TokenAuth:             auth,
		RevocationAuth:        auth,
		IntrospectionAuth:     auth,
	})
}

func authMethods(how ClientAuth) []string {
	switch how {
	case ClientAuthBasic:
		return []string{"client_secret_basic"}
	case ClientAuthPost:
		return []string{"client_secret_post"}
	case ClientAuthNone:
		return []string{"none"}
	case ClientAuthAny:
		return []string{"client_secret_basic", "client_secret_post", "none"}
	default:
		return []string{}
	}
}

// clientCall reads and authenticates a call of /revoke or /introspect. It has
// answered where it returns false.
func (s *Server) clientCall(w http.ResponseWriter, r *http.Request) (form, client, bool) {
	f, err := s.readForm(r)
	if malformed, ok := errors.AsType[*formError](err); ok {
		s.writeOAuthError(w, invalidRequest(malformed.what))
		return form{}, client{}, false
	} else if err != nil {
		panic(http.ErrAbortHandler) // the request never arrived whole
	}
	c, failed := s.authenticate(r.Header.Get("Authorization"), &f, s.settings.Load().ClientAuth)
	if failed == nil && f.token == "" {
		failed = invalidRequest("The token is missing.")
	}
	if failed != nil {
		s.writeOAuthError(w, failed)
		return form{}, client{}, false
	}
	return f, c, true
}

// serveRevoke ends a refresh token with its whole grant, or an access token
// alone (RFC 7009, 2). A token that is unknown is revoked already.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	f, c, ok := s.clientCall(w, r)
	if !ok {
		return
	}
	foreign := &oauthError{status: http.StatusBadRequest, code: "unauthorized_client", description: "The token was issued to another client."}
	if k, is := parseKey(f.token, refreshPrefix); is {
		if ref, found := s.refresh.get(k); found {
			g := s.grants.get(ref.grant)
			if g.client != c.label {
				s.writeOAuthError(w, foreign)
				return
			}
			s.kill(g, deathClient)
		}
	} else if k, is := parseKey(f.token, accessPrefix); is {
		if ref, found := s.access.get(k); found {
			if ref.client != c.label {
				s.writeOAuthError(w, foreign)
				return
			}
			s.access.remove(k)
		}
	}
	_ = s.write(w, http.StatusOK, nil) // a client that is gone needs no answer
}

// introspection is a reply of RFC 7662, 2.2.
type introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Subject   string `json:"sub,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	Expires   int64  `json:"exp,omitempty"` // Unix s
}

// serveIntrospect tells about a token. It is no presentation: nothing is spent.
func (s *Server) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	f, _, ok := s.clientCall(w, r)
	if !ok {
		return
	}
	now := time.Now().UnixNano()
	var reply introspection
	if k, is := parseKey(f.token, refreshPrefix); is {
		if ref, found := s.refresh.get(k); found {
			reply = s.introspectRefresh(ref, now)
		}
	} else if ref, valid := s.validAccess(f.token, now); valid {
		reply = introspection{
			Active:    true,
			Scope:     s.labels.text(ref.scope),
			ClientID:  s.labels.text(ref.client),
			Subject:   s.subject(ref),
			TokenType: "Bearer",
			Expires:   ref.expires / int64(time.Second),
		}
	}
	s.writeJSON(w, http.StatusOK, reply)
}

func (s *Server) introspectRefresh(ref refreshRef, now int64) introspection {
	g := s.grants.get(ref.grant)
	if !g.usable(ref.generation, now) {
		return introspection{}
	}
	return introspection{Active: true, Scope: g.scope, ClientID: s.labels.text(g.client), Subject: g.subject}
}

// validAccess looks up an access token that would be accepted now (Unix ns).
func (s *Server) validAccess(token string, now int64) (accessRef, bool) {
	k, ok := parseKey(token, accessPrefix)
	if !ok {
		return accessRef{}, false
	}
	ref, ok := s.access.get(k)
	if !ok || ref.expired(now) {
		return accessRef{}, false
	}
	if g := s.grants.get(ref.grant); g != nil && !g.alive() {
		return accessRef{}, false
	}
	return ref, true
}

// subject is whose access token it is: a user, or a client for itself.
func (s *Server) subject(ref accessRef) string {
	if g := s.grants.get(ref.grant); g != nil {
		return g.subject
	}
	return s.labels.text(ref.client)
}

// resource is what /resource shows to a valid access token.
type resource struct {
	Subject    string    `json:"subject"`
	Grant      string    `json:"grant,omitempty"`
	Generation uint32    `json:"generation,omitempty"`
	Scope      string    `json:"scope"`
	ExpiresAt  time.Time `json:"expires_at"` // of the token
}

// serveResource is a resource that wants a bearer token (RFC 6750).
func (s *Server) serveResource(w http.ResponseWriter, r *http.Request) {
	token, ok := bearer(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="practice"`)
		s.writeOAuthError(w, &oauthError{status: http.StatusUnauthorized, code: "invalid_request", description: "A bearer token is needed."})
		return
	}
	ref, valid := s.validAccess(token, time.Now().UnixNano())
	if !valid {
		w.Header().Set("WWW-Authenticate", `Bearer realm="practice", error="invalid_token"`)
		s.writeOAuthError(w, &oauthError{status: http.StatusUnauthorized, code: "invalid_token", description: "The access token is expired, revoked or unknown."})
		return
	}
	s.writeJSON(w, http.StatusOK, resource{
		Subject:    s.subject(ref),
		Grant:      grantID(ref.grant),
		Generation: ref.generation,
		Scope:      s.labels.text(ref.scope),
		ExpiresAt:  time.Unix(0, ref.expires).UTC(),
	})
}

// bearer returns the bearer token of the Authorization header.
func bearer(r *http.Request) (string, bool) {
	const scheme = "Bearer "
	h := r.Header.Get("Authorization")
	if len(h) <= len(scheme) || !strings.EqualFold(h[:len(scheme)], scheme) {
		return "", false
	}
	return h[len(scheme):], true
}
