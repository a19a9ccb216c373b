// Package oauth2 speaks the parts of OAuth 2.0 that keep a credential fresh:
// the refresh request (RFC 6749 section 6), revocation (RFC 7009) and
// discovery (OpenID Connect Discovery 1.0, RFC 8414).
//
// Each exchange is one POST. Client authentication is fixed by the settings
// and never guessed, nothing is repeated, no redirect is followed, and a token
// is taken out of whatever came back before anything else about the reply is
// looked at.
package oauth2
