package httpflow

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
)

// Statuses that are in no RFC and mean that a session is over.
const (
	statusPageExpired  = 419 // Laravel
	statusLoginTimeout = 440 // IIS
)

// graphQLCodes is where GraphQL servers put their error codes.
const graphQLCodes = "errors.#.extensions.code"

// verdict is what a reply means, and for people, why. The zero value is none.
type verdict struct {
	class  credential.Class
	reason credential.Reason
	why    string // fixed words, or what stands in the settings
}

func (v verdict) decided() bool { return v.class != "" }

// dead is the verdict that what was presented will not be taken any more.
func (c *call) dead(why string) verdict {
	return verdict{credential.ClassPermanent, c.deadReason(), why}
}

func (c *call) deadReason() credential.Reason {
	switch c.kind {
	case kindLogin:
		return credential.ReasonLoginRefused
	case kindRefresh:
		return credential.ReasonInvalidGrant
	case kindVerify: // sessions are not asked about
		return credential.ReasonRejected
	case kindExtend, kindUserData, kindLogout:
	}
	return credential.ReasonSessionEnded
}

// refused is the verdict on a reply that shows a fault of the request, without
// saying whose.
func refused(why string) verdict {
	return verdict{credential.ClassRefused, credential.ReasonInvalidRequest, why}
}

func operator(why string) verdict {
	return verdict{credential.ClassOperator, credential.ReasonClientMisconfigured, why}
}

func malformed(why string) verdict {
	return verdict{credential.ClassAmbiguous, credential.ReasonMalformedReply, why}
}

func unavailable(why string) verdict {
	return verdict{credential.ClassTransient, credential.ReasonUnavailable, why}
}

// declared looks for the failures of the settings.
func (c *call) declared(r *reply, fields provider.Fields) verdict {
	for _, f := range c.failures {
		if f.fits(r) {
			return c.given(f.Class, f.Reason, f.label)
		}
	}
	in := provider.Reply{Status: r.status, Header: r.header, Fields: fields, Cut: r.cut != nil}
	for i := range c.matchers {
		if _, _, ok := provider.Match(c.matchers[i:i+1], in); ok {
			return c.given(c.matchers[i].Class, c.matchers[i].Reason, "errors["+strconv.Itoa(i)+"]")
		}
	}
	return verdict{}
}

// given is a verdict of the settings, with what they left open filled in.
func (c *call) given(class credential.Class, reason credential.Reason, label string) verdict {
	if class == "" || class == credential.ClassPermanent {
		v := c.dead(label)
		v.reason = cmp.Or(reason, v.reason)
		return v
	}
	return verdict{class, cmp.Or(reason, provider.ReasonOf(class)), label}
}

// failed says what a reply means that is a failure by itself; nothing is decided
// if it is none. token tells that it has an access token.
func (c *call) failed(r *reply, fields provider.Fields, token bool) verdict {
	switch {
	case r.status == http.StatusTooManyRequests:
		return verdict{credential.ClassRateLimited, credential.ReasonRateLimited, ""} // nothing was spent by it either
	case !token && (c.kind == kindLogin || c.kind == kindRefresh) && r.inProgress(fields):
		return verdict{credential.ClassNotProcessed, credential.ReasonUnavailable, "another request is being served"}
	case r.status == http.StatusRequestTimeout, r.status >= 500:
		return unavailable("")
	case r.status == http.StatusNotFound, r.status == http.StatusMethodNotAllowed:
		return operator("")
	case r.status < 200: // 101 is the only one of these that is handed on
		return malformed("")
	case r.status <= 299:
		return c.failedOK(r, fields, token)
	case r.status <= 399:
		return c.redirected(r, token)
	}
	if v := c.told(r, fields); v.decided() {
		return v
	}
	switch r.status {
	case http.StatusForbidden:
		if strings.Contains(r.header.Get("WWW-Authenticate"), "insufficient_scope") {
			return refused("insufficient_scope") // RFC 6750 section 3.1: the token is as good as ever
		}
		return c.dead("")
	case http.StatusUnauthorized:
		return c.dead("")
	case statusPageExpired, statusLoginTimeout:
		if c.kind != kindLogin {
			return c.dead("")
		}
	case http.StatusLocked:
		if c.kind == kindLogin {
			return verdict{credential.ClassPermanent, credential.ReasonAccountLocked, ""}
		}
	}
	return refused("")
}

// bare is a word without what may stand between its parts.
func bare(word string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(word))
}

// failedOK says what a 2xx means that is no success.
func (c *call) failedOK(r *reply, fields provider.Fields, token bool) verdict {
	if c.kind != kindRefresh && r.loginForm() {
		return c.dead("a page with a field for a password")
	}
	if r.html && !token && (c.kind == kindLogin || c.kind != kindRefresh && c.wantsJSON) {
		return c.unreadable(r, "a page of HTML") // such as that of a proxy, while the backend is away
	}
	if v := c.graphQL(r); v.decided() {
		return v
	}
	if v := c.deleted(r, token); v.decided() {
		return v
	}
	if c.mustIssue && !token {
		if v := c.told(r, fields); v.decided() {
			return v
		}
		return c.unreadable(r, "")
	}
	return verdict{}
}

