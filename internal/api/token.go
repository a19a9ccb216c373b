package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/refreshd/refreshd/internal/credential"
)

// TokenReply is an access token that is valid now.
type TokenReply struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type" example:"Bearer"`
	ExpiresAt   time.Time `json:"expires_at" doc:"A session's is its idle deadline"`
	ExpiresIn   int64     `json:"expires_in" doc:"Seconds until then"`
	Scope       string    `json:"scope,omitempty" doc:"Space-separated"`
	Version     uint64    `json:"version" doc:"Of the credential"`
	Generation  uint64    `json:"generation" doc:"Of the token: name it when the token is refused"`
	Send        Send      `json:"send"`
}

// Send tells how a request carries the token.
type Send struct {
	As   string `json:"as" enum:"bearer,header,cookie" doc:"bearer: Authorization: <token_type> <access_token>; header and cookie: the access token as it is, under that name"`
	Name string `json:"name,omitempty" doc:"Of the header or the cookie" example:"X-Session-Token"`
}

// Ways for a token to travel.
const (
	SendBearer = "bearer"
	SendHeader = "header"
	SendCookie = "cookie"
)

// Accepted says that a refresh will be made later, or that one will not.
type Accepted struct {
	Queued    bool       `json:"queued,omitempty" doc:"It was asked of another process: read the token again, or follow the events"`
	DueAt     *time.Time `json:"due_at,omitempty" doc:"When it is made, as was asked for; it waits for whoever has paused it"`
	Cancelled bool       `json:"cancelled,omitempty" doc:"Nothing is asked for any more beside what is planned"`
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
		summary: "Report a token that was refused, or have it refreshed now or later",
		description: "With rejected_generation: if a newer token than that is in hand already, it is returned without a call. " +
			"409 fresh_rejected: the token that replaced a refused one is refused as well. " +
			"202: this process may not refresh, and has asked one that may. " +
			"With after or at: one refresh then, beside what is planned; it is stored and takes the place of an earlier one, and is over with the first refresh from then on. 202 with due_at. " +
			"With cancel: it is taken back.",
		bodyOptional: true, problems: tokenProblems(),
		responses: map[string]*huma.Response{
			"200": a.answer("OK", TokenReply{}),
			"202": a.answer("Accepted", Accepted{}),
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
	if err := hold(ctx, held.Record); err != nil {
		return nil, err
	}
	return &tokenOut{Body: a.tokenReply(held)}, nil
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

func (a *API) tokenReply(h credential.Held) TokenReply {
	r := h.Record
	send := a.sendOf(r.Provider)
	send.As = cmp.Or(send.As, SendBearer)
	return TokenReply{
		AccessToken: h.Token.Access.Reveal(), TokenType: h.Token.Type, Scope: h.Token.Scope,
		ExpiresAt: r.ExpiresAt.Time(), ExpiresIn: secondsLeft(r.ExpiresAt, a.now()),
		Version: r.Version, Generation: r.AccessGeneration(), Send: send,
	}
}

type refreshIn struct {
	IDParam

	Body *RefreshBody `required:"false"`
}

// RefreshBody tells which token was refused, or when to refresh.
type RefreshBody struct {
	RejectedGeneration uint64 `json:"rejected_generation,omitempty" doc:"Generation of the token that was refused; absent or 0: refresh whatever is in hand" example:"7"`

	After  *string    `json:"after,omitempty" maxLength:"32" doc:"Refresh once after that time: a duration such as 10m or 4d, or a number of seconds as text (\"600\"); 0s is as soon as there is a permit" example:"10m"`
	At     *time.Time `json:"at,omitempty" doc:"Refresh once at that moment, in place of after"`
	Cancel bool       `json:"cancel,omitempty" doc:"Take back what was asked for with after or at"`
}

// delay reads when the refresh shall be; planned is false if that is now, and
// the delay negative if it is not to be any more.
func (b RefreshBody) delay(now credential.Millis) (after time.Duration, planned bool, p *Problem) {
	var given []string
	for _, row := range []struct {
		name string
		set  bool
	}{{"rejected_generation", b.RejectedGeneration != 0}, {"after", b.After != nil}, {"at", b.At != nil}, {"cancel", b.Cancel}} {
		if row.set {
			given = append(given, row.name)
		}
	}
	if len(given) > 1 {
		return 0, false, invalid("body."+given[1], "contradicts "+given[0]+"; give one of them")
	}
	switch {
	case b.Cancel:
		return -1, true, nil
	case b.After != nil && *b.After == "":
		return 0, false, invalid("body.after", "is empty; give a duration such as 10m, or leave it out to refresh at once")
	case b.After != nil:
		after, p = parseSpan("body.after", *b.After, maxSpan)
		return after, true, p
	case b.At != nil:
		if after, p = momentAhead("body.at", *b.At, now); p != nil {
			return 0, false, p
		}
		return after, true, nil
	default:
		return 0, false, nil
	}
}

// momentAhead reads how far away a moment is. One that has just passed, by a
// clock that is a little behind, is now.
func momentAhead(location string, at time.Time, now credential.Millis) (time.Duration, *Problem) {
	after := at.Sub(now.Time())
	switch {
	case after < -clockSlack:
		return 0, invalid(location, `has passed; give {"after": "0s"} for as soon as possible`)
	case after > maxSpan:
		return 0, invalid(location, fmt.Sprintf("is further away than %s", maxSpan))
	}
	return max(after, 0), nil
}

// clockSlack is how far a caller's clock may be behind.
const clockSlack = time.Minute

type refreshOut struct {
	Status int
	Body   any
}

func (a *API) refreshToken(ctx context.Context, in *refreshIn) (*refreshOut, error) {
	var rejected uint64
	if in.Body != nil {
		after, planned, p := in.Body.delay(a.now())
		if p != nil {
			return nil, p
		}
		if planned {
			return a.planRefresh(ctx, credential.ID(in.ID), after)
		}
		rejected = in.Body.RejectedGeneration
	}
	done, err := a.engine.Refresh(ctx, credential.ID(in.ID), rejected)
	switch {
	case err != nil:
		return nil, unserved(err)
	case done.Queued:
		return &refreshOut{Status: http.StatusAccepted, Body: Accepted{Queued: true}}, nil
	default:
		if err := hold(ctx, done.Held.Record); err != nil {
			return nil, err
		}
		return &refreshOut{Status: http.StatusOK, Body: a.tokenReply(done.Held)}, nil
	}
}

// planRefresh stores when a refresh is wanted, beside what is planned.
func (a *API) planRefresh(ctx context.Context, id credential.ID, after time.Duration) (*refreshOut, error) {
	if after >= 0 {
		// What can never be refreshed must not look as if it would be.
		held, err := a.records.Record(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case held != nil && !held.Record.Refreshable && !held.Record.State.Terminal():
			return nil, &FaultError{Kind: FaultNotRefreshable, Detail: "there is no way to another token: the credential holds neither a refresh token nor a login that its provider had a call for when it was looked at last; store one, or declare the call in config.yaml"}
		}
	}
	held, err := a.control.PlanOnce(ctx, id, after, holder(ctx).Subject)
	if err != nil {
		return nil, err
	}
	return &refreshOut{Status: http.StatusAccepted, Body: Accepted{DueAt: moment(held.Record.OnceAt), Cancelled: after < 0}}, nil
}
