package httpflow

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/refreshd/refreshd/internal/provider"
)

// notFollowed is said of a redirect for which the settings are to blame.
const notFollowed = "a redirect, which is not followed"

// redirected says what a redirect means; it is not followed.
func (c *call) redirected(r *reply, token bool) verdict {
	switch c.kind {
	case kindLogin:
		return c.loginRedirected(r, token)
	case kindRefresh:
		return refreshRedirected(r)
	case kindLogout:
		if r.leadsOn() || r.status == http.StatusTemporaryRedirect {
			return c.dead("a redirect")
		}
	case kindExtend, kindVerify, kindUserData:
		return c.sessionRedirected(r)
	}
	return operator(notFollowed)
}

// refreshRedirected says what a redirect means for a refresh. One to a login page
// may be the backend's word for a dead token, or that of a proxy which has lost its
// own session: it concerns this token alone, and ends it only where the settings
// say so.
func refreshRedirected(r *reply) verdict {
	if r.leadsOn() || r.status == http.StatusTemporaryRedirect {
		return unavailable("a redirect to another page; if that is how dead tokens are told, declare it in failed_when")
	}
	return operator(notFollowed)
}

// sessionRedirected says what a redirect means for a session in use. One that is
// over is sent to log in again, or loses its cookie. Anything else may be a page for maintenance, and
// a session that is over in truth ends when its time is up.
func (c *call) sessionRedirected(r *reply) verdict {
	switch leads := r.leadsOn() || r.status == http.StatusTemporaryRedirect; {
	case leads && isLoginPage(r.target().Path):
		return c.dead("a redirect to a login page")
	case leads:
		if v := c.deleted(r, false); v.decided() {
			return v
		}
		return unavailable("a redirect to another page")
	}
	return operator(notFollowed)
}

// loginRedirected says what a redirect means for a login. One that worked often
// leads on to a page; one that did not, back to the form. A redirect elsewhere
// without the token is neither: of the backend's own, the settings may look for
// the token in the wrong place; of what stands before it, it is away.
func (c *call) loginRedirected(r *reply, token bool) verdict {
	from, to := r.at, r.target()
	back := sameHost(from, to) && path.Clean("/"+from.Path) == path.Clean("/"+to.Path)
	switch {
	case back && from.Scheme == "http" && to.Scheme == "https",
		!r.leadsOn() && (back || r.status != http.StatusTemporaryRedirect):
		return operator(notFollowed) // it moved (RFC 9110 section 15.4)
	case r.leadsOn() && (back || isLoginPage(to.Path)):
		return c.dead("a redirect to a login page")
	case r.leadsOn() && token:
		return verdict{}
	case r.leadsOn() && c.ownRedirect(r):
		return c.unreadable(r, "a redirect to another page")
	}
	return unavailable("a redirect to another page")
}

// ownRedirect reports whether a redirect without a token looks like the backend's
// own answer to a login, and not like that of a proxy while the backend is away.
func (c *call) ownRedirect(r *reply) bool {
	if len(r.header.Values("Set-Cookie")) > 0 {
		return true
	}
	return c.places.AccessToken.Header != "" && sameHost(r.at, r.target())
}

// target returns where the Location leads from what was asked (RFC 9110 section
// 10.2.2); the empty URL if that cannot be told.
func (r *reply) target() *url.URL {
	location := r.header.Get("Location")
	to, err := r.at.Parse(location)
	if err != nil || location == "" {
		return &url.URL{}
	}
	return to
}

// leadsTo reports whether the Location fits a pattern: as it stands; as a whole
// URL if the pattern is of one, so that no name of a host fits by chance; or, on the
// host that was asked, without it.
func (r *reply) leadsTo(pattern string) bool {
	to := r.target()
	if provider.Glob(pattern, r.header.Get("Location")) ||
		strings.Contains(pattern, "://") && provider.Glob(pattern, to.String()) {
		return true
	}
	within := url.URL{Path: to.Path, RawPath: to.RawPath, RawQuery: to.RawQuery, Fragment: to.Fragment, RawFragment: to.RawFragment}
	return sameHost(r.at, to) && provider.Glob(pattern, within.String())
}

func sameHost(a, b *url.URL) bool { return strings.EqualFold(a.Hostname(), b.Hostname()) }

// isLoginPage reports whether a path reads like that of a page for logging in.
func isLoginPage(at string) bool {
	for segment := range strings.SplitSeq(strings.ToLower(at), "/") {
		name, _, _ := strings.Cut(segment, ".")
		name = bare(name)
		for _, end := range []string{"form", "page", "failed", "failure", "error"} {
			name = strings.TrimSuffix(name, end)
		}
		switch name {
		case "login", "signin", "logon":
			return true
		}
	}
	return false
}
