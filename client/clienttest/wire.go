package clienttest

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/client"
)

// tokenReply is what a token is answered with.
type tokenReply struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresAt   time.Time `json:"expires_at"`
	ExpiresIn   int64     `json:"expires_in"`
	Scope       string    `json:"scope,omitempty"`
	Version     uint64    `json:"version"`
	Generation  uint64    `json:"generation"`
	Send        sendReply `json:"send"`
}

type sendReply struct {
	As   string `json:"as"`
	Name string `json:"name,omitempty"`
}

// recordReply is what a credential is answered with.
type recordReply struct {
	ID            string            `json:"id"`
	Provider      string            `json:"provider"`
	Subject       string            `json:"subject,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	State         client.State      `json:"state"`
	Reason        string            `json:"reason,omitempty"`
	Since         time.Time         `json:"since,omitzero"`
	Version       uint64            `json:"version"`
	Generation    uint64            `json:"generation"`
	ExpiresAt     time.Time         `json:"expires_at,omitzero"`
	ExpiresIn     *int64            `json:"expires_in,omitempty"`
	Refreshable   bool              `json:"refreshable"`
	HasLogin      bool              `json:"has_login"`
	Paused        bool              `json:"paused"`
	InDoubt       bool              `json:"in_doubt"`
	Presence      client.Presence   `json:"presence,omitempty"`
	Session       *sessionReply     `json:"session,omitempty"`
	LastSuccessAt time.Time         `json:"last_success_at,omitzero"`
	CreatedAt     time.Time         `json:"created_at,omitzero"`
	UpdatedAt     time.Time         `json:"updated_at,omitzero"`
	Unchanged     bool              `json:"unchanged,omitempty"`
}

type sessionReply struct {
	IdleTimeout  int64     `json:"idle_timeout"`
	IdleDeadline time.Time `json:"idle_deadline,omitzero"`
	LastUsedAt   time.Time `json:"last_used_at,omitzero"`
}

type userDataReply struct {
	Subject   string          `json:"subject,omitempty"`
	State     client.State    `json:"state"`
	ExpiresAt time.Time       `json:"expires_at,omitzero"`
	Version   uint64          `json:"version"`
	UserData  json.RawMessage `json:"user_data,omitempty"`
}

type touchedReply struct {
	IdleDeadline time.Time `json:"idle_deadline"`
	ExpiresIn    int64     `json:"expires_in"`
}

type touchAnswer struct {
	ID           string    `json:"id"`
	Result       string    `json:"result"`
	IdleDeadline time.Time `json:"idle_deadline,omitzero"`
}

type touchesReply struct {
	Touches []touchAnswer `json:"touches"`
}

// putBody is what an owner stores.
type putBody struct {
	Provider string            `json:"provider"`
	Subject  string            `json:"subject"`
	Labels   map[string]string `json:"labels"`
	Token    *tokenBody        `json:"token"`
	Login    *loginBody        `json:"login"`
	UserData json.RawMessage   `json:"user_data"`
}

type loginBody struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

type tokenBody struct {
	AccessToken      string     `json:"access_token"`
	RefreshToken     string     `json:"refresh_token"`
	TokenType        string     `json:"token_type"`
	Scope            string     `json:"scope"`
	ExpiresIn        *int64     `json:"expires_in"`
	ExpiresAt        *time.Time `json:"expires_at"`
	RefreshExpiresIn *int64     `json:"refresh_expires_in"`
}

// problem is an error as RFC 9457 describes it, with refreshd's own members.
type problem struct {
	Type       string         `json:"type"`
	Title      string         `json:"title"`
	Status     int            `json:"status"`
	Code       string         `json:"code"`
	Detail     string         `json:"detail"`
	State      client.State   `json:"state,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Since      time.Time      `json:"since,omitzero"`
	RetryAfter int            `json:"retry_after,omitempty"`
	Errors     []problemField `json:"errors,omitempty"`
}

type problemField struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

func refuse(status int, code, detail string) *problem {
	return &problem{Type: "urn:refreshd:problem:" + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// invalid is a problem with one part of the request.
func invalid(location, message string) *problem {
	p := refuse(http.StatusUnprocessableEntity, "invalid", location+" "+message)
	p.Errors = []problemField{{Location: location, Message: message}}
	return p
}

// at says which part of the request the problem is with.
func (p *problem) at(location string) *problem {
	p.Errors = []problemField{{Location: location, Message: p.Detail}}
	return p
}

// again says when to come back.
func (p *problem) again(wait time.Duration) *problem {
	p.RetryAfter = max(int(math.Ceil(wait.Seconds())), 1)
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="refreshd"`)
	}
	answer(w, "application/problem+json", p.Status, p)
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, kind string, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // whoever asked may be gone
}

// secondsLeft returns the whole seconds until expiry, never less than 0.
func secondsLeft(expiry, now time.Time) int64 {
	return max(int64(expiry.Sub(now)/time.Second), 0)
}
