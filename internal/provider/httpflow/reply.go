package httpflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/provider/wire"
)

const (
	// maxPrefix is how far into a body its JSON may start. Some servers put a
	// guard such as )]}' in front of it.
	maxPrefix = 64
	// maxHead is how far into a page it has to say that it is one.
	maxHead = 1024
	// maxPlain is how many bytes a plain text has at most that is one of an error.
	maxPlain = 1024
	// maxSubject is how many bytes a user's UID may have.
	maxSubject = 255
)

// reply is a reply as its call looks at it. It points into memory that goes back
// with the reply it was made of.
type reply struct {
	at     *url.URL // that was asked
	status int
	header http.Header
	body   []byte
	cut    *wire.Error // why the body ends before its end; nil if it is whole
	now    time.Time   // by the server's clock where it tells it, else by ours

	json object
	html bool
}

// read looks at a reply of a URL that came at now.
func read(in *wire.Reply, at *url.URL, now time.Time) reply {
	r := reply{at: at, status: in.Status, header: in.Header, body: in.Body, cut: in.Cut, now: now}
	if date, err := http.ParseTime(in.Header.Get("Date")); err == nil {
		r.now = date
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(in.Body, []byte("\xef\xbb\xbf")))
	switch start := bytes.IndexAny(text[:min(len(text), maxPrefix)], "{[<"); {
	case start >= 0 && text[start] == '<':
		head := bytes.ToLower(text[:min(len(text), maxHead)])
		r.html = bytes.Contains(head, []byte("<!doctype html")) || bytes.Contains(head, []byte("<html")) ||
			strings.Contains(strings.ToLower(in.Header.Get("Content-Type")), "html")
	case start >= 0:
		r.json.text = text[start:]
		r.json.valid = in.Cut == nil && json.Valid(r.json.text)
	default: // a JSON text need not be an object or a list (RFC 8259 section 2)
		if in.Cut == nil && json.Valid(text) {
			r.json = object{text: text, valid: true}
		}
	}
	return r
}

// ok reports whether the status is one of success.
func (r *reply) ok() bool { return r.status >= 200 && r.status <= 299 }

// tooLong reports whether the body is longer than is read of one. It is no reply that
// was lost: what was not read of it counts as not there.
func (r *reply) tooLong() bool { return r.cut != nil && errors.Is(r.cut, wire.ErrTooLong) }

// redirect reports whether the reply sends elsewhere.
func (r *reply) redirect() bool {
	switch r.status {
	case http.StatusMovedPermanently, http.StatusPermanentRedirect, http.StatusTemporaryRedirect:
		return true
	}
	return r.leadsOn()
}

// leadsOn reports whether the reply sends to what comes next, which is how
// people are led from a form to a page.
func (r *reply) leadsOn() bool {
	return r.status == http.StatusFound || r.status == http.StatusSeeOther
}

// loginForm reports whether the body is a page that asks for a password: whether it
// has an input of that type (HTML, section 4.10.5.1.6). What stands in a comment, a
// script or another attribute asks for nothing.
func (r *reply) loginForm() bool {
	if !r.html {
		return false
	}
	page := html.NewTokenizer(bytes.NewReader(r.body))
	for {
		switch page.Next() {
		case html.ErrorToken:
			return false
		case html.StartTagToken, html.SelfClosingTagToken:
			if tag := page.Token(); tag.DataAtom == atom.Input && slices.ContainsFunc(tag.Attr, asksPassword) {
				return true
			}
		case html.TextToken, html.EndTagToken, html.CommentToken, html.DoctypeToken:
		}
	}
}

func asksPassword(a html.Attribute) bool {
	return a.Key == "type" && strings.EqualFold(strings.TrimSpace(a.Val), "password")
}

// errorTexts returns where the texts of errors stand in JSON, beside where
// [provider.Fields] has its description from: in problem details (RFC 9457), in the
// errors of GraphQL and of JSON:API, in the error itself, or in place of an object.
func errorTexts() []string {
	return []string{
		"error_description", "message", "msg", "detail", "title", "error",
		"error.message", "error.msg", "error.detail", "error.title",
		"errors", "errors.#.message", "errors.#.detail", "errors.#.title", wholeBody,
	}
}

// inProgress reports whether an error's text, in JSON or as a short plain text, says
// that another request is being served.
func (r *reply) inProgress(fields provider.Fields) bool {
	if fields.InProgress() {
		return true
	}
	says := func(one value) bool {
		text, ok := one.scalar()
		return ok && provider.SaysInProgress(text)
	}
	for _, path := range errorTexts() {
		if v, ok := r.json.find(path); ok && v.is(says) {
			return true
		}
	}
	kind, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	return err == nil && kind == "text/plain" && !r.json.valid && r.cut == nil && len(r.body) <= maxPlain &&
		provider.SaysInProgress(string(r.body))
}

