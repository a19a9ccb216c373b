package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// What errors of this package are matched with, by errors.Is. The typed errors
// beside them tell more.
var (
	// ErrUnauthorized means that refreshd does not know the API key.
	ErrUnauthorized = errors.New("the API key is not known")
	// ErrForbidden means that the API key is not good for this call or ID.
	ErrForbidden = errors.New("the API key may not do this")
	// ErrInvalid means that refreshd does not take what was asked for: an ID, a
	// provider, a filter, a field. [Error.Location] tells which.
	ErrInvalid = errors.New("the request is invalid")
	// ErrNotFound means that no credential has the ID.
	ErrNotFound = errors.New("no such credential")
	// ErrConflict means that the credential is not as the caller expected: a
	// condition such as [PutInput.IfVersion] does not hold, or the refresh token
	// that was put is one that was used up before.
	ErrConflict = errors.New("the credential is not as expected")
	// ErrReauthRequired means that only the user can mend the credential, by
	// signing in again. The error is a [ReauthError].
	ErrReauthRequired = errors.New("the user has to sign in again")
	// ErrLoggedOut means that the credential's owner ended it; signing in again
	// brings it back. The error is a [ReauthError].
	ErrLoggedOut = errors.New("logged out")
	// ErrFreshRejected means that a token that had just replaced a rejected one
	// was rejected as well, so that another refresh would not help: the user may
	// lack a right, or has to sign in again. The error is a [ReauthError].
	ErrFreshRejected = errors.New("a fresh token was rejected as well")
	// ErrNotRefreshable means that the token cannot be replaced: there is no
	// refresh token and no login.
	ErrNotRefreshable = errors.New("there is no way to a new token")
	// ErrLoginRefused means that the backend did not take the user name and
	// password that were put.
	ErrLoginRefused = errors.New("the login was refused")
	// ErrNoSession means that a credential was touched whose token is no sliding
	// session: it has an expiry, which use does not move.
	ErrNoSession = errors.New("not a sliding session")
	// ErrSessionOver means that a session was touched after its end.
	ErrSessionOver = errors.New("the session is over")
	// ErrUnavailable means: not now. refreshd cannot be reached, or cannot get a
	// token from the provider at the moment. The error is an [UnavailableError].
	ErrUnavailable = errors.New("not available now")
	// ErrClosed means that the client was closed.
	ErrClosed = errors.New("client: closed")
)

// An Error is a call that refreshd refused, as its problem details tell it
// (RFC 9457). It unwraps to one of this package's sentinels where one fits.
type Error struct {
	Status   int    // of the HTTP reply
	Code     string // what went wrong, for programs, such as "not_found"; empty where the reply was not refreshd's
	Detail   string // what went wrong and what to do, for people
	Location string // which part of the request is wrong, such as "body.token.expires_in"; may be empty
}

// Error returns the detail with the status and the code.
func (e *Error) Error() string {
	detail := e.Detail
	if detail == "" {
		detail = http.StatusText(e.Status)
	}
	return fmt.Sprintf("refreshd: %s (%s)", detail, strings.TrimSpace(strconv.Itoa(e.Status)+" "+e.Code))
}

// Unwrap returns the sentinel that stands for the code, nil if there is none.
func (e *Error) Unwrap() error {
	switch e.Code {
	case "not_found":
		return ErrNotFound
	case "forbidden":
		return ErrForbidden
	case "conflict", "precondition", "stale_token":
		return ErrConflict
	case codeReauthRequired:
		return ErrReauthRequired
	case codeLoggedOut:
		return ErrLoggedOut
	case codeFreshRejected:
		return ErrFreshRejected
	case "not_refreshable":
		return ErrNotRefreshable
	case "login_refused", "account_locked":
		return ErrLoginRefused
	case "no_session":
		return ErrNoSession
	case "session_over":
		return ErrSessionOver
	case "":
		return unwrapStatus(e.Status)
	default:
		if err := unwrapStatus(e.Status); err != nil {
			return err
		}
		if e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity {
			return ErrInvalid
		}
		return nil
	}
}

// unwrapStatus returns the sentinel for a status that means the same whoever
// answers, be it a proxy in front of refreshd.
func unwrapStatus(status int) error {
	switch status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	default:
		return nil
	}
}

