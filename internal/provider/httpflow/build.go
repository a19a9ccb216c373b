package httpflow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// kind is a call, by what the settings call it.
type kind string

const (
	kindLogin    kind = "login"
	kindRefresh  kind = "refresh"
	kindExtend   kind = "session.extend"
	kindVerify   kind = "verify"
	kindUserData kind = "user_data"
	kindLogout   kind = "logout"
)

// known lists the fields that have a value when a call is made.
func known(k kind) []reqtemplate.Field {
	switch k {
	case kindLogin:
		return []reqtemplate.Field{reqtemplate.Username, reqtemplate.Password, reqtemplate.Subject}
	case kindLogout:
		return []reqtemplate.Field{reqtemplate.AccessToken, reqtemplate.RefreshToken}
	case kindRefresh, kindExtend, kindVerify, kindUserData:
	}
	return []reqtemplate.Field{reqtemplate.AccessToken, reqtemplate.RefreshToken, reqtemplate.Subject}
}

// call is a declared call, ready to be made.
type call struct {
	kind      kind
	request   request
	places    Response
	mustIssue bool   // a success has an access token
	wantsJSON bool   // a page of HTML is no answer to it
	readsBody bool   // a body that was cut off may have hidden a declared failure
	sentIn    string // the cookie that a session travels in, of a call that uses it; "" if none
	failures  []failure
	matchers  []provider.Matcher
}

// calls are all that are declared; nil where one is not.
type calls struct {
	login, refresh, extend, verify, userData, logout *call
}

// builder makes calls of their declarations and collects what is wrong.
type builder struct {
	options  Options
	problems *provider.SettingErrors

	kind   kind
	fields []reqtemplate.Field // that the current request uses
}

// problem notes what is wrong with a key of the settings.
func (b *builder) problem(key string, err error) {
	*b.problems = append(*b.problems, provider.SettingError{Key: key, Err: err})
}

// build makes the calls. The error, a [provider.SettingErrors], is all that is wrong.
func build(o Options) (calls, error) {
	var problems provider.SettingErrors
	b := &builder{options: o, problems: &problems}
	b.general()
	all := calls{
		login:    b.call(kindLogin, o.Login),
		refresh:  b.call(kindRefresh, o.Refresh),
		extend:   b.call(kindExtend, o.Extend),
		verify:   b.call(kindVerify, o.Verify),
		userData: b.call(kindUserData, o.UserData),
		logout:   b.call(kindLogout, o.Logout),
	}
	if len(problems) > 0 {
		return calls{}, problems
	}
	return all, nil
}

// general checks what concerns no single call.
func (b *builder) general() {
	o := b.options
	if o.Name == "" {
		b.problem("name", errors.New("a provider needs a name"))
	}
	if o.Login == nil && o.Refresh == nil && o.Extend == nil && o.Verify == nil && o.UserData == nil && o.Logout == nil {
		b.problem("calls", errors.New("no call is declared; declare a login, a refresh or a session"))
	}
	for i, f := range o.Failures {
		if err := f.check(); err != nil {
			b.problem(sharedFailure(i), err)
		}
	}
	for i, m := range o.Matchers {
		if err := m.Validate(); err != nil {
			b.problem(fmt.Sprintf("errors[%d]", i), err)
		}
	}
	switch o.Send.As {
	case "", AsBearer:
		if o.Send.Name != "" {
			b.problem("send", fmt.Errorf("it has the name %q, but a bearer token's header has its own; drop one of them", o.Send.Name))
		}
	case AsHeader:
		if err := checkHeaderName(o.Send.Name); err != nil {
			b.problem("send.header", err)
		}
	case AsCookie:
		if !provider.IsToken(o.Send.Name) {
			b.problem("send.cookie", errors.New("it is not the name of a cookie"))
		}
	default:
		b.problem("send", fmt.Errorf("it is %q; give bearer, a header or a cookie", o.Send.As))
	}
}

// call makes one call; nil if it is not declared.
func (b *builder) call(k kind, in *Call) *call {
	if in == nil {
		return nil
	}
	one := *b
	one.kind, one.fields = k, nil
	c := &call{kind: k, places: in.Response, matchers: b.options.Matchers}
	c.request = one.request(string(k)+".request", in.Request)
	one.places(string(k)+".response", in.Response)
	one.failures(c, in)
	c.settle(b.options)
	if (k == kindLogin || k == kindRefresh) && in.Response.AccessToken.IsZero() {
		b.problem(string(k)+".response.access_token", errors.New("it is missing; give the place of the token: a JSON path, {header: NAME} or {cookie: NAME}"))
	}
	return c
}

