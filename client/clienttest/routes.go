package clienttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/client"
)

// maxBody bounds what is read of a request.
const maxBody = 1 << 20

// routes returns the part of the API that the client uses.
func (s *Server) routes() http.Handler {
	const one = "/v1/credentials/{id}"
	mux := http.NewServeMux()
	for _, route := range []struct {
		pattern string
		count   func(*Calls)
		serve   func(http.ResponseWriter, *http.Request) *problem
	}{
		{"GET " + one + "/token", func(c *Calls) { c.Token++ }, s.getToken},
		{"POST " + one + "/refresh", func(c *Calls) { c.Refresh++ }, s.postRefresh},
		{"GET " + one, func(c *Calls) { c.Get++ }, s.getRecord},
		{"PUT " + one, func(c *Calls) { c.Put++ }, s.putCredential},
		{"DELETE " + one, func(c *Calls) { c.Delete++ }, s.deleteCredential},
		{"GET " + one + "/user-data", func(c *Calls) { c.UserData++ }, s.getUserData},
		{"POST " + one + "/logout", func(c *Calls) { c.Logout++ }, s.postLogout},
		{"PUT " + one + "/presence", func(c *Calls) { c.Presence++ }, s.putPresence},
		{"POST " + one + "/touch", func(c *Calls) { c.Touch++ }, s.postTouch},
		{"POST /v1/touches", func(c *Calls) { c.Touches++ }, s.postTouches},
		{"GET /v1/events", func(c *Calls) { c.Events++ }, s.getEvents},
	} {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			p := s.admit(r, route.count)
			if p == nil {
				p = route.serve(w, r)
			}
			if p != nil {
				p.write(w)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(http.StatusNotFound, "no_such_route", "nothing is served under that path").write(w)
	})
	return mux
}

// admit counts a call and lets it through that has the key, outside of an
// outage.
func (s *Server) admit(r *http.Request, count func(*Calls)) *problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	count(&s.calls)
	if left := time.Until(s.awayUntil); left > 0 {
		s.calls.Refused++
		return refuse(http.StatusServiceUnavailable, "unavailable", "it cannot be done now").again(left)
	}
	if keys := bearer(r); len(keys) != 1 || keys[0] != s.Key {
		s.calls.Refused++
		return refuse(http.StatusUnauthorized, "unauthorized", "this API key does not exist or was revoked")
	}
	return nil
}

// bearer returns the bearer tokens of a request (RFC 6750 section 2.1).
func bearer(r *http.Request) []string {
	var found []string
	for _, value := range r.Header.Values("Authorization") {
		if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			found = append(found, token)
		}
	}
	return found
}

// with calls do with the credential that the path names, as it is now.
func (s *Server) with(r *http.Request, do func(c *stored, now time.Time) *problem) *problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, now := r.PathValue("id"), time.Now()
	c := s.find(id)
	if c == nil {
		return refuse(http.StatusNotFound, "not_found", "no credential has the ID "+id)
	}
	s.lapse(c, now)
	return do(c, now)
}

// on is with for a change that may have a condition.
func (s *Server) on(r *http.Request, do func(c *stored, now time.Time)) *problem {
	return s.with(r, func(c *stored, now time.Time) *problem {
		if p := unmatched(r, c); p != nil {
			return p
		}
		do(c, now)
		return nil
	})
}

// unmatched is the answer where If-Match or If-None-Match does not hold (RFC
// 9110 section 13.1). c is nil where nothing is stored.
func unmatched(r *http.Request, c *stored) *problem {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	if match != "" && (c == nil || match != etag(c)) || none != "" && c != nil {
		return refuse(http.StatusPreconditionFailed, "precondition", "the credential is not as the caller expects it")
	}
	return nil
}

func etag(c *stored) string { return `"` + strconv.FormatUint(c.version, 10) + `"` }

