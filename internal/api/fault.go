package api

import (
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// FaultKind sorts what keeps the service from doing as it was asked. It is the
// code of the problem that the caller sees.
type FaultKind string

// The kinds.
const (
	FaultNotFound        FaultKind = "not_found"         // no credential has that ID
	FaultUnknownProvider FaultKind = "unknown_provider"  // the configuration has no such provider
	FaultStaleToken      FaultKind = "stale_token"       // the refresh token was used or replaced before
	FaultLoginRefused    FaultKind = "login_refused"     // the backend does not take the name and password; the code is account_locked where that is the reason
	FaultNoLogin         FaultKind = "login_unsupported" // the provider takes tokens, not logins
	FaultDeadOnArrival   FaultKind = "dead_on_arrival"   // the token that was brought can never be used
	FaultConflict        FaultKind = "conflict"          // the credential is not as the caller expects it
	FaultNotRefreshable  FaultKind = "not_refreshable"   // not good enough, and there is no refresh token
	FaultFreshRejected   FaultKind = "fresh_rejected"    // a token that was just refreshed is refused as well
	FaultNoSession       FaultKind = "no_session"        // its token is no sliding session, and none will be
	FaultState           FaultKind = "state"             // only a person can mend it; the code is the state's name
	FaultMinTTL          FaultKind = "min_ttl"           // the provider grants no life that long
	FaultUnavailable     FaultKind = "unavailable"       // not now
	FaultFull            FaultKind = "full"              // no room for another credential
	FaultBadCursor       FaultKind = "bad_cursor"        // the cursor was not handed out by this service
	FaultForbidden       FaultKind = "forbidden"         // it is another subject's than the caller's
	FaultBadFilter       FaultKind = "bad_filter"        // the event types asked for do not exist

	FaultNoSubscription     FaultKind = "subscription_not_found"  // no subscription has that name
	FaultSubscriptionExists FaultKind = "subscription_exists"     // one of that name exists, or was just deleted
	FaultManagedByConfig    FaultKind = "managed_by_config"       // what stands in config.yaml is changed there
	FaultInvalid            FaultKind = codeInvalid               // a field of the request is wrong; Field says which
	FaultTurnedOff          FaultKind = "subscription_turned_off" // config.yaml has it off
	FaultNotDelivered       FaultKind = "subscription_not_pushed" // its receiver comes for its events
)

// FaultError says why the service did not do as it was asked, in words that
// the caller may read.
type FaultError struct {
	Kind   FaultKind
	Detail string // for the caller: no secret, no address, no part of a reply
	Err    error  // for the log; may be nil

	Field      string            // with FaultInvalid, such as body.url
	State      credential.State  // with FaultState
	Reason     credential.Reason // with FaultState, FaultLoginRefused and FaultUnavailable
	Since      credential.Millis // with FaultState
	RetryAfter time.Duration     // with FaultUnavailable; 0 counts as a second
}

// Error returns the kind, what the caller is told and the cause.
func (e *FaultError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Kind, e.Detail, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Detail)
}

// Unwrap returns the cause.
func (e *FaultError) Unwrap() error { return e.Err }
