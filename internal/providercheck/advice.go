package providercheck

import (
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// redirectRemedy is what to do where a provider answers with a redirect.
const redirectRemedy = "refreshd follows no redirect, for what it sends are secrets: set the URL to where this one leads (curl -si shows the Location)"

// answered tells in brackets what a provider answered, as far as it may be
// shown.
func answered(o credential.Outcome) string {
	said := string(o.Reason)
	if o.Detail != "" {
		said = o.Detail
	}
	if said == "" {
		return ""
	}
	return " (" + said + ")"
}

// beside tells which names stood where something was looked for in vain.
func beside(missing []credential.Absence) string {
	for _, a := range missing {
		if a.Beside != nil {
			return "; there are " + strings.Join(a.Beside, ", ")
		}
	}
	return ""
}

func redirected(o credential.Outcome) bool { return strings.HasPrefix(o.Detail, "HTTP 3") }

// noSuchPage reports whether the provider says that there is nothing at the URL, or
// nothing that takes the request's method.
func noSuchPage(o credential.Outcome) bool {
	return o.Class == credential.ClassOperator && (strings.HasPrefix(o.Detail, "HTTP 404") || strings.HasPrefix(o.Detail, "HTTP 405"))
}

// tooLong reports whether an answer is of no use because it is longer than is read of
// one.
func tooLong(o credential.Outcome) bool {
	return o.Reason == credential.ReasonMalformedReply && strings.Contains(o.Detail, "longer than 1 MiB")
}

func discoveryAdvice(o credential.Outcome) (what, remedy string) {
	what = "the issuer's document of its endpoints cannot be used" + answered(o)
	switch {
	case o.Class == credential.ClassOperator && redirected(o):
		return what, redirectRemedy
	case o.Class == credential.ClassOperator:
		return what, "compare issuer with the provider's documentation, letter by letter: it must be the same as in its /.well-known/openid-configuration; or set token_url in its place"
	default:
		return what, "see whether the provider has an outage, then run this again; setting token_url makes discovery unnecessary"
	}
}

// clientAdvice reads what became of a made-up refresh token.
func clientAdvice(o credential.Outcome) (severity Severity, what, remedy string) {
	switch o.Class {
	case credential.ClassPermanent:
		return OK, "the client is accepted: a made-up refresh token was refused as one" + answered(o), ""
	case credential.ClassOperator:
		what, remedy = operatorAdvice(o)
		return Fail, what, remedy
	case credential.ClassRefused:
		return Warn, "the provider refuses the form of a made-up refresh token" + answered(o) + ", which does not tell whether it takes the client",
			"store a credential with refreshd put, and look at its first refresh"
	case credential.ClassNotProcessed:
		return Warn, "a rule under errors says that the refusal of a made-up refresh token is none" + answered(o),
			"make the rule narrower: as it is, a dead refresh token would be presented again and again"
	case credential.ClassRateLimited:
		return Warn, "the provider takes no more requests now" + answered(o), "run this again later"
	case credential.ClassOK:
		return Warn, "the provider has issued a token for a made-up refresh token" + answered(o), "see whether token_url is that of a test server"
	case credential.ClassNotSent, credential.ClassTransient, credential.ClassAmbiguous:
	}
	what, remedy = troubleAdvice(o)
	return Fail, what, remedy
}

// operatorAdvice says what is to be put right in the settings.
func operatorAdvice(o credential.Outcome) (what, remedy string) {
	code := o.Detail[strings.LastIndex(o.Detail, " ")+1:]
	switch {
	case redirected(o):
		return "the provider answers with a redirect" + answered(o), redirectRemedy
	case code == "unauthorized_client", code == "unsupported_grant_type":
		return "the provider does not let this client refresh tokens" + answered(o),
			"allow the grant type refresh_token for the client at the provider; some want the scope offline_access asked for at the login"
	case code == "invalid_scope":
		return "the provider refuses the scope" + answered(o), "see what the client may ask for at the provider"
	case noSuchPage(o):
		return "nothing takes tokens at this URL" + answered(o), "compare the URL's path with the provider's documentation"
	case code == "invalid_client", strings.HasPrefix(o.Detail, "HTTP 401"):
		return "the provider refuses the client" + answered(o),
			"see that client_id and client_secret are those of the provider's console, that the secret has not expired, and that client_auth (basic, post or none) is the way that the client is registered for"
	default:
		return "the provider refuses the request" + answered(o), "compare the settings with the provider's documentation"
	}
}

// troubleAdvice says what to do about an exchange that was not answered as one.
func troubleAdvice(o credential.Outcome) (what, remedy string) {
	switch {
	case o.Class == credential.ClassOperator:
		return operatorAdvice(o)
	case o.Reason == credential.ReasonTimeout:
		return "no answer in time" + answered(o), "raise timeout, or see why the provider is slow"
	case tooLong(o):
		return "the answer is too long" + answered(o),
			"see that the URL of the request is the right one; if it is, take one that is answered with less, for no more than that is read"
	case o.Reason == credential.ReasonMalformedReply:
		return "the answer is not what the settings expect" + answered(o) + beside(o.Missing),
			"compare the places under response, and failed_when, with what the provider answers; a page of HTML comes from a wrong path, or from something in between"
	case o.Class == credential.ClassNotSent:
		return "nothing could be sent" + answered(o), "see that the address can be reached from here, and what http.proxy and http.ca_file say"
	case o.Class == credential.ClassRateLimited:
		return "the provider takes no more requests now" + answered(o), "run this again later"
	case o.Class == credential.ClassTransient, o.Class == credential.ClassNotProcessed:
		return "the provider says that it failed" + answered(o), "see whether it has an outage, then run this again"
	case o.Class == credential.ClassRefused:
		return "the provider refuses the form of the request" + answered(o), "compare method, headers and body of the request with the provider's documentation"
	default:
		return "the answer was lost or cut off" + answered(o), "run this again; see what stands between here and the provider"
	}
}