// Codes of problems that only the user can mend.
const (
	codeReauthRequired = "reauth_required"
	codeLoggedOut      = "logged_out"
	codeFreshRejected  = "fresh_rejected"
)

// A ReauthError is a credential that gives no token until its user acts. It
// unwraps to [ErrReauthRequired], [ErrLoggedOut] or [ErrFreshRejected], and to
// the [Error] that refreshd answered with.
type ReauthError struct {
	ID     string    // of the credential
	Code   string    // "reauth_required", "logged_out" or "fresh_rejected"
	Reason string    // why, from refreshd's closed list, such as "invalid_grant"; may be empty
	Since  time.Time // when the credential came into that state; zero with "fresh_rejected"

	problem *Error
}

// Error tells which credential it is, and why.
func (e *ReauthError) Error() string {
	text := fmt.Sprintf("refreshd: credential %s needs its user: %s", e.ID, e.Code)
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	if !e.Since.IsZero() {
		text += " since " + e.Since.UTC().Format(time.RFC3339)
	}
	return text
}

// Unwrap returns what refreshd answered, which unwraps to the sentinel.
func (e *ReauthError) Unwrap() error { return e.problem }

// LoggedOut reports whether the credential's owner ended it, so that nobody
// needs to be asked.
func (e *ReauthError) LoggedOut() bool { return e.Code == codeLoggedOut }

// An UnavailableError is a call that may succeed later. It unwraps to
// [ErrUnavailable] and to its cause, which is an [Error] where refreshd
// answered.
type UnavailableError struct {
	RetryAfter time.Duration // when to ask again, as refreshd told; 0 if it told nothing
	Reason     string        // why, from refreshd's closed list, such as "provider_unavailable"; may be empty
	Err        error         // the cause
}

// Error returns the cause and when to ask again.
func (e *UnavailableError) Error() string {
	text := "refreshd is not available now"
	if e.Err != nil {
		text = e.Err.Error()
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.RetryAfter > 0 {
		text += ", ask again in " + e.RetryAfter.String()
	}
	return text
}

// Unwrap returns [ErrUnavailable] and the cause.
func (e *UnavailableError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrUnavailable}
	}
	return []error{ErrUnavailable, e.Err}
}

// problem is the body of a reply that tells an error (RFC 9457), with the
// members that refreshd adds.
type problem struct {
	Code   string     `json:"code"`
	Detail string     `json:"detail"`
	Reason string     `json:"reason"`
	Since  *time.Time `json:"since"`
	Errors []struct {
		Location string `json:"location"`
	} `json:"errors"`
}

const (
	maxProblem = 64 << 10 // bytes
	maxWords   = 512      // bytes of a text that is shown to people
)

// failure turns a reply that is not a success into an error.
func failure(res *http.Response) error {
	var p problem
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == problemType {
		text, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
		if err != nil || json.Unmarshal(text, &p) != nil {
			p = problem{} // the status has to do
		}
	}
	told := &Error{Status: res.StatusCode, Code: words(p.Code), Detail: words(p.Detail)}
	if len(p.Errors) > 0 {
		told.Location = words(p.Errors[0].Location)
	}
	switch {
	case told.Code == codeReauthRequired, told.Code == codeLoggedOut, told.Code == codeFreshRejected:
		reauth := &ReauthError{Code: told.Code, Reason: words(p.Reason), problem: told}
		if p.Since != nil {
			reauth.Since = *p.Since
		}
		return reauth
	case res.StatusCode/100 == 3:
		told.Detail = "the reply is a redirect, which is not followed; give the URL that it leads to"
		return told
	case passing(res.StatusCode):
		return &UnavailableError{RetryAfter: retryAfter(res.Header), Reason: words(p.Reason), Err: told}
	default:
		return told
	}
}

// passing reports whether a status tells of something that passes by itself.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// maxRetryAfter bounds how long a reply can make callers wait.
const maxRetryAfter = time.Hour

// retryAfter reads the header of that name (RFC 9110 section 10.2.3), in
// seconds or as a date; 0 if there is none that makes sense.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		wait = time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// words makes a text from a reply fit to be shown: short, and without control
// characters.
func words(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxWords)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