// settle decides how the call's reply is read.
func (c *call) settle(o Options) {
	p := &c.places
	c.mustIssue = c.kind == kindLogin || c.kind == kindRefresh
	switch c.kind {
	case kindLogin, kindRefresh:
	case kindExtend, kindVerify, kindUserData:
		if p.AccessToken.IsZero() {
			p.AccessToken = o.sessionPlace()
		}
		c.mustIssue = p.AccessToken.JSON != ""
	case kindLogout:
		c.places = Response{}
	}
	if c.kind == kindUserData && p.UserData.IsZero() {
		p.UserData = Place{JSON: wholeBody}
	}
	if o.Send.As == AsCookie && c.kind != kindLogin && c.kind != kindLogout {
		c.sentIn = o.Send.Name
	}
	c.wantsJSON = c.request.hasBody || slices.ContainsFunc(c.places.list(), func(n named) bool { return n.place.JSON != "" })
	c.readsBody = slices.ContainsFunc(c.failures, func(f failure) bool { return f.readsBody() })
}

// sessionPlace is where a new session ID would be: it may be replaced with any
// use of the session. In a body it would have been declared.
func (o Options) sessionPlace() Place {
	if o.Login != nil && !o.Login.Response.AccessToken.IsZero() {
		if p := o.Login.Response.AccessToken; p.JSON == "" {
			return p
		}
		return Place{}
	}
	switch o.Send.As {
	case AsHeader:
		return Place{Header: o.Send.Name}
	case AsCookie:
		return Place{Cookie: o.Send.Name}
	case AsBearer:
	}
	return Place{}
}

// named is a place and what the settings call it.
type named struct {
	name  string
	place Place
}

// list returns all places that can be given.
func (r Response) list() []named {
	return []named{
		{"access_token", r.AccessToken},
		{"refresh_token", r.RefreshToken},
		{"expires_in", r.ExpiresIn},
		{"expires_at", r.ExpiresAt},
		{"refresh_expires_in", r.RefreshExpiresIn},
		{"refresh_expires_at", r.RefreshExpiresAt},
		{"subject", r.Subject},
		{"user_data", r.UserData},
		{"token_type", r.TokenType},
		{"scope", r.Scope},
	}
}

// expires reports whether a place is that of an expiry.
func (n named) expires() bool { return strings.Contains(n.name, "expires") }

// places checks where a reply holds what.
func (b *builder) places(key string, r Response) {
	for _, n := range r.list() {
		if n.place.IsZero() {
			continue
		}
		if err := n.place.check(); err != nil {
			b.problem(key+"."+n.name, err)
		}
		if n.place.Unit != "" && (!n.expires() || !slices.Contains(Units(), n.place.Unit)) {
			b.problem(key+"."+n.name, fmt.Errorf("unit is %q; an expiry has one of s, ms, unix, unix_ms, rfc3339 and http, or none", n.place.Unit))
		}
	}
}

// check reports what is wrong with a place.
func (p Place) check() error {
	given := 0
	for _, text := range []string{p.JSON, p.Header, p.Cookie} {
		if text != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("give one of a JSON path, a header and a cookie")
	case p.JSON != "":
		if err := checkPath(p.JSON); err != nil {
			return fmt.Errorf("the path %w", err)
		}
	case !provider.IsToken(p.Header + p.Cookie):
		return errors.New("it is not the name of a header or a cookie")
	}
	return nil
}

// String names the place as the settings do.
func (p Place) String() string {
	switch {
	case p.Header != "":
		return "header " + p.Header
	case p.Cookie != "":
		return "cookie " + p.Cookie
	}
	return "json " + p.JSON
}

// sharedFailure is what the settings call a failure of every call but the login.
func sharedFailure(i int) string { return fmt.Sprintf("session.logged_out_when[%d]", i) }

// failures checks and collects the declared failures. Those that calls share
// have been checked.
func (b *builder) failures(c *call, in *Call) {
	for i, f := range in.Failures {
		label := fmt.Sprintf("%s.failed_when[%d]", c.kind, i)
		if err := f.check(); err != nil {
			b.problem(label, err)
		}
		c.failures = append(c.failures, failure{f, label})
	}
	if c.kind == kindLogin {
		return
	}
	for i, f := range b.options.Failures {
		c.failures = append(c.failures, failure{f, sharedFailure(i)})
	}
}
