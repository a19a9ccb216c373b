package clienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/client"
)

const (
	// margin is what a token that is handed out lives longer than asked for.
	margin = time.Second
	// longestPart is the part of a token's life that can be asked for.
	longestPart = 0.9
	// suspectFor is how long a token that replaced a rejected one is not
	// replaced again.
	suspectFor = time.Minute
)

// A Credential is what [Server.Put] stores. The zero value is a bearer token
// of an hour that can be refreshed for ever.
type Credential struct {
	Provider string // "test" unless set
	Subject  string // the user's UID
	Labels   map[string]string
	Scope    string
	// Lifetime is that of every token: an hour unless set.
	Lifetime time.Duration
	// IdleTimeout makes it a sliding session, which lives that long without
	// being touched. Lifetime has no meaning then.
	IdleTimeout time.Duration
	// Send is how requests carry the token: as a bearer unless set.
	Send client.Send
	// UserData is what is told of the user, as a value that can be written as
	// JSON.
	UserData any
	// NoRefresh says that there is no way to another token.
	NoRefresh bool
}

// stored is a credential with all that happened to it.
type stored struct {
	Credential

	id         string
	state      client.State
	reason     string
	since      time.Time
	version    uint64
	generation uint64
	token      string // the access token; "" where there is none
	tokenType  string
	refresh    string          // the refresh token that was put; "" where none was
	spent      map[string]bool // the refresh tokens that were put before that
	hasLogin   bool
	userData   json.RawMessage
	presence   client.Presence
	expiresAt  time.Time
	usedAt     time.Time // a session's last use
	refusedBy  uint64    // the generation that resources refuse; 0 if none
	replacedBy uint64    // the generation that took a refused one's place; 0 if none did
	installed  time.Time // when the present token was
	createdAt  time.Time
	updatedAt  time.Time
	refreshes  int
}

func (c *stored) sliding() bool { return c.IdleTimeout > 0 }

func (c *stored) life() time.Duration {
	if c.sliding() {
		return c.IdleTimeout
	}
	return c.Lifetime
}

// refreshable reports whether there is a way to another token.
func (c *stored) refreshable() bool {
	return !c.NoRefresh && !c.terminal() && c.state != client.StateDeleted
}

// terminal reports whether only the user can mend it.
func (c *stored) terminal() bool {
	return c.state == client.StateReauthRequired || c.state == client.StateLoggedOut
}

func (c *stored) valid(now time.Time, left time.Duration) bool {
	return c.token != "" && c.expiresAt.Sub(now) >= left
}

// install puts the next token in place.
func (c *stored) install(now time.Time) {
	c.generation++
	c.token = fmt.Sprintf("token-%d-of-%s", c.generation, c.id)
	c.expiresAt, c.installed, c.usedAt = now.Add(c.life()), now, now
	c.replacedBy = 0
}

// end takes the token away.
func (c *stored) end(now time.Time, state client.State, reason string) {
	c.state, c.reason, c.since = state, reason, now
	c.token, c.expiresAt = "", time.Time{}
	c.refresh, c.hasLogin = "", false
	if state != client.StateReauthRequired {
		c.userData = nil
	}
}

// lapse ends a session whose idle timeout has passed.
func (s *Server) lapse(c *stored, now time.Time) {
	if c.sliding() && c.token != "" && !now.Before(c.expiresAt) {
		c.end(now, client.StateReauthRequired, "idle_timeout")
		s.tell(c, client.EventReauthRequired, "schedule", now)
	}
}

// refreshNow refreshes a credential: the provider issues the next token.
func (s *Server) refreshNow(c *stored, by string, now time.Time) {
	was := c.state
	c.install(now)
	c.refreshes++
	c.state, c.reason = client.StateActive, ""
	if was != c.state {
		c.since = now
	}
	s.tell(c, client.EventRefreshed, by, now)
}

// needsUser is the answer where only the user can mend it.
func (c *stored) needsUser() *problem {
	p := refuse(http.StatusConflict, string(c.state), "the user has to sign in again")
	if c.state == client.StateLoggedOut {
		p.Detail = "the credential was logged out"
	}
	p.State, p.Reason, p.Since = c.state, c.reason, c.since
	return p
}

func notRefreshable() *problem {
	return refuse(http.StatusConflict, "not_refreshable", "the credential has no refresh token and no other way to a new one")
}

// good sees to it that the token lives for at least minTTL.
func (s *Server) good(c *stored, minTTL time.Duration, now time.Time) *problem {
	switch longest := max(min(time.Duration(longestPart*float64(c.life())), c.life()-margin), 0); {
	case c.valid(now, minTTL+margin):
		return nil
	case c.terminal():
		return c.needsUser()
	case minTTL > longest:
		return refuse(http.StatusUnprocessableEntity, "min_ttl", "the provider grants no life that long").at("query.min_ttl")
	case !c.refreshable():
		return notRefreshable()
	}
	s.refreshNow(c, "demand", now)
	return nil
}

// replace sees to it that the token is another than the rejected one. With 0
// it is replaced in any case.
func (s *Server) replace(c *stored, rejected uint64, now time.Time) *problem {
	switch {
	case rejected > c.generation:
		return refuse(http.StatusConflict, "conflict", fmt.Sprintf("generation %d was never handed out, the current one is %d", rejected, c.generation))
	case c.terminal():
		return c.needsUser()
	case rejected != 0 && rejected < c.generation && c.valid(now, margin):
		return nil
	case rejected != 0 && c.replacedBy == c.generation && now.Sub(c.installed) < suspectFor && c.valid(now, 0):
		return refuse(http.StatusConflict, "fresh_rejected", "a token that was just refreshed is refused as well")
	case !c.refreshable():
		return notRefreshable()
	}
	s.refreshNow(c, "demand", now)
	if rejected != 0 {
		c.replacedBy = c.generation
	}
	return nil
}

// touch starts a session's clock anew.
func (c *stored) touch(now time.Time) string {
	switch {
	case c == nil:
		return "unknown"
	case !c.sliding():
		return "no_session"
	case !c.valid(now, 0):
		return "over"
	}
	c.usedAt, c.expiresAt = now, now.Add(c.IdleTimeout)
	return "touched"
}

// record shows the credential without its secrets.
func (c *stored) record(now time.Time) recordReply {
	r := recordReply{
		ID: c.id, Provider: c.Provider, Subject: c.Subject, Labels: c.Labels,
		State: c.state, Reason: c.reason, Since: c.since, Version: c.version, Generation: c.generation,
		ExpiresAt: c.expiresAt, Refreshable: c.refreshable(), HasLogin: c.hasLogin, Presence: c.presence,
		CreatedAt: c.createdAt, UpdatedAt: c.updatedAt,
	}
	if c.refreshes > 0 {
		r.LastSuccessAt = c.installed
	}
	if !c.expiresAt.IsZero() {
		r.ExpiresIn = new(secondsLeft(c.expiresAt, now))
	}
	if c.sliding() {
		r.Session = &sessionReply{IdleTimeout: int64(c.IdleTimeout / time.Second), IdleDeadline: c.expiresAt, LastUsedAt: c.usedAt}
		if r.Presence == "" {
			r.Presence = client.PresencePassive
		}
	}
	return r
}

func (c *stored) reply(now time.Time) tokenReply {
	return tokenReply{
		AccessToken: c.token, TokenType: c.tokenType, ExpiresAt: c.expiresAt, ExpiresIn: secondsLeft(c.expiresAt, now),
		Scope: c.Scope, Version: c.version, Generation: c.generation, Send: sendReply(c.Send),
	}
}
