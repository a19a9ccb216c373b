package provider

import (
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/reqtemplate"
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

// ValueError says that a request can never be made for a login, because of a value
// that it has brought, or has not.
type ValueError struct {
	Provider string
	Name     string // of the value, such as subject
	Request  string // what the settings call the request, or the part of it
	Why      string // it does not fit there; "" if it is missing
}

// Error does not quote the value.
func (e *ValueError) Error() string { return e.Name + " " + e.Sentence() }

// Sentence says what is wrong, and the remedy, without the value's name.
func (e *ValueError) Sentence() string {
	remedy := "send it as well"
	switch {
	case e.Name == string(reqtemplate.Subject):
		remedy = "give the user's UID at that provider"
	case e.Why != "":
		remedy = "send another one, or have the settings send it where it fits"
	}
	if e.Why != "" {
		return fmt.Sprintf("does not fit %s of provider %s: it %s; %s", e.Request, e.Provider, e.Why, remedy)
	}
	return fmt.Sprintf("is missing, and %s of provider %s needs {{.%s}}: %s", e.Request, e.Provider, e.Name, remedy)
}
