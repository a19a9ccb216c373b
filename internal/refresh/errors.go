package refresh

import (
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Errors of the package. Typed ones carry what a caller can act on.
var (
	// ErrNotFound: no credential has that ID.
	ErrNotFound = errors.New("no such credential")
	// ErrUnknownProvider: the configuration has no provider of that name.
	ErrUnknownProvider = errors.New("the configuration has no such provider")
	// ErrStaleToken: the refresh token was presented or replaced before.
	ErrStaleToken = errors.New("this refresh token was used before; log in again for a new one")
	// ErrNotRefreshable: the token in hand is not good enough, and there is
	// no way to another.
	ErrNotRefreshable = errors.New("there is no way to another token: the credential holds neither a refresh token nor a login that its provider has a call for; store one, or declare the call in config.yaml")
	// ErrFreshRejected: the resource refused a token that was installed only
	// because it had refused the one before.
	ErrFreshRejected = errors.New("a token that was just refreshed is refused as well: look at its scope and at the account")
	// ErrConflict: the credential is not as the caller expects it.
	ErrConflict = errors.New("the credential is not as expected")
	// ErrOtherSubject: the credential is that of another subject than the
	// caller's.
	ErrOtherSubject = errors.New("the credential is another subject's")
	// ErrStopping: the process is about to end and begins nothing new.
	ErrStopping = errors.New("the service is stopping")
	// ErrNoLogin: the provider has no call that logs in.
	ErrNoLogin = errors.New("this provider takes no name and password: its settings have no login call")
	// ErrDeadOnArrival: the login that was brought can never be used.
	ErrDeadOnArrival = errors.New("the access token has expired and there is no refresh token: send one that is valid, or a refresh token with it")
	// ErrDeadLogin: the token that a backend gave for a login can never be used.
	ErrDeadLogin = errors.New("the token that the backend gave for this login has expired already; nothing was stored. " +
		"See whether expires_in of login.response is in the declared unit, and whether the backend's clock is right")
	// ErrNoSession: the credential's token is no sliding session, and none of
	// its provider's are.
	ErrNoSession = errors.New("its token is no sliding session: it has an expiry of its own, whoever uses it")
)

// LoginRefusedError says that the backend does not take the name and password
// that an owner brought. Nothing was stored.
type LoginRefusedError struct {
	Reason credential.Reason
	Detail string // what the backend answered, as far as it may be shown
}

func (e *LoginRefusedError) Error() string {
	return fmt.Sprintf("the backend refuses this login (%s)", e.Reason)
}

// LoginUnclearError says that the backend has answered a login that an owner
// brought with neither a token nor a refusal in words that are known. It may be a
// wrong password, for which accounts are locked, or the settings are wrong: the
// login is not made again by itself. Nothing was stored.
type LoginUnclearError struct {
	Reason  credential.Reason
	Detail  string               // what the backend answered, as far as it may be shown
	Missing []credential.Absence // the token, if it should have been in the reply
}

func (e *LoginUnclearError) Error() string {
	return fmt.Sprintf("the backend's answer to this login is neither a token nor a known refusal (%s)", e.Reason)
}

// LoginPutOffError says that a login which an owner brought cannot be made now.
// The credential has a token that still works, so nothing was stored and nothing
// has changed; the login has to be sent again.
type LoginPutOffError struct {
	Reason     credential.Reason
	RetryAfter time.Duration
	Detail     string // what the backend answered, as far as it may be shown
}

func (e *LoginPutOffError) Error() string {
	return fmt.Sprintf("this login cannot be made now (%s), send it again in %s; what is stored is kept", e.Reason, e.RetryAfter.Round(time.Second))
}

// StateError says that only a person can mend the credential.
type StateError struct {
	State  credential.State
	Reason credential.Reason
	Since  credential.Millis
}

func (e *StateError) Error() string {
	return fmt.Sprintf("the credential is %s (%s) since %s", e.State, e.Reason, e.Since.Time().Format(time.RFC3339))
}

// UnavailableError says that no good enough token can be had now, or that a change
// cannot be made.
type UnavailableError struct {
	Reason     credential.Reason
	RetryAfter time.Duration
	Err        error // what was in the way, if it was an error
	Unsure     bool  // the change may have been made all the same: the answer is missing
	Doubt      bool  // a refresh was sent and its reply is unknown: what is waited for is the moment to present its token again
}

func (e *UnavailableError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("no valid token now (%s), ask again in %s: %v", e.Reason, e.RetryAfter.Round(time.Second), e.Err)
	}
	return fmt.Sprintf("no valid token now (%s), ask again in %s", e.Reason, e.RetryAfter.Round(time.Second))
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// MinTTLError says that the provider does not grant a life that long.
type MinTTLError struct {
	Asked   time.Duration
	Longest time.Duration // that can be asked for
}

func (e *MinTTLError) Error() string {
	return fmt.Sprintf("min_ttl is %s, but this credential's tokens live too short for more than %s", e.Asked, e.Longest.Truncate(time.Second))
}

// outageError says that the store could not be asked.
type outageError struct {
	err    error
	unsure bool // it may have done what it was asked for
}

func (e *outageError) Error() string { return "the store cannot be reached: " + e.err.Error() }
func (e *outageError) Unwrap() error { return e.err }
