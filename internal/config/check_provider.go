package config

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

func (l *loader) checkProvider(name string, p Provider) {
	key := join("providers", name)
	if !nameShape.MatchString(name) {
		l.refuse(key, "%q is not a name; use 1 to 32 characters of a-z, 0-9 and -", name)
		return
	}
	switch p.Kind {
	case "oauth2":
		l.checkOAuth2(key, p)
	case "http":
		l.checkHTTPKind(key, p) // and it was refused for its kind
		return
	default:
		if !l.set(key + ".kind") {
			l.refuse(key+".kind", "it is missing; write kind: oauth2")
		}
	}
	if p.Preset != "" {
		l.refuse(key+".preset", "%s is not supported by this version; leave it out and set token_url, client_auth and rotation", p.Preset)
	}
	l.checkTimes(key, p)
	if n := p.Limits.Concurrency; n < 1 || n > 10_000 {
		l.refuse(key+".limits.concurrency", "%d is not from 1 to 10000", n)
	}
	if x := p.Limits.PerSecond; x <= 0 || x > 100_000 {
		l.refuse(key+".limits.per_second", "%v is not above 0 and at most 100000", x)
	}
	for i, rule := range p.Errors {
		l.checkRule(key+".errors["+strconv.Itoa(i)+"]", rule)
	}
	if err := checkProxy(p.HTTP.Proxy); err != nil {
		l.refuse(key+".http.proxy", "%v", err)
	}
	l.checkCA(key+".http.ca_file", p.HTTP.CAFile)
}

func (l *loader) checkOAuth2(key string, p Provider) {
	for _, section := range []string{"login", "refresh", "logout", "send", "session"} {
		if l.set(join(key, section)) {
			l.refuse(join(key, section), "it belongs to kind: http, which is not supported by this version; remove it")
		}
	}
	if !l.set(key+".issuer") && !l.set(key+".token_url") {
		l.refuse(key, "neither issuer nor token_url is set; write issuer for discovery, or token_url")
	}
	for sub, raw := range map[string]string{"issuer": p.Issuer, "token_url": p.TokenURL, "revoke_url": p.RevokeURL} {
		if !l.set(join(key, sub)) {
			continue
		}
		if err := checkEndpoint(raw, sub == "issuer"); err != nil {
			l.refuse(join(key, sub), "%v", err)
		}
	}
	if p.ClientID == "" && l.readable(key+".client_id") {
		l.refuse(key+".client_id", "it is missing; write the client's ID at this provider")
	}
	secret := key + ".client_secret"
	switch {
	case !l.readable(key+".client_auth", secret, secret+".env", secret+".file"):
	case p.ClientAuth == "none" && !p.ClientSecret.IsZero():
		l.refuse(secret, "client_auth none sends no secret; remove it, or set client_auth to basic or post")
	case p.ClientAuth != "none" && p.ClientSecret.IsZero():
		l.refuse(secret, "it is missing, and client_auth %s needs it; write {env: NAME} or {file: path}, or set client_auth: none for a public client", p.ClientAuth)
	}
}

// checkTimes compares the provider's times with each other and with the
// allowances of an attempt.
func (l *loader) checkTimes(key string, p Provider) {
	times := l.cfg.Recovery.Times(p.Timeout)
	timeout := key + ".timeout"
	switch {
	case !l.readable(timeout):
	case p.Timeout < minTimeout || p.Timeout > maxTimeout:
		l.refuse(timeout, "%s does not lie between %s and %s", p.Timeout, minTimeout, maxTimeout)
	default:
		need := times.Exchange + times.Commit + times.Margin
		if q := l.cfg.Recovery.Quarantine; q < need && l.readable("recovery.quarantine") {
			l.refuse(timeout, "%s needs recovery.quarantine to be at least %s, and it is %s; raise recovery.quarantine or lower the timeout", p.Timeout, need, q)
		}
		if need := times.Exchange + times.Margin; p.Rotation.Grace > 0 && p.Rotation.Grace <= need {
			l.warn(key+".rotation.grace", "%s is not longer than timeout %s + %s, so a lost reply is never asked for again; lower the timeout to make use of the grace", p.Rotation.Grace, p.Timeout, times.Margin)
		}
	}
	if d := p.DefaultLifetime; d != 0 && (d < time.Second || d > credential.MaxLifetime) {
		l.refuse(key+".default_lifetime", "%s does not lie between 1s and %s", d, credential.MaxLifetime)
	}
	if idle, absolute := p.RefreshToken.Idle, p.RefreshToken.Absolute; absolute != 0 && idle > absolute {
		l.refuse(key+".refresh_token.idle", "%s is longer than refresh_token.absolute %s; a token cannot idle for longer than it lives", idle, absolute)
	}
}

