package client

import (
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/oauth2"
)

// hidden is what is printed and logged in place of a secret.
const hidden = "<secret>"

// PutToken is a token as its authorization server issued it (RFC 6749 section
// 5.1), to be stored by [Client.Put]. An access token, a refresh token, or
// both. However it is printed, logged or encoded, the tokens are left out.
type PutToken struct {
	AccessToken  string `json:"-"` // without one, the first refresh is due at once
	RefreshToken string `json:"-"` // without one, the credential lives as long as its access token
	TokenType    string // "Bearer" if empty
	Scope        string // space-separated; may be empty

	// ExpiresIn is how long the access token still lives, in whole seconds.
	// Give this or ExpiresAt, or neither: then the token's own claim or the
	// provider's default counts.
	ExpiresIn time.Duration
	ExpiresAt time.Time // when the access token ends

	// RefreshExpiresIn is how long the refresh token still lives; 0 where that
	// is not known.
	RefreshExpiresIn time.Duration
}

// FromOAuth2 returns a token that package golang.org/x/oauth2 was given, as by
// oauth2.Config.Exchange, in the form in which [Client.Put] stores it. Let
// nobody else refresh it from then on.
func FromOAuth2(t *oauth2.Token) *PutToken {
	scope, _ := t.Extra("scope").(string)
	put := &PutToken{AccessToken: t.AccessToken, RefreshToken: t.RefreshToken, TokenType: t.TokenType, Scope: scope}
	// x/oauth2 has reckoned Expiry by this machine's clock, which need not be
	// refreshd's: what is left of it means the same to both.
	if left := time.Until(t.Expiry).Truncate(time.Second); left > 0 {
		put.ExpiresIn = left
	} else if !t.Expiry.IsZero() {
		put.ExpiresAt = t.Expiry
	}
	return put
}

// String shows nothing of the token.
func (PutToken) String() string { return hidden }

// GoString shows nothing of the token.
func (PutToken) GoString() string { return "client.PutToken{" + hidden + "}" }

// Format shows nothing of the token, whatever the verb.
func (t PutToken) Format(f fmt.State, verb rune) { conceal(f, verb, t) }

// LogValue shows nothing of the token to package log/slog.
func (PutToken) LogValue() slog.Value { return slog.StringValue(hidden) }

// Login is a user name and a password for a provider that has a login call, to
// be stored by [Client.Put]. refreshd keeps them sealed, to sign in again
// without asking. However it is printed, logged or encoded, both are left out.
type Login struct {
	Username string `json:"-"`
	Password string `json:"-"`
}

// String shows nothing of the login.
func (Login) String() string { return hidden }

// GoString shows nothing of the login.
func (Login) GoString() string { return "client.Login{" + hidden + "}" }

// Format shows nothing of the login, whatever the verb.
func (l Login) Format(f fmt.State, verb rune) { conceal(f, verb, l) }

// LogValue shows nothing of the login to package log/slog.
func (Login) LogValue() slog.Value { return slog.StringValue(hidden) }

// conceal prints what a type says of itself, for every verb.
func conceal(f fmt.State, verb rune, shown interface {
	fmt.Stringer
	fmt.GoStringer
},
) {
	text := shown.String()
	if verb == 'v' && f.Flag('#') {
		text = shown.GoString()
	}
	_, _ = f.Write([]byte(text)) // there is nobody to tell
}

// putTokenBody is a token as the API takes it.
type putTokenBody struct {
	AccessToken      string    `json:"access_token,omitempty"`
	RefreshToken     string    `json:"refresh_token,omitempty"`
	TokenType        string    `json:"token_type,omitempty"`
	Scope            string    `json:"scope,omitempty"`
	ExpiresIn        int64     `json:"expires_in,omitempty"`
	ExpiresAt        time.Time `json:"expires_at,omitzero"`
	RefreshExpiresIn int64     `json:"refresh_expires_in,omitempty"`
}

func tokenBodyOf(t *PutToken) *putTokenBody {
	if t == nil {
		return nil
	}
	return &putTokenBody{
		AccessToken: t.AccessToken, RefreshToken: t.RefreshToken, TokenType: t.TokenType, Scope: t.Scope,
		ExpiresIn: wholeSeconds(t.ExpiresIn), ExpiresAt: t.ExpiresAt,
		RefreshExpiresIn: wholeSeconds(t.RefreshExpiresIn),
	}
}

// loginBody is a login as the API takes it.
type loginBody struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func loginBodyOf(l *Login) *loginBody {
	if l == nil {
		return nil
	}
	return &loginBody{Username: l.Username, Password: l.Password}
}

// wholeSeconds rounds away from zero: a part of a second is no life without an
// end, which 0 stands for.
func wholeSeconds(d time.Duration) int64 {
	seconds := int64(d / time.Second)
	switch rest := d % time.Second; {
	case rest > 0:
		seconds++
	case rest < 0:
		seconds--
	}
	return seconds
}