// deleted says what it means that a reply deletes a cookie which is a token. A
// token in a refresh's body is a newer one than the cookie that it came with.
func (c *call) deleted(r *reply, token bool) verdict {
	names := []string{c.places.AccessToken.Cookie, c.places.RefreshToken.Cookie}
	if c.kind != kindRefresh || !token {
		names = append(names, c.sentIn)
	}
	uses := c.kind != kindLogin && c.kind != kindRefresh
	for _, name := range names {
		if name != "" && r.deletes(name, uses && name != c.places.RefreshToken.Cookie) {
			return c.dead("cookie " + name + " was deleted")
		}
	}
	return verdict{}
}

// unreadable is the verdict on a success that says nothing that was asked for. A
// password is not presented again before long: nothing says that it is wrong,
// and accounts are locked for that. What was cut off may have had the token.
func (c *call) unreadable(r *reply, why string) verdict {
	if c.kind == kindLogin && (r.cut == nil || r.tooLong()) {
		return verdict{credential.ClassRefused, credential.ReasonMalformedReply, why}
	}
	return malformed(why)
}

// graphQL says what the errors of a GraphQL reply mean (GraphQL specification
// section 7.1; the codes are Apollo's, which others use as well). They make the
// call a failure only where there is no data.
func (c *call) graphQL(r *reply) verdict {
	codes, listed := r.json.find(graphQLCodes)
	has := func(code string) bool { return listed && codes.equals(code) }
	if has("UNAUTHENTICATED") {
		return c.dead("UNAUTHENTICATED")
	}
	if !c.request.graphQL {
		return verdict{}
	}
	if _, failed := r.json.find("errors.0"); !failed {
		return verdict{}
	}
	if data, ok := r.json.find("data"); ok && data.holdsAny() {
		return verdict{}
	}
	for _, code := range []string{"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "OPERATION_RESOLUTION_FAILURE"} {
		if has(code) {
			return operator(code)
		}
	}
	switch {
	case has("INTERNAL_SERVER_ERROR"):
		return unavailable("INTERNAL_SERVER_ERROR")
	case has("BAD_USER_INPUT"), has("FORBIDDEN"):
		return refused("GraphQL errors")
	}
	return c.unreadable(r, "GraphQL errors")
}

// told says what the error codes of the body mean.
func (c *call) told(r *reply, fields provider.Fields) verdict {
	if codes, ok := r.json.find(graphQLCodes); ok && codes.equals("UNAUTHENTICATED") {
		return c.dead("UNAUTHENTICATED")
	}
	if c.kind != kindLogin && c.kind != kindRefresh {
		return verdict{} // a session's call speaks no OAuth: its status says more
	}
	for _, code := range fields.Codes {
		if c.kind == kindLogin {
			if v := loginCode(code); v.decided() {
				return v
			}
		} else if deadToken(code) {
			return c.dead("the error code of a dead refresh token")
		}
		class, reason, ok := provider.CodeClass(code)
		switch {
		case !ok:
		case class == credential.ClassPermanent && reason == credential.ReasonInvalidGrant:
			return c.dead("a known error code")
		default:
			return verdict{class, reason, "a known error code"}
		}
	}
	return verdict{}
}

// deadToken reports whether an error code is one with which backends refuse a
// refresh token, whatever its spelling.
func deadToken(code string) bool {
	switch bare(code) {
	case "invalidrefreshtoken", "badrefreshtoken", "refreshtokenexpired", "expiredrefreshtoken", "refreshtokennotfound",
		"refreshtokenrevoked", "refreshtokenreused", "invalidtoken", "tokenexpired", "expiredtoken", "tokenexpirederror",
		"tokenrevoked", "tokennotfound", "sessionexpired", "sessionnotfound", "unauthorized", "unauthenticated":
		return true
	}
	return false
}

// loginCode says what the error codes mean that backends answer a login with,
// whatever their spelling.
func loginCode(code string) verdict {
	switch bare(code) {
	case "invalidcredentials", "badcredentials", "wrongcredentials", "incorrectcredentials",
		"invalidpassword", "badpassword", "wrongpassword", "incorrectpassword",
		"invalidlogin", "invaliduser", "invalidusername", "invalidemail", "usernotfound", "unknownuser",
		"invalidusernameorpassword", "invalidemailorpassword", "invalidlogincredentials",
		"loginfailed", "authenticationfailed", "unauthorized", "unauthenticated", "accessdenied":
		return verdict{credential.ClassPermanent, credential.ReasonLoginRefused, "the error code of a refused login"}
	case "accountlocked", "userlocked", "locked", "accountdisabled", "userdisabled",
		"accountsuspended", "accountblocked", "userblocked":
		return verdict{credential.ClassPermanent, credential.ReasonAccountLocked, "the error code of a locked account"}
	}
	return verdict{}
}