func (l *loader) checkRule(key string, r ErrorRule) {
	if r.Status == 0 && r.Error == "" && r.Description == "" {
		l.refuse(key, "it would match every reply; set status, error or description")
	}
	if l.set(key+".status") && (r.Status < 100 || r.Status > 599) {
		l.refuse(key+".status", "%d is not an HTTP status", r.Status)
	}
	if r.Class == "" && l.readable(key+".class") {
		l.refuse(key+".class", "it is missing; say what such a reply means, for example transient or permanent")
	}
}

// checkHTTPKind looks at the shape of what describes a backend.
func (l *loader) checkHTTPKind(key string, p Provider) {
	calls := map[string]HTTPCall{"login": p.Login, "refresh": p.Refresh, "logout": p.Logout, "session.extend": p.Session.Extend}
	for section, call := range calls {
		if l.set(join(key, section)) {
			l.checkCall(join(key, section), call)
		}
	}
	if !l.set(key+".login") && !l.set(key+".refresh") {
		l.refuse(key, "neither login nor refresh is set; describe the call that yields a token")
	}
	if idle, absolute := p.Session.IdleTimeout, p.Session.AbsoluteTimeout; absolute != 0 && idle > absolute {
		l.refuse(key+".session.idle_timeout", "%s is longer than session.absolute_timeout %s", idle, absolute)
	}
	for i, when := range p.Session.LoggedOutWhen {
		if when.Status == 0 && when.JSON == "" {
			l.refuse(key+".session.logged_out_when["+strconv.Itoa(i)+"]", "it would match every reply; set status or json")
		}
	}
}

func (l *loader) checkCall(key string, c HTTPCall) {
	request := key + ".request"
	if c.Request.Method == "" && l.readable(request+".method") {
		l.refuse(request+".method", "it is missing; write GET or POST")
	}
	if err := checkEndpoint(withoutTemplates(c.Request.URL), false); err != nil {
		l.refuse(request+".url", "%v", err)
	}
	if len(c.Request.Form) > 0 && len(c.Request.JSON) > 0 {
		l.refuse(request, "it has both form and json; a request has one body")
	}
	l.checkTemplate(request+".url", c.Request.URL)
	for part, texts := range map[string]map[string]string{"headers": c.Request.Headers, "form": c.Request.Form, "json": c.Request.JSON} {
		for name, text := range texts {
			l.checkTemplate(join(join(request, part), name), text)
		}
	}
	for part, place := range map[string]Place{
		"access_token": c.Response.AccessToken, "refresh_token": c.Response.RefreshToken,
		"expires_in": c.Response.ExpiresIn, "subject": c.Response.Subject, "user_data": c.Response.UserData,
	} {
		if place.Header != "" && place.Cookie != "" {
			l.refuse(key+".response."+part, "it names both a header and a cookie; name one")
		}
	}
}

// checkTemplate refuses fields that no credential has.
func (l *loader) checkTemplate(key, text string) {
	for rest := text; ; {
		_, after, open := strings.Cut(rest, "{{")
		if !open {
			return
		}
		inside, next, closed := strings.Cut(after, "}}")
		if !closed {
			l.refuse(key, "a {{ has no }}")
			return
		}
		switch field := strings.TrimSpace(inside); field {
		case ".username", ".password", ".access_token", ".refresh_token", ".subject":
		default:
			l.refuse(key, "{{%s}} is not known; known are {{.username}}, {{.password}}, {{.access_token}}, {{.refresh_token}} and {{.subject}}", field)
		}
		rest = next
	}
}

// withoutTemplates puts a letter in the place of each template, so that the
// rest can be checked as a URL.
func withoutTemplates(text string) string {
	var b strings.Builder
	for range math.MaxInt {
		before, after, open := strings.Cut(text, "{{")
		b.WriteString(before)
		if !open {
			break
		}
		b.WriteByte('x')
		_, text, _ = strings.Cut(after, "}}")
	}
	return b.String()
}
