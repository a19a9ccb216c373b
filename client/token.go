package client

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// A Token is an access token that was valid when it was handed out. Tokens are
// shared between callers: read them, and do not change them. However it is
// printed, logged or encoded, the access token itself is left out.
type Token struct {
	AccessToken string    `json:"-"`
	TokenType   string    // such as "Bearer"
	Scope       string    // space-separated; may be empty
	ExpiresAt   time.Time // by this machine's clock; a session's is its idle deadline
	Generation  uint64    // grows with every token of the credential; name it to [Client.Refresh] when the token is rejected
	Version     uint64    // of the credential
	Send        Send      // how requests carry it
}

// Ways for a token to travel, as [Send.As] has them.
const (
	SendBearer = "bearer" // Authorization: <TokenType> <AccessToken> (RFC 6750 section 2.1)
	SendHeader = "header" // the access token as it is, in the header named Name
	SendCookie = "cookie" // the access token as it is, in the cookie named Name
)

// Send tells how requests carry a token, as the provider's configuration has
// it.
type Send struct {
	As   string // SendBearer, SendHeader or SendCookie
	Name string // of the header or the cookie; empty with SendBearer
}

// Apply puts the token on a request in the way that t.Send says, in place of
// what stood there.
func (t Token) Apply(req *http.Request) {
	switch t.Send.As {
	case SendHeader:
		req.Header.Set(t.Send.Name, t.AccessToken)
	case SendCookie:
		setCookie(req.Header, t.Send.Name, t.AccessToken)
	default:
		req.Header.Set("Authorization", t.scheme()+" "+t.AccessToken)
	}
}

// scheme returns the token type as servers expect it in a header: its spelling
// in token replies varies, and RFC 6749 section 5.1 makes it case-insensitive.
func (t Token) scheme() string {
	if t.TokenType == "" || strings.EqualFold(t.TokenType, "bearer") {
		return "Bearer"
	}
	return t.TokenType
}

// setCookie puts a cookie into the place of those with the same name. The value
// goes as it is: http.Request.AddCookie would drop or quote bytes that a session
// ID may have.
func setCookie(h http.Header, name, value string) {
	kept := make([]string, 0, 4)
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			if other, _, _ := strings.Cut(part, "="); part != "" && strings.TrimSpace(other) != name {
				kept = append(kept, part)
			}
		}
	}
	h.Set("Cookie", strings.Join(append(kept, name+"="+value), "; "))
}

// String tells which token it is, without the token.
func (t Token) String() string {
	return fmt.Sprintf("token of generation %d until %s", t.Generation, t.ExpiresAt.UTC().Format(time.RFC3339))
}

// GoString is String, so that %#v does not show the token.
func (t Token) GoString() string { return "client.Token{" + t.String() + "}" }

// Format is String for every verb of package fmt but %#v.
func (t Token) Format(f fmt.State, verb rune) {
	text := t.String()
	if verb == 'v' && f.Flag('#') {
		text = t.GoString()
	}
	_, _ = f.Write([]byte(text)) // there is nobody to tell
}

// LogValue is what package log/slog logs of the token.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Uint64("generation", t.Generation),
		slog.Uint64("version", t.Version),
		slog.Time("expires_at", t.ExpiresAt),
	)
}

// oauth2 returns the token as programs know it that use golang.org/x/oauth2.
func (t Token) oauth2() *oauth2.Token {
	token := &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.scheme(), Expiry: t.ExpiresAt}
	return token.WithExtra(map[string]any{
		"scope": t.Scope, "generation": t.Generation, "version": t.Version,
		"send_as": t.Send.As, "send_name": t.Send.Name,
	})
}
