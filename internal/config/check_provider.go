package config

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/webaddr"
)

func (l *loader) checkProvider(name string, p Provider) {
	key := join("providers", name)
	if !nameShape.MatchString(name) {
		l.refuse(key, "%q is not a name; use 1 to 32 characters of a-z, 0-9 and -", name)
		return
	}
	switch p.Kind {
	case "oauth2":
		l.belongsTo("http", key, "login", "refresh", "logout", "send", "session")
		l.checkOAuth2(key, p)
	case "http":
		l.belongsTo("oauth2", key, "issuer", "token_url", "revoke_url", "client_id", "client_secret", "client_auth")
		l.checkBackend(key, p)
	default:
		if !l.set(key+".kind") && l.readable(key+".preset") {
			l.refuse(key+".kind", "it is missing; write kind: oauth2, or kind: http for a backend of your own")
		}
	}
	l.checkCall(key, verifyCall, p.Verify)
	l.checkCall(key, userDataCall, p.UserData)
	l.checkTimes(key, p)
	l.checkLimits(key+".limits", p.Limits)
	for i, rule := range p.Errors {
		l.checkRule(key+".errors["+strconv.Itoa(i)+"]", rule)
	}
	if err := checkProxy(p.HTTP.Proxy); err != nil {
		l.refuse(key+".http.proxy", "%v", err)
	}
	l.checkCA(key+".http.ca_file", p.HTTP.CAFile)
	if l.buildable == nil || !l.whole(key) {
		return // else mistakes would be told twice
	}
	for _, problem := range l.buildable(name, p) {
		at := key
		if problem.Key != "" {
			at = join(key, problem.Key)
		}
		l.refuse(at, "%s", problem.Text)
	}
}

func (l *loader) checkLimits(key string, limits Limits) {
	if n := limits.Concurrency; n < 1 || n > maxConcurrency {
		l.refuse(key+".concurrency", "%d is not from 1 to %d; write how many calls may be under way at once, or leave it out for 16", n, maxConcurrency)
	}
	if x := limits.PerSecond; x < minRate || x > maxRate {
		l.refuse(key+".per_second", "%v does not lie between %v and %d; write how many calls one second may see, such as 0.5 for one in two seconds, or leave it out for 50", x, minRate, maxRate)
	}
}

// belongsTo refuses keys of another kind.
func (l *loader) belongsTo(kind, key string, sections ...string) {
	for _, section := range sections {
		if l.set(join(key, section)) {
			l.refuse(join(key, section), "it belongs to kind: %s; remove it, or set kind: %s", kind, kind)
		}
	}
}

func (l *loader) checkOAuth2(key string, p Provider) {
	if !l.set(key+".issuer") && !l.set(key+".token_url") && l.readable(key+".preset") {
		l.refuse(key, "neither issuer nor token_url is set; write issuer for discovery, or token_url")
	}
	for sub, raw := range map[string]string{"issuer": p.Issuer, "token_url": p.TokenURL, "revoke_url": p.RevokeURL} {
		if !l.set(join(key, sub)) {
			continue
		}
		if err := webaddr.CheckEndpoint(raw, sub == "issuer"); err != nil {
			l.refuse(join(key, sub), "%v", err)
		}
	}
	if p.ClientID == "" && l.readable(key+".client_id") {
		l.refuse(key+".client_id", "it is missing; write the client's ID at this provider")
	}
	secret := key + ".client_secret"
	switch {
	case !l.readable(key+".client_auth", secret):
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
	case !l.readable(timeout, "recovery.commit", "recovery.margin"):
	case p.Timeout < minTimeout || p.Timeout > maxTimeout:
		l.refuse(timeout, "%s does not lie between %s and %s; leave it out for %s", p.Timeout, minTimeout, maxTimeout, credential.DefaultTimes(0).Exchange)
	default:
		need := times.Exchange + times.Commit + times.Margin
		if q := l.cfg.Recovery.Quarantine; q < need && l.readable("recovery.quarantine") {
			l.refuse(timeout, "%s needs recovery.quarantine to be at least %s, and it is %s; raise recovery.quarantine or lower the timeout", p.Timeout, need, q)
		}
		if need := times.Exchange + times.Margin; p.Rotation.Grace > 0 && p.Rotation.Grace <= need && !l.byPreset(key+".rotation.grace") {
			l.warn(key+".rotation.grace", "%s is not longer than timeout %s + %s, so a lost reply is never asked for again; lower the timeout to make use of the grace", p.Rotation.Grace, p.Timeout, times.Margin)
		}
	}
	l.checkSpan(key+".rotation.grace", p.Rotation.Grace, 0, credential.MaxLifetime, "write 0s where the previous one no longer works")
	if d := p.DefaultLifetime; d != 0 && (d < time.Second || d > credential.MaxLifetime) {
		l.refuse(key+".default_lifetime", "%s does not lie between 1s and %s; leave it out where it is not known", d, credential.MaxLifetime)
	}
	idleKey, absoluteKey := key+".refresh_token.idle", key+".refresh_token.absolute"
	l.checkSpan(idleKey, p.RefreshToken.Idle, 0, maxYears, "write 0s where it is not known")
	l.checkSpan(absoluteKey, p.RefreshToken.Absolute, 0, maxYears, "write 0s where it is not known")
	if idle, absolute := p.RefreshToken.Idle, p.RefreshToken.Absolute; l.readable(idleKey, absoluteKey) && absolute != 0 && idle > absolute {
		l.refuse(idleKey, "%s is longer than refresh_token.absolute %s, and a token cannot idle for longer than it lives; lower idle or raise absolute", idle, absolute)
	}
}

func (l *loader) checkRule(key string, r ErrorRule) {
	if r.Status == 0 && r.Error == "" && r.Description == "" && l.readable(key+".status", key+".error", key+".description") {
		l.refuse(key, "it would match every reply; set status, error or description")
	}
	if l.set(key+".status") && l.readable(key+".status") && (r.Status < 100 || r.Status > 599) {
		l.refuse(key+".status", "%d is not an HTTP status; write one from 100 to 599", r.Status)
	}
	if r.Class == "" && l.readable(key+".class") {
		l.refuse(key+".class", "it is missing; say what such a reply means, for example transient or permanent")
	}
}

// checkProxy looks at a proxy's URL, which may hold a password.
func checkProxy(secret credential.Secret) error {
	if secret.IsZero() {
		return nil
	}
	u, err := url.Parse(secret.Reveal())
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) {
		return errors.New("it is not the URL of a proxy; write http://host:3128 or https://host:3128")
	}
	return nil
}
