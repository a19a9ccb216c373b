package practice

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tokenReply is a token reply (RFC 6749, 5.1). The texts are raw JSON; an empty
// one is left out.
type tokenReply struct {
	access  key
	expires string
	decoy   string // a refresh_token before the real one
	refresh string
	scope   string // not raw: words that need no escape
}

// append appends the reply as JSON, by hand: this is the hot path.
func (t *tokenReply) append(b []byte) []byte {
	b = append(b, `{"access_token":"`+accessPrefix...)
	b = append(b, t.access[:]...)
	b = append(b, `","token_type":"Bearer"`...)
	if t.expires != "" {
		b = append(b, `,"expires_in":`...)
		b = append(b, t.expires...)
	}
	if t.decoy != "" {
		b = append(b, `,"refresh_token":`...)
		b = append(b, t.decoy...)
	}
	if t.refresh != "" {
		b = append(b, `,"refresh_token":`...)
		b = append(b, t.refresh...)
	}
	b = append(b, `,"scope":"`...)
	b = append(b, t.scope...)
	return append(b, `"}`...)
}

// tokens is the reply to a presentation that was granted.
func (p *presentation) tokens() tokenReply {
	t := tokenReply{access: p.verdict.access, scope: p.verdict.scope}
	seconds := strconv.FormatInt(int64(p.settings.AccessTTL/time.Second), 10)
	switch p.settings.ExpiresIn {
	case ExpiresInNormal:
		t.expires = seconds
	case ExpiresInString:
		t.expires = quoted(seconds)
	case ExpiresInMissing:
	}
	if p.verdict.rotatedAt != 0 {
		t.refresh = quoted(p.newRefreshToken())
	}
	return t
}

// newRefreshToken is the one that this presentation got; "" where it got none.
func (p *presentation) newRefreshToken() string {
	if p.verdict.rotatedAt == 0 {
		return ""
	}
	return refreshPrefix + string(p.verdict.refresh[:])
}

// quoted makes JSON of a text that needs no escape.
func quoted(s string) string { return `"` + s + `"` }

// reply answers as the verdict says.
func (p *presentation) reply() {
	outcome := p.label(p.verdict.outcome)
	if p.hit.Fault != nil && p.hit.Kind == KindSlow {
		outcome = p.faultLabel()
	}
	if !p.verdict.granted() {
		p.sendError(invalidGrant(), outcome)
		return
	}
	t := p.tokens()
	buf, _ := p.s.buffers.Get().(*bytes.Buffer)
	defer p.s.buffers.Put(buf)
	buf.Reset()
	p.send(http.StatusOK, t.append(buf.AvailableBuffer()), t.refresh != "", outcome)
}

// invalidGrant is the same for every cause, as real servers have it. The ledger
// knows the cause.
func invalidGrant() *oauthError {
	return &oauthError{
		status:      http.StatusBadRequest,
		code:        "invalid_grant",
		description: "The refresh token is invalid, expired, revoked or was issued to another client.",
	}
}

func (p *presentation) sendError(e *oauthError, outcome label) {
	if e.challenge {
		p.w.Header().Set("WWW-Authenticate", `Basic realm="practice"`)
	}
	p.send(e.status, e.body(), false, outcome)
}

// send writes one whole reply and settles the presentation. What it may claim
// about delivery is in the package comment.
func (p *presentation) send(status int, body []byte, token bool, outcome label) {
	if !p.connected() {
		p.abort(outcome)
	}
	p.land()
	epoch := p.s.ledger.beginWrite()
	err := p.s.write(p.w, status, body)
	delivered := err == nil && !p.peer.reset()
	p.s.ledger.endWrite(p.seq, epoch, settlement{
		outcome:   outcome,
		fault:     p.hitLabel(),
		repliedAt: time.Now().UnixNano(),
		delivered: delivered,
		tokenSent: delivered && token,
	})
	if delivered {
		p.conn.answered(p.seq)
	}
}

// connected reports whether the client is still there, as far as net/http knows.
func (p *presentation) connected() bool { return p.r.Context().Err() == nil }

// write writes one whole reply, to the kernel. A Content-Type that is there
// already stays.
func (s *Server) write(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	if _, set := h["Content-Type"]; !set {
		h["Content-Type"] = s.header.json
	}
	h["Cache-Control"], h["Pragma"] = s.header.noStore, s.header.noCache
	if len(body) < len(s.header.lengths) {
		h["Content-Length"] = s.header.lengths[len(body)]
	} else {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil { //nolint:gosec // not for browsers: JSON, or the page that a fault was told to send
		return err
	}
	if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// body is the error as JSON.
func (e *oauthError) body() []byte {
	return errorBody(e.code, e.description)
}

func errorBody(code, description string) []byte {
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{code, description})
	if err != nil { // two strings always have a JSON form
		return nil
	}
	return body
}

// writeOAuthError answers a call that is no presentation.
func (s *Server) writeOAuthError(w http.ResponseWriter, e *oauthError) {
	if e.challenge {
		w.Header().Set("WWW-Authenticate", `Basic realm="practice"`)
	}
	_ = s.write(w, e.status, e.body()) // a client that is gone needs no answer
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.writeOAuthError(w, &oauthError{status: http.StatusInternalServerError, code: "server_error", description: err.Error()})
		return
	}
	_ = s.write(w, status, append(body, '\n')) // a client that is gone needs no answer
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}