// text returns what stands at a place, as text; false if it is not there, empty
// or no text.
func (r *reply) text(p Place) (string, bool) {
	var text string
	switch {
	case p.JSON != "":
		v, ok := r.json.find(p.JSON)
		if !ok {
			return "", false
		}
		text, _ = v.scalar()
	case p.Header != "":
		text = strings.TrimSpace(r.header.Get(p.Header))
	case p.Cookie != "":
		c, ok := r.cookie(p.Cookie)
		if !ok || c.deleted {
			return "", false
		}
		text = c.value
	}
	return text, text != ""
}

// access returns the access token at a place. It travels in a header or a
// cookie, so it has no control characters.
func (r *reply) access(p Place) credential.Secret {
	text, ok := r.token(p)
	if !ok || !printable(text) {
		return credential.Secret{}
	}
	return credential.NewSecret(text)
}

// token returns the token at a place, without the scheme that may stand before
// it. In JSON it is a string (RFC 6749 section 5.1): a number is something else.
func (r *reply) token(p Place) (string, bool) {
	if r.otherThanText(p) {
		return "", false
	}
	text, ok := r.text(p)
	if scheme, rest, two := strings.Cut(text, " "); two && strings.EqualFold(scheme, "Bearer") {
		text = strings.TrimLeft(rest, " ")
	}
	return text, ok && text != ""
}

// otherThanText reports whether a JSON value that is no string stands at a place.
func (r *reply) otherThanText(p Place) bool {
	if p.JSON == "" {
		return false
	}
	v, ok := r.json.find(p.JSON)
	return ok && v.Type != gjson.String
}

// found takes the tokens out of the reply, and what has to be known of them
// where nothing else will be. ended tells that the body's object came to its end,
// though something may follow it.
func (r *reply) found(at Response, ended bool) credential.Found {
	refresh, _ := r.token(at.RefreshToken)
	f := credential.Found{Token: credential.Token{
		Access:  r.access(at.AccessToken),
		Refresh: credential.NewSecret(refresh),
	}}
	if kind, ok := r.text(at.TokenType); ok && provider.IsToken(kind) {
		f.Token.Type = kind
	}
	if scope, ok := r.text(at.Scope); ok && printable(scope) {
		f.Token.Scope = scope
	}
	f.ExpiresIn = seconds(r.lasts(at))
	f.RefreshExpiresIn = seconds(r.refreshLasts(at, f.Token.Refresh))
	f.Complete = !f.Token.Refresh.IsZero() || at.RefreshToken.JSON == "" || r.json.valid || ended
	return f
}

// lasts returns how long the access token lives, as told; 0 if it is not.
func (r *reply) lasts(at Response) time.Duration {
	for _, p := range []Place{at.ExpiresIn, at.ExpiresAt} {
		if d := r.expiry(p); d > 0 {
			return min(d, credential.MaxLifetime)
		}
	}
	if c, ok := r.cookie(at.AccessToken.Cookie); ok && !c.deleted {
		return c.lasts
	}
	return 0
}

// refreshLasts returns how long the refresh token lives: as told, or as it says
// itself.
func (r *reply) refreshLasts(at Response, token credential.Secret) time.Duration {
	for _, p := range []Place{at.RefreshExpiresIn, at.RefreshExpiresAt} {
		if d := r.expiry(p); d > 0 {
			return d
		}
	}
	if c, ok := r.cookie(at.RefreshToken.Cookie); ok && !c.deleted && c.lasts > 0 {
		return c.lasts
	}
	if exp := credential.JWTExpiry(token); exp != 0 {
		return clip(exp.Time().Sub(r.now))
	}
	return 0
}

// expiry reads the expiry at a place; 0 if there is none.
func (r *reply) expiry(p Place) time.Duration {
	text, ok := r.text(p)
	if !ok {
		return 0
	}
	return parseExpiry(text, p.Unit, r.now)
}

// userData returns the JSON value at a place. Text from a header or a cookie
// that is no JSON becomes a JSON string. The reason tells why there is none.
func (r *reply) userData(p Place) (data credential.UserData, reason string) {
	if p.JSON != "" {
		v, ok := r.json.find(p.JSON)
		if ok && json.Valid([]byte(v.Raw)) {
			data = credential.UserData(v.Raw)
		}
	} else if text, ok := r.text(p); ok {
		data = credential.UserData(text)
		if !json.Valid(data) {
			quoted, err := json.Marshal(text)
			if err != nil {
				return nil, "cannot be kept as JSON"
			}
			data = quoted
		}
	}
	switch {
	case data == nil:
		return nil, notFound
	case len(data) > credential.MaxUserData:
		return nil, fmt.Sprintf("has %d bytes and is not kept, for at most %d are", len(data), credential.MaxUserData)
	}
	return data, ""
}

// subject returns the user's UID at a place.
func (r *reply) subject(p Place) string {
	text, ok := r.text(p)
	if !ok || len(text) > maxSubject || !printable(text) {
		return ""
	}
	return text
}

// seconds writes a duration as expires_in is written; "" for 0.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}
