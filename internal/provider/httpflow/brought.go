package httpflow

import (
	"errors"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// CheckLogin reports why a call that is to keep what a login has brought alive can
// never be made: its request needs a value that the login does not have and no reply
// will tell before, or the user's UID or a token does not fit where it has to stand.
// Whether name and password fit is seen when they are presented. The error is a
// [*provider.ValueError].
func (p *Provider) CheckLogin(in credential.Login) error {
	brought := valuesOf(in.Token, in.Subject)
	get := func(f reqtemplate.Field) string {
		value := brought(f)
		if value == "" && p.calls.have(in, f) {
			return "x" // whether it fits is seen once it is there
		}
		return value
	}
	for _, c := range p.calls.keeping(get, in) {
		_, err := c.request.render(get)
		if empty, ok := errors.AsType[*emptyError](err); ok {
			return &provider.ValueError{Provider: p.name, Name: string(empty.field), Request: empty.where}
		}
		if unfit, ok := errors.AsType[*unfitError](err); ok {
			return &provider.ValueError{Provider: p.name, Name: string(unfit.field), Request: unfit.where, Why: unfit.why}
		}
	}
	return nil
}

// keeping lists the calls without which what a login has brought is not kept alive. A
// session that cannot be extended is replaced at its deadline where name and password
// are kept.
func (all calls) keeping(get values, in credential.Login) []*call {
	var list []*call
	switch {
	case all.signsIn(in):
		list = append(list, all.login)
	case all.extend != nil && get(reqtemplate.AccessToken) != "":
		list = append(list, all.extend)
	}
	if all.refresh != nil && get(reqtemplate.RefreshToken) != "" {
		list = append(list, all.refresh)
	}
	return list
}

// signsIn reports whether a login can be made with what was brought.
func (all calls) signsIn(in credential.Login) bool { return all.login != nil && !in.SignIn.IsZero() }

// have reports whether a login has brought a value, or a reply may tell it to whoever
// has not.
func (all calls) have(in credential.Login, f reqtemplate.Field) bool {
	signsIn := all.signsIn(in)
	switch f {
	case reqtemplate.Username, reqtemplate.Password:
		return signsIn
	case reqtemplate.AccessToken:
		return !in.Token.Access.IsZero() || signsIn
	case reqtemplate.RefreshToken:
		return !in.Token.Refresh.IsZero() || signsIn && !all.login.places.RefreshToken.IsZero()
	case reqtemplate.Subject:
	}
	var asked []*call
	if signsIn {
		asked = append(asked, all.login)
	}
	if all.have(in, reqtemplate.AccessToken) {
		asked = append(asked, all.extend, all.verify, all.userData)
	}
	if all.have(in, reqtemplate.RefreshToken) {
		asked = append(asked, all.refresh)
	}
	return slices.ContainsFunc(asked, func(c *call) bool {
		return c != nil && !c.places.Subject.IsZero() && !slices.Contains(c.request.fields, reqtemplate.Subject)
	})
}
