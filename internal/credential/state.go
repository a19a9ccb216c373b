package credential

import "fmt"

// State is the authentication state of a credential.
type State string

// The states. StateDeleted is that of a tombstone: what a deletion leaves
// behind so that a re-creation goes on counting where the old record stopped.
const (
	StatePending        State = "pending"         // stored, no token yet
	StateActive         State = "active"          // the token is valid and refreshes succeed
	StateDegraded       State = "degraded"        // the token is valid, refreshes fail
	StateExpired        State = "expired"         // the token is past its expiry, refreshes go on
	StateReauthRequired State = "reauth_required" // only the user can mend it; no call is made
	StateLoggedOut      State = "logged_out"      // the owner ended it; secrets are erased
	StateDeleted        State = "deleted"         // a tombstone
)

// States lists every state a stored credential can be in, tombstones left out.
func States() []State {
	return []State{StatePending, StateActive, StateDegraded, StateExpired, StateReauthRequired, StateLoggedOut}
}

// ParseState returns the state of that name.
func ParseState(s string) (State, error) {
	for _, state := range States() {
		if string(state) == s {
			return state, nil
		}
	}
	return "", fmt.Errorf("unknown state %q; one of %v", s, States())
}

// Terminal reports whether no call is made for a credential in this state.
func (s State) Terminal() bool {
	switch s {
	case StateReauthRequired, StateLoggedOut, StateDeleted:
		return true
	case StatePending, StateActive, StateDegraded, StateExpired:
		return false
	}
	return true
}

// Unasked reports whether the credential is over because there was no call for what it
// holds, and not because anybody said so. A refresh token that was never in doubt is as
// good as it was then.
func (r Record) Unasked() bool {
	return r.State == StateReauthRequired && r.Reason == ReasonNotRefreshable
}

// Reason says why a credential is in its state, or why an attempt ended as it
// did. The list is closed: it labels metrics and is part of the API.
type Reason string

// The reasons.
const (
	ReasonNone                Reason = ""
	ReasonInvalidGrant        Reason = "invalid_grant"        // the provider calls the refresh token dead
	ReasonLostRotation        Reason = "lost_rotation"        // a reply was lost, and the old token is refused
	ReasonInteractionRequired Reason = "interaction_required" // the provider wants the user (MFA, login)
	ReasonConsentRequired     Reason = "consent_required"     // the provider wants a consent
	ReasonNotRefreshable      Reason = "not_refreshable"      // expired, and there is no refresh token
	ReasonRejected            Reason = "rejected"             // the token was refused before its expiry
	ReasonUnavailable         Reason = "provider_unavailable" // 5xx and the like
	ReasonRateLimited         Reason = "rate_limited"         // 429
	ReasonTimeout             Reason = "timeout"              // no reply in the allowed time
	ReasonNetwork             Reason = "network"              // not reached, or cut off
	ReasonMalformedReply      Reason = "malformed_reply"      // a success that cannot be read
	ReasonInvalidRequest      Reason = "invalid_request"      // the provider refuses the request's form, or none can be made
	ReasonClientMisconfigured Reason = "client_misconfigured" // the operator's settings are refused
	ReasonOwnerDied           Reason = "owner_died"           // the process that held the attempt is gone
	ReasonOwner               Reason = "owner"                // the owner asked for it
	ReasonStoreUnavailable    Reason = "store_unavailable"    // Redis is away, or gets back what it lost; or the journal takes nothing
	ReasonLoginRefused        Reason = "login_refused"        // the backend refuses the name and password
	ReasonAccountLocked       Reason = "account_locked"       // the backend has locked the account
	ReasonSessionEnded        Reason = "session_ended"        // the backend says that the session is over
	ReasonIdleTimeout         Reason = "idle_timeout"         // nobody used the session for its idle timeout
	ReasonAbsoluteTimeout     Reason = "absolute_timeout"     // the session has lasted as long as one may
	ReasonPaused              Reason = "paused"               // the operator or the owner holds it back
	ReasonGone                Reason = "gone"                 // of a subscription: its receiver wants no more
	ReasonUndeliverable       Reason = "undeliverable"        // of a subscription: its receiver took an event at no time of the schedule
)

// Reasons lists every reason that a credential can have, but the empty one.
func Reasons() []Reason {
	return []Reason{
		ReasonInvalidGrant, ReasonLostRotation, ReasonInteractionRequired, ReasonConsentRequired,
		ReasonNotRefreshable, ReasonRejected, ReasonUnavailable, ReasonRateLimited, ReasonTimeout,
		ReasonNetwork, ReasonMalformedReply, ReasonInvalidRequest, ReasonClientMisconfigured,
		ReasonOwnerDied, ReasonOwner, ReasonStoreUnavailable,
		ReasonLoginRefused, ReasonAccountLocked, ReasonSessionEnded, ReasonIdleTimeout, ReasonAbsoluteTimeout, ReasonPaused,
	}
}

// Initiator says who set a change off.
type Initiator string

// The initiators.
const (
	BySchedule Initiator = "schedule" // a due time or a periodic fetch
	ByDemand   Initiator = "demand"   // a program asked for a token
	ByOwner    Initiator = "owner"    // the credential's owner, through the API
	ByUser     Initiator = "user"     // the person, by using the session
	ByProvider Initiator = "provider" // the authorization server
)
