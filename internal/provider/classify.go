package provider

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// What an error code may be to be shown to people.
const (
	maxCode   = 64
	maxShared = 6 // bytes in a row that it has in common with a secret
	codeBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
)

// Reply is a provider's answer to an exchange, as far as its class depends on
// it.
type Reply struct {
	Status int         // HTTP status
	Header http.Header // for Retry-After and Date
	Fields Fields      // what [Parse] found in the body
	Cut    bool        // the body ended before its end, or was longer than allowed

	// Secrets are those that were sent, which the provider might echo: an
	// error code that holds a piece of one, or of a token that came back, is
	// not shown.
	Secrets []credential.Secret
}

// verdict is a class and why.
type verdict struct {
	class  credential.Class
	reason credential.Reason
}

// Classify says what came of an exchange that was answered at now. The
// matchers decide first; then the status, where it speaks of the server or of
// its load; then the error code; then the status again. The outcome carries
// the tokens of the reply whatever its class.
//
// A 2xx counts as a success if it has an access token and it is certain
// whether a refresh token came with it. Codes, where RFC 6749 section 5.2 has
// none, are those of the providers themselves.
func Classify(r Reply, matchers []Matcher, now time.Time) credential.Outcome {
	found := r.Fields.Found
	out := credential.Outcome{
		Detail:    r.detail(),
		Token:     found.Token,
		ExpiresIn: credential.ParseExpiresIn(found.ExpiresIn),
		ExpiresAt: credential.JWTExpiry(found.Token.Access),

		RefreshExpiresIn: credential.ParseExpiresIn(found.RefreshExpiresIn),
	}
	if r.success() {
		out.Class = credential.ClassOK
		return out
	}
	v := r.verdict(matchers)
	out.Class, out.Reason = v.class, v.reason
	out.RetryAfter = RetryAfter(r.Header, now)
	return out
}

// success reports whether the reply is a 2xx with all that was issued.
func (r Reply) success() bool {
	if r.Status < 200 || r.Status > 299 || r.Fields.Found.Token.Access.IsZero() {
		return false
	}
	return !r.Fields.Found.Token.Refresh.IsZero() || r.Fields.Whole && !r.Cut
}

// verdict classifies a reply that is not a success.
func (r Reply) verdict(matchers []Matcher) verdict {
	if class, reason, ok := Match(matchers, r); ok {
		return verdict{class, reason}
	}
	switch {
	case r.Status == http.StatusTooManyRequests:
		return verdict{credential.ClassRateLimited, credential.ReasonRateLimited}
	case r.Status == http.StatusRequestTimeout, r.Status >= 500:
		return verdict{credential.ClassTransient, credential.ReasonUnavailable}
	case r.Status >= 300 && r.Status < 400:
		return verdict{credential.ClassOperator, credential.ReasonClientMisconfigured}
	}
	for _, code := range r.Fields.Codes {
		if v, ok := codeVerdict(code); ok {
			if code == "invalid_grant" && r.Fields.InProgress() {
				return verdict{credential.ClassNotProcessed, credential.ReasonUnavailable}
			}
			return v
		}
	}
	return r.statusVerdict()
}

// InProgress reports whether the description is such a text as [SaysInProgress]
// knows.
func (f Fields) InProgress() bool { return SaysInProgress(f.Description) }

// SaysInProgress reports whether an error's text is the one with which Salesforce,
// and others after it, refuse a request that came while another was being served.
func SaysInProgress(text string) bool {
	return strings.Contains(strings.ToLower(text), "already being processed")
}

// CodeClass says what an error code means that providers have in common; false
// for one that is not known.
func CodeClass(code string) (credential.Class, credential.Reason, bool) {
	v, ok := codeVerdict(code)
	return v.class, v.reason, ok
}

// codeVerdict says what an error code means; false for one it does not know.
func codeVerdict(code string) (verdict, bool) {
	switch code {
	case "invalid_grant", "bad_refresh_token", "BAD_REFRESH_TOKEN", "refresh_token_already_used", "190":
		return verdict{credential.ClassPermanent, credential.ReasonInvalidGrant}, true
	case "interaction_required", "login_required", "mfa_required":
		return verdict{credential.ClassPermanent, credential.ReasonInteractionRequired}, true
	case "consent_required":
		return verdict{credential.ClassPermanent, credential.ReasonConsentRequired}, true
	case "invalid_request":
		return verdict{credential.ClassRefused, credential.ReasonInvalidRequest}, true
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"incorrect_client_credentials", "bad_client_secret":
		return verdict{credential.ClassOperator, credential.ReasonClientMisconfigured}, true
	case "slow_down":
		return verdict{credential.ClassRateLimited, credential.ReasonRateLimited}, true
	case "temporarily_unavailable", "server_error", "internal_error":
		return verdict{credential.ClassTransient, credential.ReasonUnavailable}, true
	}
	return verdict{}, false
}

// statusVerdict classifies a reply without a known error code.
func (r Reply) statusVerdict() verdict {
	told := r.Fields.Failed
	switch {
	case r.Status == http.StatusUnauthorized, r.Status == http.StatusNotFound:
		return verdict{credential.ClassOperator, credential.ReasonClientMisconfigured}
	case r.Status < 200, // 101 is the only one of these that is handed on
		r.Status < 300 && !told,
		r.Cut && !told:
		return verdict{credential.ClassAmbiguous, credential.ReasonMalformedReply}
	default:
		return verdict{credential.ClassRefused, credential.ReasonInvalidRequest}
	}
}

// ReasonOf returns the reason that usually goes with a class that a rule gives.
func ReasonOf(class credential.Class) credential.Reason {
	switch class {
	case credential.ClassPermanent:
		return credential.ReasonInvalidGrant
	case credential.ClassOperator:
		return credential.ReasonClientMisconfigured
	case credential.ClassRateLimited:
		return credential.ReasonRateLimited
	case credential.ClassRefused:
		return credential.ReasonInvalidRequest
	case credential.ClassAmbiguous:
		return credential.ReasonMalformedReply
	case credential.ClassOK, credential.ClassNotSent, credential.ClassNotProcessed, credential.ClassTransient:
		return credential.ReasonUnavailable
	}
	return credential.ReasonUnavailable
}

// detail describes the reply for people: its status and its error code, one
// that is known if there is one.
func (r Reply) detail() string {
	shown := ""
	for _, code := range r.Fields.Codes {
		if _, known := codeVerdict(code); known {
			shown = code
			break
		}
		if shown == "" && r.mayShow(code) {
			shown = code
		}
	}
	return strings.TrimSpace("HTTP " + strconv.Itoa(r.Status) + " " + shown)
}

// mayShow reports whether code looks like one, and is not a piece of a secret
// that the provider put in its place.
func (r Reply) mayShow(code string) bool {
	if len(code) > maxCode || strings.Trim(code, codeBytes) != "" {
		return false
	}
	token := r.Fields.Found.Token
	for _, secret := range append([]credential.Secret{token.Access, token.Refresh}, r.Secrets...) {
		if sharesPiece(code, secret.Reveal()) {
			return false
		}
	}
	return true
}

// sharesPiece reports whether code and secret have maxShared bytes in a row in
// common, or all of code is in secret.
func sharesPiece(code, secret string) bool {
	for i := range max(len(code)-maxShared, 0) + 1 {
		if strings.Contains(secret, code[i:min(i+maxShared, len(code))]) {
			return true
		}
	}
	return secret != "" && strings.Contains(code, secret)
}
