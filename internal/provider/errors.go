package provider

import (
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// ErrNoRevocation says that no revocation endpoint (RFC 7009) is known.
var ErrNoRevocation = errors.New("no revocation endpoint is known; set revoke_url, or an issuer that announces one")

// CallError is a call to a provider that failed, where the failure is told as
// an error: a preparation or a revocation. Its text has no secret in it.
type CallError struct {
	Provider string
	Op       string             // "discovery", "revocation"
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
