package provider

import (
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// ErrNoRevocation says that there is no call that ends a token: no revocation
// endpoint (RFC 7009) is known, no log-out declared.
var ErrNoRevocation = errors.New("there is no call that ends a token; set revoke_url or an issuer that announces one, or declare a logout")

// CallError is a call to a provider that failed, where the failure is told as
// an error: a preparation or a revocation. Its text has no secret in it.
type CallError struct {
	Provider string
	Op       string             // "discovery", "revocation", "logout"
	Outcome  credential.Outcome // class, reason and detail; never a token
	Err      error              // nil if the outcome says all
}

// Error names the provider, the call and what came of it.
func (e *CallError) Error() string {
	text := fmt.Sprintf("provider %s: %s: %s", e.Provider, e.Op, e.Outcome.Class)
	if e.Outcome.Detail != "" {
		text += ": " + e.Outcome.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *CallError) Unwrap() error { return e.Err }
