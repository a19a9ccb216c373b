package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// State is what a credential is worth, as [Record.State] has it.
type State string

// The states.
const (
	StatePending        State = "pending"         // stored, no token yet
	StateActive         State = "active"          // the token is valid and refreshes succeed
	StateDegraded       State = "degraded"        // the token is still valid, refreshes fail
	StateExpired        State = "expired"         // the token is past its expiry, refreshes go on
	StateReauthRequired State = "reauth_required" // only the user can mend it
	StateLoggedOut      State = "logged_out"      // its owner ended it
)

// Presence tells who uses a session just now.
type Presence string

// The kinds of presence.
const (
	PresenceActive     Presence = "active"     // somebody looks at it, and is told before its end by a session.expiring event
	PresencePassive    Presence = "passive"    // it is kept alive silently
	PresenceBackground Presence = "background" // nobody needs it now: its clock runs, and nothing is sent for it
)

// A Record is a credential without its secrets. A time that is not known is the
// zero time.
type Record struct {
	ID         string            `json:"id"`
	Provider   string            `json:"provider"`
	Subject    string            `json:"subject"` // the user's UID at the provider; may be empty
	Labels     map[string]string `json:"labels"`
	State      State             `json:"state"`
	Reason     string            `json:"reason"`  // why it is in this state, from refreshd's closed list; may be empty
	Since      time.Time         `json:"since"`   // when it entered the state
	Version    uint64            `json:"version"` // grows by one with every change that has an event
	Generation uint64            `json:"generation"`

	ExpiresAt             time.Time `json:"expires_at"` // end of the access token's life; a session's idle deadline
	RefreshTokenExpiresAt time.Time `json:"refresh_token_expires_at"`
	DueAt                 time.Time `json:"due_at"`          // when refreshd looks at it next
	RefreshOnceAt         time.Time `json:"refresh_once_at"` // when it is refreshed beside what is planned

	Refreshable bool     `json:"refreshable"` // there is a way to a new token or a longer life
	HasLogin    bool     `json:"has_login"`   // a user name and a password are held, to sign in again with
	Paused      bool     `json:"paused"`      // nothing is sent for it
	InDoubt     bool     `json:"in_doubt"`    // a refresh was sent and its reply is unknown
	Presence    Presence `json:"presence"`    // of a session, or where it was set

	Session       *Session  `json:"session"` // nil where the token is no sliding session
	LastSuccessAt time.Time `json:"last_success_at"`
	LastFailure   *Failure  `json:"last_failure"` // nil if no refresh has failed

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`

	// Unchanged is set in what [Client.Put] returns if nothing was stored.
	Unchanged bool `json:"unchanged"`
}

// A Session is the clock of a sliding session, which lives while it is used.
type Session struct {
	IdleTimeout      time.Duration // how long it lives without being used
	IdleDeadline     time.Time     // when it dies unless it is used before
	AbsoluteDeadline time.Time     // when it dies in any case; zero where there is no such limit
	LastUsedAt       time.Time     // its last use that refreshd knows of
}

// UnmarshalJSON reads a session as refreshd's API shows it.
func (s *Session) UnmarshalJSON(text []byte) error {
	var in struct {
		IdleTimeout      int64     `json:"idle_timeout"` // seconds
		IdleDeadline     time.Time `json:"idle_deadline"`
		AbsoluteDeadline time.Time `json:"absolute_deadline"`
		LastUsedAt       time.Time `json:"last_used_at"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	*s = Session{
		IdleTimeout:  time.Duration(in.IdleTimeout) * time.Second,
		IdleDeadline: in.IdleDeadline, AbsoluteDeadline: in.AbsoluteDeadline, LastUsedAt: in.LastUsedAt,
	}
	return nil
}

// A Failure is the last refresh of a credential that brought no token.
type Failure struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // from refreshd's closed list, such as "provider_unavailable"
	Detail string    `json:"detail"` // status and error code as the provider gave them; may be empty
}
