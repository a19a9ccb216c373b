package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// LoginBody is what an owner stores.
type LoginBody struct {
	Provider string            `json:"provider" minLength:"1" maxLength:"128" doc:"Name of a configured provider" example:"github"`
	Subject  string            `json:"subject,omitempty" maxLength:"256" doc:"The user's UID at the provider"`
	Labels   map[string]string `json:"labels,omitempty" doc:"At most 32, to find credentials by. Names: 1 to 63 of A-Z a-z 0-9 . _ / -; values: up to 256 bytes"`
	Token    *TokenBody        `json:"token,omitempty" doc:"A token that was issued already"`
	Login    *SignInBody       `json:"login,omitempty" doc:"A user name and a password, for providers that have a login call. They are kept sealed, to sign in again without asking. With an access token beside it that one is used now"`
	UserData json.RawMessage   `json:"user_data,omitempty" doc:"What is to be known of the user: any JSON value but null, up to 65536 bytes. The backend's own word takes its place"`
}

// SignInBody is what a login at a backend needs.
type SignInBody struct {
	Username string `json:"username" minLength:"1" maxLength:"1024"`
	Password string `json:"password" minLength:"1" maxLength:"4096"`
}

// TokenBody is a token as its authorization server issued it, by the names of
// RFC 6749 section 5.1.
type TokenBody struct {
	AccessToken  string     `json:"access_token,omitempty" maxLength:"65536" doc:"Without one the credential is pending until its first refresh, which is due at once"`
	RefreshToken string     `json:"refresh_token,omitempty" maxLength:"65536" doc:"Without one the credential lives as long as its access token"`
	TokenType    string     `json:"token_type,omitempty" maxLength:"64" doc:"Bearer if absent"`
	Scope        string     `json:"scope,omitempty" maxLength:"4096" doc:"Space-separated"`
	ExpiresIn    *int64     `json:"expires_in,omitempty" minimum:"1" maximum:"31622400" doc:"Seconds the access token still lives. Without it and expires_at the token's own exp claim counts, then the provider's default"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty" doc:"End of the access token's life, in place of expires_in"`

	RefreshExpiresIn *int64 `json:"refresh_expires_in,omitempty" minimum:"1" maximum:"315360000" doc:"Seconds the refresh token still lives, where that is known"`
}

// login turns the body into what the engine stores.
func (b LoginBody) login(id credential.ID, now credential.Millis) (credential.Login, *Problem) {
	if p := b.check(); p != nil {
		return credential.Login{}, p
	}
	in := credential.Login{ID: id, Provider: b.Provider, Subject: b.Subject, Labels: b.Labels, UserData: credential.UserData(b.UserData)}
	if b.Login != nil {
		in.SignIn = credential.SignIn{Username: credential.NewSecret(b.Login.Username), Password: credential.NewSecret(b.Login.Password)}
	}
	if b.Token == nil {
		return in, nil
	}
	if p := b.Token.fill(&in, now); p != nil {
		return credential.Login{}, p
	}
	return in, nil
}

// fill puts the token into the login.
func (t TokenBody) fill(in *credential.Login, now credential.Millis) *Problem {
	in.Token = credential.Token{
		Access: credential.NewSecret(t.AccessToken), Refresh: credential.NewSecret(t.RefreshToken),
		Type: cmp.Or(t.TokenType, "Bearer"), Scope: t.Scope,
	}
	if t.RefreshExpiresIn != nil {
		in.RefreshExpiresIn = time.Duration(*t.RefreshExpiresIn) * time.Second
	}
	switch {
	case t.ExpiresIn != nil && t.ExpiresAt != nil:
		return invalid("body.token.expires_at", "is given beside expires_in; give one of them")
	case t.ExpiresIn != nil:
		in.ExpiresIn = time.Duration(*t.ExpiresIn) * time.Second
	case t.ExpiresAt != nil:
		in.ExpiresAt = credential.At(*t.ExpiresAt)
		if in.ExpiresAt <= 0 || in.ExpiresAt > now.Add(credential.MaxLifetime) {
			return invalid("body.token.expires_at", "must be after 1970 and within the next 366 days")
		}
	default:
		if exp := credential.JWTExpiry(in.Token.Access); exp != 0 {
			in.ExpiresAt = min(exp, now.Add(credential.MaxLifetime))
		}
	}
	return nil
}

func (b LoginBody) check() *Problem {
	switch {
	case !plain(b.Provider):
		return invalid("body.provider", "holds a control character")
	case !plain(b.Subject):
		return invalid("body.subject", "holds a control character")
	case b.Token == nil && b.Login == nil:
		return invalid("body.token", "is missing, and there is no login in its place")
	case b.Login != nil && !plain(b.Login.Username):
		return invalid("body.login.username", "holds a control character")
	case len(b.UserData) > credential.MaxUserData:
		return invalid("body.user_data", fmt.Sprintf("is over %d bytes", credential.MaxUserData))
	case string(b.UserData) == "null":
		return invalid("body.user_data", "is null; leave it out instead")
	}
	if p := checkLabels(b.Labels); p != nil || b.Token == nil {
		return p
	}
	return b.Token.check()
}

func (t TokenBody) check() *Problem {
	if t.AccessToken == "" && t.RefreshToken == "" {
		return invalid("body.token", "has neither an access_token nor a refresh_token")
	}
	// A token goes into a header, so RFC 6749 appendix A gives it visible
	// ASCII; nothing else is let through, line breaks least of all.
	for name, value := range map[string]string{
		"access_token": t.AccessToken, "refresh_token": t.RefreshToken, "token_type": t.TokenType, "scope": t.Scope,
	} {
		if at := invisible(value); at >= 0 {
			return invalid("body.token."+name, fmt.Sprintf("has a byte outside of visible ASCII at position %d", at))
		}
	}
	return nil
}

// invisible returns the position of the first byte that is not visible ASCII
// or a space, -1 if there is none.
func invisible(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return i
		}
	}
	return -1
}
