package config

import (
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// HTTPCall is one call to a backend, where its reply holds what, and which
// replies are none that one would want.
type HTTPCall struct {
	Request    HTTPRequest  `yaml:"request"`
	Response   HTTPResponse `yaml:"response"`
	FailedWhen []Failure    `yaml:"failed_when"` // asked before anything else is looked at; the first that fits decides
}

// Declared reports whether there is such a call.
func (c HTTPCall) Declared() bool { return c.Request.URL != "" }

// HTTPRequest is what is sent. Its texts are templates of package reqtemplate,
// also those within JSON and Variables; only names and the GraphQL query are
// what they are. Values of Query, Headers and Form may come from the environment
// or a file, and then hold no fields.
type HTTPRequest struct {
	Method  string                       `oneof:"GET POST PUT PATCH DELETE" yaml:"method"`
	URL     string                       `yaml:"url"`
	Query   map[string]credential.Secret `secret:"template"                 yaml:"query"`
	Headers map[string]credential.Secret `secret:"template"                 yaml:"headers"`
	Form    map[string]credential.Secret `secret:"template"                 yaml:"form"`
	JSON    any                          `yaml:"json"` // nil, or a value as [loader.free] makes it
	GraphQL GraphQL                      `yaml:"graphql"`
}

// GraphQL is a request for a GraphQL endpoint.
type GraphQL struct {
	Query         string `yaml:"query"` // sent as it is; values go into Variables
	Variables     any    `yaml:"variables"`
	OperationName string `yaml:"operation_name"`
}

// HTTPResponse says where the reply holds what.
type HTTPResponse struct {
	AccessToken      Place  `yaml:"access_token"`
	RefreshToken     Place  `yaml:"refresh_token"`
	ExpiresIn        Expiry `yaml:"expires_in"`
	ExpiresAt        Expiry `yaml:"expires_at"`
	RefreshExpiresIn Expiry `yaml:"refresh_expires_in"`
	RefreshExpiresAt Expiry `yaml:"refresh_expires_at"`
	Subject          Place  `yaml:"subject"`
	UserData         Place  `yaml:"user_data"`
	TokenType        Place  `yaml:"token_type"`
	Scope            Place  `yaml:"scope"`
}

// Session is a sliding session's rules.
type Session struct {
	IdleTimeout     time.Duration       `yaml:"idle_timeout"`
	AbsoluteTimeout time.Duration       `yaml:"absolute_timeout"` // 0: it lives as long as it is used
	Extend          HTTPCall            `yaml:"extend"`
	LoggedOutWhen   []Failure           `yaml:"logged_out_when"` // for every call but the login
	WarnBefore      time.Duration       `yaml:"warn_before"`     // 0: nobody is warned
	OnActive        credential.OnActive `oneof:"extend end"      yaml:"on_active"`
	OnDeath         credential.OnDeath  `oneof:"reauth logout"   yaml:"on_death"`
}

// Failure recognises a reply that means failure. What is set must all fit.
type Failure struct {
	Status       Statuses   `yaml:"status"`
	Redirect     Redirect   `yaml:"redirect"`
	JSON         string     `quoted:"yes" yaml:"json"` // a path that is there, and
	Equals       Comparison `yaml:"equals"`            // that holds this, where it is set
	BodyContains string     `yaml:"body_contains"`

	// Class is "" for permanent: only the user can mend it. Transient is the
	// promise that the request was not processed.
	Class credential.Class `oneof:"permanent transient rate_limited ambiguous operator" yaml:"class"`
	// Reason is "" for the usual one of the call and the class.
	Reason credential.Reason `oneof:"invalid_grant login_refused account_locked session_ended idle_timeout absolute_timeout interaction_required consent_required rejected provider_unavailable rate_limited client_misconfigured invalid_request malformed_reply" yaml:"reason"`
}
