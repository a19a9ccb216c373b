package provider

import (
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// ErrNoRevocation says that there is no call that ends a token: no revocation
// endpoint (RFC 7009) is known, no log-out declared.
var ErrNoRevocation = errors.New("there is no call that ends a token; set revoke_url or an issuer that announces one, or declare a logout")

// ErrSettings is wrapped by every error about a provider's settings.
var ErrSettings = errors.New("invalid provider settings")

// SettingError is what is wrong with one of a provider's settings.
type SettingError struct {
	Key string // as the configuration calls it below the provider, such as login.request.url
	Err error  // what is wrong, and the remedy; it shows no secret
}

// Error names the key.
func (e SettingError) Error() string {
	return ErrSettings.Error() + ": " + e.Key + ": " + e.Err.Error()
}

// Unwrap returns [ErrSettings] and what is wrong.
func (e SettingError) Unwrap() []error { return []error{ErrSettings, e.Err} }

// SettingErrors are all that is known to be wrong with a provider's settings.
type SettingErrors []SettingError

// Error has a line for each.
func (e SettingErrors) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap returns them.
func (e SettingErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i := range e {
		list[i] = e[i]
	}
	return list
}

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
