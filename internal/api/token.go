package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/refreshd/refreshd/internal/credential"
)

// TokenReply is an access token that is valid now.
type TokenReply struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type" example:"Bearer"`
	ExpiresAt   time.Time `json:"expires_at"`
	ExpiresIn   int64     `json:"expires_in" doc:"Seconds until then"`
	Scope       string    `json:"scope,omitempty" doc:"Space-separated"`
	Version     uint64    `json:"version" doc:"Of the credential"`
	Generation  uint64    `json:"generation" doc:"Of the token: name it when the token is refused"`
	Send        Send      `json:"send"`
}

// Send tells how a request carries the token.
type Send struct {
	As string `json:"as" enum:"bearer" doc:"bearer: Authorization: <token_type> <access_token>"`
}

// Queued says that a refresh was asked of another process.
type Queued struct {
	Queued bool `json:"queued" doc:"Always true: read the token again, or follow the events"`
}

// tokenProblems are what may stand in the way of a token.
func tokenProblems() []int {
	return []int{http.StatusNotFound, http.StatusConflict}
}

func (a *API) tokenRoutes() {
	define(a, route{
		method: http.MethodGet, path: credentialPath + "/token", id: "get-token", tag: tagTokens, needs: []Scope{ScopeTokenRead},
		summary: "Get a valid access token",
		description: "Refreshes where needed, once however many ask, and never waits while the token in hand is good enough. " +
			"409: only the user can mend it (reauth_required, logged_out), or there is no refresh token (not_refreshable). " +
			"422 min_ttl: the provider grants no life that long. 503: not now; Retry-After tells when to ask again.",
		problems: tokenProblems(),
	}, a.getToken)
	define(a, route{
		method: http.MethodPost, path: credentialPath + "/refresh", id: "refresh-token", tag: tagTokens, needs: []Scope{ScopeTokenRead},
		summary: "Report a token that was refused, or have it refreshed",
		description: "With rejected_generation: if a newer token than that is in hand already, it is returned without a call. " +
			"409 fresh_rejected: the token that replaced a refused one is refused as well. " +
			"202: this process may not refresh, and has asked one that may.",
		bodyOptional: true, problems: tokenProblems(),
		responses: map[string]*huma.Response{
			"200": a.answer("OK", TokenReply{}),
			"202": a.answer("Accepted", Queued{}),
		},
	}, a.refreshToken)
}

// maxSpan bounds min_ttl: longer than any token lives.
const maxSpan = credential.MaxLifetime

type tokenIn struct {
	IDParam

	MinTTL string `query:"min_ttl" maxLength:"32" doc:"How long the token must stay valid at least: a duration such as 60s or 5m, or a number of seconds" example:"60s"`
}

type tokenOut struct {
	Body TokenReply
}

func (a *API) getToken(ctx context.Context, in *tokenIn) (*tokenOut, error) {
	minTTL, p := parseSpan("query.min_ttl", in.MinTTL, maxSpan)
	if p != nil {
		return nil, p
	}
	held, err := a.engine.Token(ctx, credential.ID(in.ID), minTTL)
	if err != nil {
		return nil, unserved(locate(err, FaultMinTTL, "query.min_ttl"))
	}
	return &tokenOut{Body: tokenReply(held, a.now())}, nil
}

// unserved makes an outage of a credential whose provider is not configured:
// it is not the request that is wrong.
func unserved(err error) error {
	p := problemOf(err)
	if p == nil || p.Code != string(FaultUnknownProvider) {
		return err
	}
	return problem(http.StatusServiceUnavailable, p.Code, p.Detail).again(time.Minute)
}

func tokenReply(h credential.Held, now credential.Millis) TokenReply {
	r := h.Record
	return TokenReply{
		AccessToken: h.Token.Access.Reveal(), TokenType: h.Token.Type, Scope: h.Token.Scope,
		ExpiresAt: r.ExpiresAt.Time(), ExpiresIn: secondsLeft(r.ExpiresAt, now),
		Version: r.Version, Generation: r.Generation, Send: Send{As: "bearer"},
	}
}

type refreshIn struct {
	IDParam

	Body *RefreshBody `required:"false"`
}

// RefreshBody tells which token was refused.
type RefreshBody struct {
	RejectedGeneration uint64 `json:"rejected_generation,omitempty" doc:"Generation of the token that was refused; absent or 0: refresh whatever is in hand" example:"7"`
}

type refreshOut struct {
	Status int
	Body   any
}

func (a *API) refreshToken(ctx context.Context, in *refreshIn) (*refreshOut, error) {
	var rejected uint64
	if in.Body != nil {
		rejected = in.Body.RejectedGeneration
	}
	done, err := a.engine.Refresh(ctx, credential.ID(in.ID), rejected)
	switch {
	case err != nil:
		return nil, unserved(err)
	case done.Queued:
		return &refreshOut{Status: http.StatusAccepted, Body: Queued{Queued: true}}, nil
	default:
		return &refreshOut{Status: http.StatusOK, Body: tokenReply(done.Held, a.now())}, nil
	}
}
