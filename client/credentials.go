package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// PutInput is a credential to be stored. Give a Token, a Login, or both.
type PutInput struct {
	Provider string            // name of a provider of refreshd's configuration
	Subject  string            // the user's UID at the provider; may be empty
	Labels   map[string]string // to find credentials by; at most 32
	Token    *PutToken         // a token that was issued already
	Login    *Login            // a user name and a password, for providers that have a login call
	UserData any               // what is to be known of the user, of any type that encodes as JSON, up to 64 KiB; nil for nothing

	// IfVersion has it stored only if the credential is at that version; 0
	// stores it at any. Else the error matches ErrConflict.
	IfVersion uint64
	// IfAbsent has it stored only if there is none under the ID. Else the error
	// matches ErrConflict.
	IfAbsent bool
}

// Put stores a credential, or logs one in again. A login without an access
// token signs in before Put returns: where the backend does not take it,
// nothing is stored and the error matches [ErrLoginRefused]; where the backend
// cannot be asked now, the record is [StatePending], and refreshd signs in as
// soon as it can. A token whose refresh token was used up before is refused
// with [ErrConflict]. One whose refresh token is in store changes nothing but
// the subject, where that differs: another access token beside it is not taken.
// Without such a subject the record is Unchanged.
func (c *Client) Put(ctx context.Context, id string, in PutInput) (*Record, error) {
	body, err := in.body()
	if err != nil {
		return nil, err
	}
	var conditions []header
	if in.IfVersion != 0 {
		conditions = append(conditions, ifMatch(in.IfVersion))
	}
	if in.IfAbsent {
		conditions = append(conditions, header{"If-None-Match", "*"})
	}
	return c.change(ctx, http.MethodPut, id, "", body, conditions...)
}

// Get returns a credential without its secrets.
func (c *Client) Get(ctx context.Context, id string) (*Record, error) {
	var r Record
	if err := c.callFor(ctx, http.MethodGet, id, "", nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Logout ends a credential: its secrets are erased, and its record stays in
// [StateLoggedOut]. Nothing changes where it is logged out already.
func (c *Client) Logout(ctx context.Context, id string) (*Record, error) {
	return c.change(ctx, http.MethodPost, id, "/logout", nil)
}

// DeleteOptions are the settings of [Client.Delete].
type DeleteOptions struct {
	// Revoke also ends the token at the provider, as far as that can be done.
	Revoke bool
	// IfVersion has it deleted only if the credential is at that version; 0
	// deletes it at any. Else the error matches ErrConflict.
	IfVersion uint64
}

// Delete removes a credential with its record.
func (c *Client) Delete(ctx context.Context, id string, opts DeleteOptions) error {
	path := ""
	if opts.Revoke {
		path = "?revoke=true"
	}
	var conditions []header
	if opts.IfVersion != 0 {
		conditions = append(conditions, ifMatch(opts.IfVersion))
	}
	err := c.callFor(ctx, http.MethodDelete, id, path, nil, nil, conditions...)
	c.changed(id, 0, err)
	return err
}

// SetPresence tells who uses a session, which decides whether it is kept alive
// and whether its end is announced. For a token that is no session, which has an
// expiry of its own, it is [ErrNoSession].
func (c *Client) SetPresence(ctx context.Context, id string, presence Presence) (*Record, error) {
	body := struct {
		Presence Presence `json:"presence"`
	}{presence}
	var r Record
	if err := c.callFor(ctx, http.MethodPut, id, "/presence", body, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Touch tells that a sliding session was used, so that its idle timeout starts
// anew, and returns its new idle deadline. [Client.Transport] does this by
// itself. A credential that is no session gives [ErrNoSession], and one that
// had ended [ErrSessionOver].
func (c *Client) Touch(ctx context.Context, id string) (deadline time.Time, err error) {
	var reply struct {
		IdleDeadline time.Time `json:"idle_deadline"`
	}
	if err := c.callFor(ctx, http.MethodPost, id, "/touch", nil, &reply); err != nil {
		return time.Time{}, err
	}
	return reply.IdleDeadline, nil
}

// change makes a call that may give the credential another token, or none.
func (c *Client) change(ctx context.Context, method, id, rest string, in any, headers ...header) (*Record, error) {
	var r Record
	err := c.callFor(ctx, method, id, rest, in, &r, headers...)
	c.changed(id, r.Version, err)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// changed puts away the token in hand after a change, or what may have been
// one.
func (c *Client) changed(id string, version uint64, err error) {
	_, refused := errors.AsType[*Error](err)
	switch {
	case err == nil:
		c.slots.of(c, id).renounce(version)
	case !refused || errors.Is(err, ErrUnavailable):
		c.slots.of(c, id).suspect()
	default: // nothing was changed
	}
}

// ifMatch is the condition that a credential is at a version, which is its ETag
// (RFC 9110 section 13.1.1).
func ifMatch(version uint64) header {
	return header{"If-Match", `"` + strconv.FormatUint(version, 10) + `"`}
}

// putBody is a credential as the API takes it.
type putBody struct {
	Provider string            `json:"provider"`
	Subject  string            `json:"subject,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Token    *putTokenBody     `json:"token,omitempty"`
	Login    *loginBody        `json:"login,omitempty"`
	UserData json.RawMessage   `json:"user_data,omitempty"`
}

func (in PutInput) body() (*putBody, error) {
	body := &putBody{Provider: in.Provider, Subject: in.Subject, Labels: in.Labels, Token: tokenBodyOf(in.Token), Login: loginBodyOf(in.Login)}
	if in.UserData == nil {
		return body, nil
	}
	text, err := json.Marshal(in.UserData)
	if err != nil {
		return nil, fmt.Errorf("client: PutInput.UserData cannot be written as JSON: %w", err)
	}
	body.UserData = text
	return body, nil
}
