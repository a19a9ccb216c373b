package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ory/fosite"
	"github.com/ory/fosite/storage"
)

const (
	pathAuthorize  = "/authorize"
	pathToken      = "/token"
	pathRevoke     = "/revoke"
	pathIntrospect = "/introspect"

	maxBody = 64 << 10
)

// server answers HTTP with what the library says.
type server struct {
	base     string
	provider fosite.OAuth2Provider
	store    *storage.MemoryStore
	ledger   *ledger
	// door holds one place per request that may be inside the library; nil is
	// no limit.
	door chan struct{}
}

func newServer(ctx context.Context, o options, base string) (*server, error) {
	provider, store, err := newProvider(ctx, o, base)
	if err != nil {
		return nil, err
	}
	s := &server{base: base, provider: provider, store: store, ledger: newLedger()}
	if o.inside > 0 {
		s.door = make(chan struct{}, o.inside)
	}
	return s, nil
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathAuthorize, s.behindDoor(s.authorize))
	mux.HandleFunc(pathToken, s.token)
	mux.HandleFunc(pathRevoke, s.behindDoor(s.revoke))
	mux.HandleFunc(pathIntrospect, s.behindDoor(s.introspect))
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discover)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.discover)
	mux.HandleFunc("GET /log", s.log)
	return mux
}

// enter waits for a place inside the library and returns what gives it back.
func (s *server) enter() func() {
	if s.door == nil {
		return func() {}
	}
	s.door <- struct{}{}
	return func() { <-s.door }
}

func (s *server) behindDoor(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer s.enter()()
		next(w, r)
	}
}

// token is the token endpoint. The body is read before the library sees the
// request, so that the log has what was presented, and given to it byte by
// byte as it came.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		seq := s.ledger.arrive("", "")
		s.ledger.answer(seq, outcome{status: http.StatusBadRequest, error: "body_unreadable", alive: r.Context().Err() == nil})
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		form = url.Values{} // the library refuses it with words of its own
	}
	seq := s.ledger.arrive(form.Get("grant_type"), form.Get("refresh_token"))
	held := &heldAnswer{header: http.Header{}, status: http.StatusOK}
	issued, code := s.exchange(held, r)
	s.ledger.answer(seq, outcome{status: held.status, error: code, issued: issued, alive: r.Context().Err() == nil})

	maps.Copy(w.Header(), held.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(held.body)))
	w.WriteHeader(held.status)
	if _, err := w.Write(held.body); err != nil {
		s.ledger.lost(seq)
		return
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		s.ledger.lost(seq)
	}
}

// exchange has the library answer a token request. It returns the refresh
// token that was issued and the code of the error, either of which may be
// empty.
func (s *server) exchange(w http.ResponseWriter, r *http.Request) (issued, code string) {
	defer s.enter()()
	ctx := r.Context()
	request, err := s.provider.NewAccessRequest(ctx, r, &fosite.DefaultSession{})
	if err != nil {
		s.provider.WriteAccessError(ctx, w, request, err)
		return "", reason(err)
	}
	// What a client may ask for is checked by the library against the client's
	// scopes; granting it is the server's part in the grants without a browser.
	if types := request.GetGrantTypes(); types.ExactOne("password") || types.ExactOne("client_credentials") {
		grantAll(request)
	}
	response, err := s.provider.NewAccessResponse(ctx, request)
	if err != nil {
		s.provider.WriteAccessError(ctx, w, request, err)
		return "", reason(err)
	}
	s.provider.WriteAccessResponse(ctx, w, request, response)
	issued, _ = response.GetExtra("refresh_token").(string)
	return issued, ""
}

// authorize is the authorization endpoint. The user logs in with Basic
// authentication, and whoever has logged in consents to everything.
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	request, err := s.provider.NewAuthorizeRequest(ctx, r)
	if err != nil {
		s.provider.WriteAuthorizeError(ctx, w, request, err)
		return
	}
	name, password, _ := r.BasicAuth()
	subject, err := s.store.Authenticate(ctx, name, password)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="thirdparty"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	grantAll(request)
	response, err := s.provider.NewAuthorizeResponse(ctx, request, &fosite.DefaultSession{Username: name, Subject: subject})
	if err != nil {
		s.provider.WriteAuthorizeError(ctx, w, request, err)
		return
	}
	s.provider.WriteAuthorizeResponse(ctx, w, request, response)
}

func grantAll(request fosite.Requester) {
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
}

func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	err := s.provider.NewRevocationRequest(r.Context(), r)
	s.provider.WriteRevocationResponse(r.Context(), w, err)
}

func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	response, err := s.provider.NewIntrospectionRequest(r.Context(), r, &fosite.DefaultSession{})
	if err != nil {
		s.provider.WriteIntrospectionError(r.Context(), w, err)
		return
	}
	s.provider.WriteIntrospectionResponse(r.Context(), w, response)
}

// metadata is the discovery document (RFC 8414, section 2).
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	GrantTypes            []string `json:"grant_types_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	TokenAuth             []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuth        []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuth     []string `json:"introspection_endpoint_auth_methods_supported"`
}

func (s *server) discover(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	basic, post := "client_secret_basic", "client_secret_post"
	writeJSON(w, metadata{
		Issuer:                s.base,
		AuthorizationEndpoint: s.base + pathAuthorize,
		TokenEndpoint:         s.base + pathToken,
		RevocationEndpoint:    s.base + pathRevoke,
		IntrospectionEndpoint: s.base + pathIntrospect,
		GrantTypes:            grantTypes(),
		ResponseTypes:         []string{"code"},
		Scopes:                scopes(),
		ChallengeMethods:      []string{"S256"},
		TokenAuth:             []string{basic, post},
		RevocationAuth:        []string{basic, post},
		IntrospectionAuth:     []string{basic},
	})
}

// log writes the records as NDJSON, those after the number ?after if given.
func (s *server) log(w http.ResponseWriter, r *http.Request) {
	after := 0
	if v := r.URL.Query().Get("after"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			http.Error(w, "after: want a number", http.StatusBadRequest)
			return
		}
		after = n
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	writeJSON(w, s.ledger.after(after)...)
}

// writeJSON writes one line per value. An error is the reader's going away.
func writeJSON[T any](w io.Writer, values ...T) {
	enc := json.NewEncoder(w)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			return
		}
	}
}