// body reads a request's JSON. An absent one leaves out as it is.
func body(r *http.Request, out any) *problem {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return refuse(http.StatusBadRequest, "bad_request", "the body cannot be read")
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if in.Decode(out) != nil {
		return invalid("body", "is not of the expected shape")
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return refuse(http.StatusBadRequest, "bad_request", "the body goes on behind its JSON")
	}
	return nil
}

func (s *Server) getToken(w http.ResponseWriter, r *http.Request) *problem {
	minTTL, p := span("query.min_ttl", r.URL.Query().Get("min_ttl"))
	if p != nil {
		return p
	}
	return s.with(r, func(c *stored, now time.Time) *problem {
		if p := s.good(c, minTTL, now); p != nil {
			return p
		}
		answer(w, "application/json", http.StatusOK, c.reply(now))
		return nil
	})
}

// span reads a duration, or a number of seconds.
func span(location, text string) (time.Duration, *problem) {
	if text == "" {
		return 0, nil
	}
	if last := text[len(text)-1]; last >= '0' && last <= '9' {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, invalid(location, "must be a duration such as 60s or 5m, or a number of seconds")
	}
	return d, nil
}

func (s *Server) postRefresh(w http.ResponseWriter, r *http.Request) *problem {
	var in struct {
		Rejected uint64 `json:"rejected_generation"`
	}
	if p := body(r, &in); p != nil {
		return p
	}
	return s.with(r, func(c *stored, now time.Time) *problem {
		if p := s.replace(c, in.Rejected, now); p != nil {
			return p
		}
		answer(w, "application/json", http.StatusOK, c.reply(now))
		return nil
	})
}

func (s *Server) getRecord(w http.ResponseWriter, r *http.Request) *problem {
	return s.with(r, func(c *stored, now time.Time) *problem {
		s.show(w, http.StatusOK, c, now)
		return nil
	})
}

func (s *Server) show(w http.ResponseWriter, status int, c *stored, now time.Time) {
	s.showRecord(w, status, c, c.record(now))
}

func (s *Server) showRecord(w http.ResponseWriter, status int, c *stored, shown recordReply) {
	w.Header().Set("ETag", etag(c))
	answer(w, "application/json", status, shown)
}

