package credential

import "time"

// Token is what a provider issued: the part of a credential that is sealed.
type Token struct {
	Access  Secret // sent with requests to the resource
	Refresh Secret // presented to the authorization server; may be empty
	Type    string // RFC 6749 section 7.1; "Bearer" where the provider says nothing
	Scope   string // space-separated, RFC 6749 section 3.3
}

// Alternate is a token that was received but could not be installed, because
// its attempt was no longer the open one. It is tried before a person is sent
// to log in.
type Alternate struct {
	Nonce      Nonce  // of the attempt that brought it
	Generation uint64 // that was presented to get it
	Token      Token
	IssuedAt   Millis
	Lifetime   time.Duration // of the access token, as resolved by [Policy.Lifetime]
}

// Found is what a tolerant scan took out of a provider's reply before anyone
// looked at the rest of it. Fields that were not found are empty.
type Found struct {
	Token     Token
	ExpiresIn string // the raw value, unquoted

	RefreshExpiresIn string // likewise, of the refresh token
	Complete         bool   // the reply ended where it should: nothing can be missing
}

// IsZero reports whether the scan found neither token.
func (f Found) IsZero() bool { return f.Token.Access.IsZero() && f.Token.Refresh.IsZero() }
