package practice

import (
	"crypto/subtle"
	"encoding/base64"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// client is one registered client. It is replaced, never changed.
type client struct {
	id       string
	secret   string
	label    label
	disabled bool
}

// clients is a copy-on-write registry: reading takes no lock.
type clients struct {
	mu  sync.Mutex
	all atomic.Pointer[map[string]client]
}

func (c *clients) get(id string) (client, bool) {
	found, ok := (*c.all.Load())[id]
	return found, ok
}

func (c *clients) change(id string, with func(client) client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]client)
	if old := c.all.Load(); old != nil {
		maps.Copy(next, *old)
	}
	next[id] = with(next[id])
	c.all.Store(&next)
}

// SetClientSecret registers a client, or gives it another secret and enables
// it again. An empty secret makes it a public client.
func (s *Server) SetClientSecret(id, secret string) {
	s.clients.change(id, func(client) client {
		return client{id: id, secret: secret, label: s.labels.of(id)}
	})
}

// DisableClient has every call of the client refused as invalid_client until
// it gets a secret again. It reports whether there is such a client.
func (s *Server) DisableClient(id string) bool {
	if _, ok := s.clients.get(id); !ok {
		return false
	}
	s.clients.change(id, func(c client) client {
		c.disabled = true
		return c
	})
	return true
}

// oauthError is an error reply of RFC 6749, 5.2.
type oauthError struct {
	status      int
	code        string
	description string
	challenge   bool // WWW-Authenticate: Basic
}

// authenticate finds out which client calls (RFC 6749, 2.3.1). The client that
// is named is returned with an error too, where it is a registered one.
func (s *Server) authenticate(authorization string, f *form, how ClientAuth) (client, *oauthError) {
	id, secret := f.clientID, f.clientSecret
	viaHeader := authorization != ""
	if viaHeader {
		var ok bool
		if id, secret, ok = parseBasic(authorization); !ok {
			return client{}, invalidClient(viaHeader)
		}
	}
	c, known := s.clients.get(id)
	switch {
	case viaHeader && f.hasClientSecret:
		return c, invalidRequest("The client authenticated in more than one way.")
	case viaHeader && f.clientID != "" && f.clientID != id:
		return c, invalidRequest("The client_id of the body is not that of the Authorization header.")
	case !known || c.disabled || !allowed(how, c, viaHeader, f.hasClientSecret):
		return c, invalidClient(viaHeader || !f.hasClientSecret && how != ClientAuthNone)
	case how != ClientAuthNone && subtle.ConstantTimeCompare([]byte(secret), []byte(c.secret)) != 1:
		return c, invalidClient(viaHeader)
	}
	return c, nil
}

func allowed(how ClientAuth, c client, header, body bool) bool {
	switch how {
	case ClientAuthBasic:
		return header
	case ClientAuthPost:
		return !header && body
	case ClientAuthNone:
		return !header
	case ClientAuthAny:
		return header || body || c.secret == ""
	default:
		return false
	}
}

// parseBasic reads an Authorization header of the Basic scheme. ID and secret
// are form-encoded inside it (RFC 6749, 2.3.1).
func parseBasic(authorization string) (id, secret string, ok bool) {
	const scheme = "Basic "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", "", false
	}
	decoded, err := base64.StdEncoding.DecodeString(authorization[len(scheme):])
	if err != nil {
		return "", "", false
	}
	rawID, rawSecret, found := strings.Cut(string(decoded), ":")
	if !found {
		return "", "", false
	}
	id, okID := unescape(rawID)
	secret, okSecret := unescape(rawSecret)
	return id, secret, okID && okSecret
}

func invalidClient(challenge bool) *oauthError {
	e := &oauthError{status: 400, code: "invalid_client", description: "Client authentication failed.", challenge: challenge}
	if challenge {
		e.status = 401
	}
	return e
}

func invalidRequest(description string) *oauthError {
	return &oauthError{status: 400, code: "invalid_request", description: description}
}