func (s *Server) putCredential(w http.ResponseWriter, r *http.Request) *problem {
	var in putBody
	if p := body(r, &in); p != nil {
		return p
	}
	switch {
	case in.Provider == "":
		return invalid("body.provider", "is missing")
	case in.Token == nil && in.Login == nil:
		return invalid("body.token", "is missing, and there is no login in its place")
	case in.Token != nil && in.Token.AccessToken == "" && in.Token.RefreshToken == "":
		return invalid("body.token", "has neither an access_token nor a refresh_token")
	case in.Token != nil && in.Token.ExpiresIn != nil && in.Token.ExpiresAt != nil:
		return invalid("body.token.expires_at", "is given beside expires_in; give one of them")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, now := r.PathValue("id"), time.Now()
	held := s.find(id)
	if p := unmatched(r, held); p != nil {
		return p
	}
	status := http.StatusOK
	if held == nil {
		status = http.StatusCreated
	} else if in.Token != nil && in.Token.RefreshToken != "" {
		switch {
		case in.Token.RefreshToken == held.refresh:
			shown := held.record(now)
			shown.Unchanged = true // it is that login
			s.showRecord(w, status, held, shown)
			return nil
		case held.spent[in.Token.RefreshToken]:
			return refuse(http.StatusConflict, "stale_token", "the refresh token was used or replaced before").at("body.token.refresh_token")
		}
	}
	s.show(w, status, s.logIn(id, held, in, now), now)
	return nil
}

// logIn stores what an owner has put. held is what was stored before, nil if
// nothing was.
func (s *Server) logIn(id string, held *stored, in putBody, now time.Time) *stored {
	c := Credential{Provider: in.Provider, Subject: in.Subject, Labels: in.Labels}
	if held != nil { // what the provider's configuration says stays
		c.Send, c.Lifetime, c.IdleTimeout = held.Send, held.Lifetime, held.IdleTimeout
		if held.refresh != "" {
			held.spent[held.refresh] = true
		}
	}
	if t := in.Token; t != nil {
		c.Scope = t.Scope
		c.NoRefresh = t.RefreshToken == "" && in.Login == nil
		switch {
		case t.ExpiresIn != nil:
			c.Lifetime = time.Duration(*t.ExpiresIn) * time.Second
		case t.ExpiresAt != nil:
			c.Lifetime = max(t.ExpiresAt.Sub(now), 1)
		}
	}
	put := s.store(id, c, in.UserData, now)
	put.hasLogin = in.Login != nil
	put.refresh = ""
	if t := in.Token; t != nil {
		put.refresh = t.RefreshToken
		if t.AccessToken != "" {
			put.token = t.AccessToken
		}
		if t.TokenType != "" {
			put.tokenType = t.TokenType
		}
	}
	return put
}

func (s *Server) deleteCredential(w http.ResponseWriter, r *http.Request) *problem {
	return s.on(r, func(c *stored, now time.Time) {
		s.remove(c, now)
		w.WriteHeader(http.StatusNoContent)
	})
}

func (s *Server) postLogout(w http.ResponseWriter, r *http.Request) *problem {
	return s.on(r, func(c *stored, now time.Time) {
		s.logOut(c, now)
		s.show(w, http.StatusOK, c, now)
	})
}

func (s *Server) getUserData(w http.ResponseWriter, r *http.Request) *problem {
	return s.with(r, func(c *stored, _ time.Time) *problem {
		answer(w, "application/json", http.StatusOK, userDataReply{Subject: c.Subject, State: c.state, ExpiresAt: c.expiresAt, Version: c.version, UserData: c.userData})
		return nil
	})
}

func (s *Server) putPresence(w http.ResponseWriter, r *http.Request) *problem {
	var in struct {
		Presence client.Presence `json:"presence"`
	}
	if p := body(r, &in); p != nil {
		return p
	}
	switch in.Presence {
	case client.PresenceActive, client.PresencePassive, client.PresenceBackground:
	default:
		return invalid("body.presence", "must be active, passive or background")
	}
	return s.with(r, func(c *stored, now time.Time) *problem {
		if !c.sliding() {
			return refuse(http.StatusConflict, "no_session", "its token is no sliding session: it has an expiry of its own, whoever uses it")
		}
		c.presence = in.Presence
		s.show(w, http.StatusOK, c, now)
		return nil
	})
}

func (s *Server) postTouch(w http.ResponseWriter, r *http.Request) *problem {
	return s.with(r, func(c *stored, now time.Time) *problem {
		switch c.touch(now) {
		case "touched":
			answer(w, "application/json", http.StatusOK, touchedReply{IdleDeadline: c.expiresAt, ExpiresIn: secondsLeft(c.expiresAt, now)})
			return nil
		case "over":
			return refuse(http.StatusConflict, "session_over", "the session had ended before; see the credential's state and reason")
		default:
			return refuse(http.StatusConflict, "no_session", "its token is no sliding session: it has an expiry of its own, which use does not move")
		}
	})
}

func (s *Server) postTouches(w http.ResponseWriter, r *http.Request) *problem {
	var in struct {
		IDs []string `json:"ids"`
	}
	if p := body(r, &in); p != nil {
		return p
	}
	if len(in.IDs) == 0 || len(in.IDs) > 1000 {
		return invalid("body.ids", "must have 1 to 1000 IDs")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := touchesReply{Touches: make([]touchAnswer, 0, len(in.IDs))}
	for _, id := range in.IDs {
		c := s.find(id)
		if c != nil {
			s.lapse(c, now)
		}
		one := touchAnswer{ID: id, Result: c.touch(now)}
		if one.Result == "touched" {
			one.IdleDeadline = c.expiresAt
		}
		out.Touches = append(out.Touches, one)
	}
	answer(w, "application/json", http.StatusOK, out)
	return nil
}
