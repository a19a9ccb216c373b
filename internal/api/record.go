package api

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Record is a credential without its secrets.
type Record struct {
	ID            string            `json:"id" example:"github:alice"`
	Provider      string            `json:"provider" example:"github"`
	Subject       string            `json:"subject,omitempty" doc:"The user's UID at the provider"`
	Labels        map[string]string `json:"labels,omitempty" doc:"The owner's own"`
	State         string            `json:"state" enum:"pending,active,degraded,expired,reauth_required,logged_out" doc:"pending: no token yet; active: valid, refreshes succeed; degraded: valid, refreshes fail; expired: past its expiry, refreshes go on; reauth_required: only the user can mend it; logged_out: its owner ended it"`
	Reason        string            `json:"reason,omitempty" doc:"Why it is in this state" example:"invalid_grant"`
	Since         *time.Time        `json:"since,omitempty" doc:"When it entered this state"`
	Version       uint64            `json:"version" doc:"Grows by one with every change that has an event; the ETag"`
	Generation    uint64            `json:"generation" doc:"Grows by one with every token"`
	ExpiresAt     *time.Time        `json:"expires_at,omitempty" doc:"End of the access token's life; a session's idle deadline"`
	ExpiresIn     *int64            `json:"expires_in,omitempty" doc:"Seconds until then, 0 if it has passed"`
	DueAt         *time.Time        `json:"due_at,omitempty" doc:"When refreshd looks at it next"`
	RefreshOnceAt *time.Time        `json:"refresh_once_at,omitempty" doc:"When it is refreshed beside what is planned, as was asked for"`
	Refreshable   bool              `json:"refreshable" doc:"There is a way to a new token or a longer life: a refresh token, a login, or a call that extends the session"`
	HasLogin      bool              `json:"has_login" doc:"A user name and a password are held, to sign in again with"`
	Paused        bool              `json:"paused" doc:"It is held back: nothing is sent for it. Its provider or the whole service may be held back as well, which stands there"`
	InDoubt       bool              `json:"in_doubt" doc:"A refresh was sent and its reply is unknown"`
	Presence      string            `json:"presence,omitempty" enum:"active,passive,background" doc:"Who uses it, of a session or where it was set"`
	Session       *Session          `json:"session,omitempty" doc:"Where the token is a sliding session"`
	LastSuccessAt *time.Time        `json:"last_success_at,omitempty" doc:"The last refresh that brought a token"`
	LastFailure   *Failure          `json:"last_failure,omitempty" doc:"The last refresh that did not. Of a new login that could not be made, what stood in its way"`

	RefreshTokenExpiresAt *time.Time `json:"refresh_token_expires_at,omitempty" doc:"Absolute end of the refresh token's life, where it is known"`
	LearnedLifetime       int64      `json:"learned_lifetime,omitempty" doc:"Seconds that its tokens are taken to live, because resources refused them before the time that was told"`

	Missing []string `json:"missing,omitempty" nullable:"false" doc:"In the answer to a PUT alone: what should tell when a token ends, and does not: the settings decide then; and user data that is too long to be kept" example:"exp (access_token) tells no time to come"`

	Unchanged bool `json:"unchanged,omitempty" doc:"In the answer to a PUT alone, and then true: nothing was stored, because its refresh token, or without one its access token, is the one in store. An access token, an expiry, labels and the like beside it were not taken"`

	CreatedAt *time.Time `json:"created_at,omitempty"`
	UpdatedAt *time.Time `json:"updated_at,omitempty"`
}

// Session is the clock of a sliding session.
type Session struct {
	IdleTimeout      int64      `json:"idle_timeout" doc:"Seconds it lives without being used"`
	IdleDeadline     *time.Time `json:"idle_deadline,omitempty" doc:"When it dies unless it is used before"`
	AbsoluteDeadline *time.Time `json:"absolute_deadline,omitempty" doc:"When it dies whether or not it is used; absent where there is no such limit"`
	LastUsedAt       *time.Time `json:"last_used_at,omitempty" doc:"Its last use that refreshd knows of"`
}

// Failure tells how a refresh failed.
type Failure struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason" example:"provider_unavailable"`
	Detail string    `json:"detail,omitempty" doc:"Status and error code as the provider gave them" example:"503"`
}

// recordOf shows a record as of now.
func recordOf(h credential.Held, now credential.Millis) Record {
	r := h.Record
	shown := Record{
		ID: string(r.ID), Provider: r.Provider, Subject: r.Subject, Labels: r.Labels,
		State: string(r.State), Reason: string(r.Reason), Since: moment(r.Since),
		Version: r.Version, Generation: r.Generation,
		ExpiresAt: moment(r.ExpiresAt), DueAt: moment(credential.NextDue(r, h.Attempt)),
		Refreshable: r.Refreshable, InDoubt: h.Attempt != nil && h.Attempt.Doubt,
		RefreshOnceAt: moment(r.OnceAt), HasLogin: r.HasLogin, Paused: r.Paused, Presence: string(r.Presence),
		LearnedLifetime: int64(r.Learned.Life / time.Second),
		LastSuccessAt:   moment(r.LastAttempt.SucceededAt),
		CreatedAt:       moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	if s := r.Session; s.Sliding() {
		shown.Session = &Session{
			IdleTimeout: int64(s.Idle / time.Second), IdleDeadline: moment(r.ExpiresAt),
			AbsoluteDeadline: moment(r.LimitAt), LastUsedAt: moment(r.IssuedAt),
		}
		shown.Presence = cmp.Or(shown.Presence, string(credential.PresencePassive))
	} else {
		shown.RefreshTokenExpiresAt = moment(r.LimitAt)
	}
	if r.ExpiresAt != 0 {
		shown.ExpiresIn = new(secondsLeft(r.ExpiresAt, now))
	}
	if r.LastAttempt.FailedAt != 0 {
		shown.LastFailure = &Failure{At: r.LastAttempt.FailedAt.Time(), Reason: string(r.LastAttempt.Failure), Detail: r.LastAttempt.Detail}
	}
	return shown
}

// secondsLeft returns the whole seconds until expiry, never less than 0.
func secondsLeft(expiry, now credential.Millis) int64 {
	return max(int64(expiry.Sub(now)/time.Second), 0)
}

// etag is the strong validator of a version (RFC 9110 section 8.8.3).
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// expectation reads If-Match and If-None-Match.
func expectation(ifMatch, ifNoneMatch string) (Expect, *Problem) {
	switch {
	case ifMatch != "" && ifNoneMatch != "":
		return Expect{}, invalid("header.If-None-Match", "contradicts If-Match; send one of them")
	case ifNoneMatch != "":
		if ifNoneMatch != "*" {
			return Expect{}, invalid("header.If-None-Match", "takes * alone: store only where nothing is stored")
		}
		return Expect{Absent: true}, nil
	case ifMatch == "":
		return Expect{}, nil
	}
	text, ok := strings.CutPrefix(ifMatch, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	version, err := strconv.ParseUint(text, 10, 64)
	if !ok || !closed || err != nil || version == 0 {
		return Expect{}, invalid("header.If-Match", `takes one ETag as it was handed out, such as "7"`)
	}
	return Expect{Version: version}, nil
}
