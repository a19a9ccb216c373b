package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// A User is what refreshd knows of the user behind a credential.
type User[T any] struct {
	Subject   string    // the user's UID at the provider; may be empty
	State     State     // of the credential
	ExpiresAt time.Time // end of the access token's life, or a session's idle deadline; zero if there is none
	Version   uint64    // of the credential; 0 from a refreshd that does not tell it here
	Data      T         // as the backend told it or [Client.Put] brought it
	Known     bool      // there is user data; else Data is the zero value
}

// UserData returns the user data that is stored with a credential as a value of
// the caller's own type, with what a program needs at its start to pick its
// first page: who the user is, and whether the login still lives. It makes no
// call to the provider.
func UserData[T any](ctx context.Context, c *Client, id string) (*User[T], error) {
	var reply struct {
		Subject   string          `json:"subject"`
		State     State           `json:"state"`
		ExpiresAt time.Time       `json:"expires_at"`
		Version   uint64          `json:"version"`
		UserData  json.RawMessage `json:"user_data"`
	}
	if err := c.callFor(ctx, http.MethodGet, id, "/user-data", nil, &reply); err != nil {
		return nil, err
	}
	user := &User[T]{Subject: reply.Subject, State: reply.State, ExpiresAt: reply.ExpiresAt, Version: reply.Version, Known: len(reply.UserData) > 0}
	if !user.Known {
		return user, nil
	}
	if err := json.Unmarshal(reply.UserData, &user.Data); err != nil {
		return nil, fmt.Errorf("client: the user data of %s is no %T: %w", id, user.Data, err)
	}
	return user, nil
}
