package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	credentialsPath = "/v1/credentials"
	credentialPath  = credentialsPath + "/{id}"
)

// readers may see records: whoever reads tokens or writes credentials.
func readers() []Scope { return []Scope{ScopeTokenRead, ScopeCredentialWrite} }

// IDParam is the ID in a path.
type IDParam struct {
	ID string `path:"id" doc:"The credential's ID: up to 128 of A-Z a-z 0-9 . _ : @ -, starting with a letter or digit" example:"github:alice"`
}

// ConditionParams is the condition of a change.
type ConditionParams struct {
	IfMatch string `header:"If-Match" doc:"Only at that version: an ETag as it was handed out"`
}

type recordOut struct {
	Status int
	ETag   string `header:"ETag"`
	Body   Record
}

func (a *API) credentialRoutes() {
	define(a, route{
		method: http.MethodPut, path: credentialPath, id: "put-credential", tag: tagCredentials, needs: []Scope{ScopeCredentialWrite}, creates: true,
		summary: "Store a credential, or log it in again",
		description: "Stores a token for this ID. One that brings back the current refresh token changes nothing, whatever stands beside it, another access token too, but a subject that differs, which is taken: else the answer is the stored record with unchanged set. One that brings back an earlier refresh token is refused as stale_token. 201 where nothing was stored before. " +
			"A login without an access token signs in before it is answered: 422 login_refused or account_locked, and nothing is stored, where the backend does not take it, or answers with neither a token nor a known refusal (reason invalid_request or malformed_reply); " +
			"where the backend cannot be asked now, 503 and nothing is stored or changed if the credential has a token that still works: send the login again; " +
			"else 202, the credential is pending then and signs in as soon as it can. A credential that is paused stays so.",
		bodyLimit: bodyLimitPut, problems: []int{http.StatusConflict, http.StatusPreconditionFailed, http.StatusInsufficientStorage},
		responses: map[string]*huma.Response{
			"201": a.answer("Created", Record{}, "ETag"),
			"202": a.answer("Accepted", Record{}, "ETag"),
		},
	}, a.putCredential)
	define(a, route{
		method: http.MethodGet, path: credentialsPath, id: "list-credentials", tag: tagCredentials, needs: readers(),
		summary:     "List credentials",
		description: "In the order of their IDs. A page that has a next cursor is followed by another.",
	}, a.listCredentials)
	define(a, route{
		method: http.MethodGet, path: credentialPath, id: "get-credential", tag: tagCredentials, needs: readers(),
		summary: "Show a credential", description: "Without its secrets.",
		problems: []int{http.StatusNotFound},
	}, a.getCredential)
	define(a, route{
		method: http.MethodGet, path: credentialPath + "/user-data", id: "get-user-data", tag: tagCredentials, needs: readers(),
		summary: "Show what a backend tells of its user",
		description: "For programs that choose their first page by it. " +
			"Without user_data where none is kept: none was told or brought, or the credential was logged out.",
		problems: []int{http.StatusNotFound},
	}, a.getUserData)
	define(a, route{
		method: http.MethodPost, path: credentialPath + "/logout", id: "logout-credential", tag: tagCredentials, needs: []Scope{ScopeCredentialWrite},
		summary:     "Log a credential out",
		description: "Erases its secrets and keeps its record. Nothing changes where it is logged out already.",
		problems:    []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, a.logoutCredential)
	define(a, route{
		method: http.MethodDelete, path: credentialPath, id: "delete-credential", tag: tagCredentials, needs: []Scope{ScopeCredentialWrite},
		summary:     "Delete a credential",
		description: "With revoke=true its token is also ended at the provider, as far as that can be done.",
		success:     http.StatusNoContent,
		problems:    []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, a.deleteCredential)
}

type putIn struct {
	IDParam
	ConditionParams

	IfNoneMatch string `header:"If-None-Match" doc:"*: only where nothing is stored"`
	Body        LoginBody
}

func (a *API) putCredential(ctx context.Context, in *putIn) (*recordOut, error) {
	expect, p := expectation(in.IfMatch, in.IfNoneMatch)
	if p != nil {
		return nil, p
	}
	expect.Subject = holder(ctx).Subject
	body, p := in.Body.boundTo(expect.Subject)
	if p != nil {
		return nil, p
	}
	login, p := body.login(credential.ID(in.ID), a.now())
	if p != nil {
		return nil, p
	}
	stored, err := a.engine.Put(ctx, login, expect)
	if err != nil {
		return nil, a.refusedPut(err, expect)
	}
	out := a.shown(stored.Held)
	out.Body.Missing, out.Body.Unchanged = stored.Missing, stored.Unchanged
	switch {
	case !login.SignIn.IsZero() && stored.Held.Record.State == credential.StatePending:
		out.Status = http.StatusAccepted
	case stored.Created:
		out.Status = http.StatusCreated
	}
	return out, nil
}

// refusedPut adds to a refusal which part of the request it is about.
func (a *API) refusedPut(err error, expect Expect) error {
	p := problemOf(err)
	if p == nil {
		return err
	}
	switch FaultKind(p.Code) {
	case FaultForbidden:
		return otherID()
	case FaultUnknownProvider:
		return p.at("body.provider")
	case FaultLoginRefused, FaultKind(credential.ReasonAccountLocked), FaultNoLogin:
		return p.at("body.login")
	case FaultDeadOnArrival:
		return p.at("body.token")
	case FaultStaleToken:
		return p.at("body.token.refresh_token")
	default:
		return a.refused(err, expect)
	}
}

// refused turns a conflict with the caller's own condition into 412.
func (a *API) refused(err error, expect Expect) error {
	if p := problemOf(err); p != nil && p.Code == string(FaultConflict) && expect.conditional() {
		return problem(http.StatusPreconditionFailed, codePrecondition, p.Detail)
	}
	return err
}

type listIn struct {
	Provider string   `query:"provider" maxLength:"128" doc:"Only of that provider"`
	State    string   `query:"state" enum:"pending,active,degraded,expired,reauth_required,logged_out" doc:"Only in that state"`
	Label    []string `query:"label,explode" nullable:"false" doc:"name=value; only with that label. Repeat it for more" example:"team=blue"`
	Prefix   string   `query:"prefix" maxLength:"128" doc:"Only IDs that start so"`
	Cursor   string   `query:"cursor" maxLength:"1024" doc:"The next cursor of the page before"`
	Limit    int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Records a page"`
}

type listOut struct {
	Body struct {
		Credentials []Record `json:"credentials" nullable:"false"`
		Next        string   `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
		Unreadable  []string `json:"unreadable,omitempty" nullable:"false" doc:"IDs of this page whose records are stored but cannot be read, whatever the filters; the service's log has the cause"`
	} `nameHint:"CredentialPage"`
}

func (a *API) listCredentials(ctx context.Context, in *listIn) (*listOut, error) {
	labels, p := parseLabels(in.Label)
	if p != nil {
		return nil, p
	}
	prefix, p := narrowed(holder(ctx), "query.prefix", in.Prefix)
	if p != nil {
		return nil, p
	}
	want := RecordFilter{Provider: in.Provider, State: credential.State(in.State), Labels: labels, Prefix: prefix, Subject: holder(ctx).Subject}
	if lost := a.lost(); lost != "" { // a list that lacks some is worse than none
		return nil, untold("what is stored", lost)
	}
	list, next, err := a.records.List(ctx, want, in.Cursor, in.Limit)
	bad, partial := errors.AsType[Unreadable](err)
	if err != nil && !partial {
		return nil, locate(err, FaultBadCursor, "query.cursor")
	}
	out := &listOut{}
	if partial {
		a.log.Error().Err(err).Str("operation", "list-credentials").Msg("stored records cannot be read")
		for _, id := range bad.Failed() {
			out.Body.Unreadable = append(out.Body.Unreadable, string(id))
		}
	}
	out.Body.Credentials = make([]Record, 0, len(list))
	out.Body.Next = next
	now := a.now()
	for _, h := range list {
		if h.Record.ID.IsClient() || h.Record.State == credential.StateDeleted {
			continue
		}
		out.Body.Credentials = append(out.Body.Credentials, recordOf(h, now))
	}
	return out, nil
}

// locate adds to a fault of one kind which part of the request it is about.
func locate(err error, kind FaultKind, location string) error {
	if p := problemOf(err); p != nil && p.Code == string(kind) {
		return p.at(location)
	}
	return err
}

func (a *API) getCredential(ctx context.Context, in *struct{ IDParam }) (*recordOut, error) {
	held, err := a.records.Record(ctx, credential.ID(in.ID))
	if err != nil {
		return nil, err
	}
	if held == nil || held.Record.State == credential.StateDeleted {
		return nil, unknownCredential(in.ID)
	}
	if err := hold(ctx, held.Record); err != nil {
		return nil, err
	}
	return a.shown(*held), nil
}

// UserDataReply is what is known of the user behind a credential.
type UserDataReply struct {
	Subject   string          `json:"subject,omitempty" doc:"The user's UID at the provider"`
	State     string          `json:"state" enum:"pending,active,degraded,expired,reauth_required,logged_out" doc:"Of the credential"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty" doc:"End of the access token's life, or a session's idle deadline"`
	Version   uint64          `json:"version" doc:"Of the credential"`
	UserData  json.RawMessage `json:"user_data,omitempty" doc:"A JSON value, as it was told or brought"`
}

type userDataOut struct {
	Body UserDataReply
}

func (a *API) getUserData(ctx context.Context, in *struct{ IDParam }) (*userDataOut, error) {
	held, err := a.records.UserData(ctx, credential.ID(in.ID))
	if err != nil {
		return nil, err
	}
	if held == nil || held.Record.State == credential.StateDeleted {
		return nil, unknownCredential(in.ID)
	}
	if err := hold(ctx, held.Record); err != nil {
		return nil, err
	}
	if held.UserData != nil && !json.Valid(held.UserData) {
		return nil, errors.New("the user data that is kept is no JSON")
	}
	r := held.Record
	return &userDataOut{Body: UserDataReply{
		Subject: r.Subject, State: string(r.State), ExpiresAt: moment(r.ExpiresAt), Version: r.Version, UserData: json.RawMessage(held.UserData),
	}}, nil
}

// unknownCredential says that nothing is stored under an ID.
func unknownCredential(id string) error {
	return &FaultError{Kind: FaultNotFound, Detail: "no credential has the ID " + id}
}

type logoutIn struct {
	IDParam
	ConditionParams
}

func (a *API) logoutCredential(ctx context.Context, in *logoutIn) (*recordOut, error) {
	expect, p := expectation(in.IfMatch, "")
	if p != nil {
		return nil, p
	}
	expect.Subject = holder(ctx).Subject
	held, err := a.engine.Logout(ctx, credential.ID(in.ID), expect)
	if err != nil {
		return nil, a.refused(err, expect)
	}
	return a.shown(held), nil
}

// shown answers with a record.
func (a *API) shown(h credential.Held) *recordOut {
	return &recordOut{Status: http.StatusOK, ETag: etag(h.Record.Version), Body: recordOf(h, a.now())}
}

type deleteIn struct {
	IDParam
	ConditionParams

	Revoke bool `query:"revoke" doc:"Also end the token at the provider"`
}

func (a *API) deleteCredential(ctx context.Context, in *deleteIn) (*struct{}, error) {
	expect, p := expectation(in.IfMatch, "")
	if p != nil {
		return nil, p
	}
	expect.Subject = holder(ctx).Subject
	if err := a.engine.Delete(ctx, credential.ID(in.ID), expect, in.Revoke); err != nil {
		return nil, a.refused(err, expect)
	}
	return nil, nil //nolint:nilnil // huma answers with the status alone
}
