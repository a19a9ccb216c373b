package httpflow

import (
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
)

// Options are the settings of a backend. Calls that it does not have are nil.
type Options struct {
	Name string // of the provider, as configured

	Login   *Call // name and password for a token
	Refresh *Call // a refresh token for a token
	// Extend uses the session, so that its idle timeout starts anew. Where its
	// response does not say where a new session ID would be, it is looked for in
	// the header or the cookie that a login has it in, or that it is sent in; so
	// it is with Verify and UserData.
	Extend   *Call
	Verify   *Call // asks whether the token is still taken
	UserData *Call // asks who the user is
	Logout   *Call // ends the token

	// Failures are looked for in the replies to every call but the login, after
	// those of the call itself.
	Failures []Failure
	// Matchers are looked at after those, for every call.
	Matchers []provider.Matcher
	// Send is how the token travels with a request that does not say so itself.
	Send Send

	Timeout  time.Duration // of a whole call; 0 is 20 s
	Proxy    string        // http or https URL; "" is none
	CAFile   string        // PEM certificates that are trusted beside the system's; "" is none
	MaxConns int           // connections to one host at the same time; 0 is 64
	Version  string        // of this program, for User-Agent
	Log      zerolog.Logger
}

// Call is one call: what is sent, and what its reply means.
type Call struct {
	Request  Request
	Response Response
	Failures []Failure
}

// Request is what is sent. Its texts are templates (package reqtemplate), whose
// values are encoded for where they stand. What a call can know is: a login
// username, password and subject; a refresh access_token, refresh_token and
// subject; a log-out both tokens; the others both tokens and subject.
//
// At most one of Form, JSON and GraphQL is given.
type Request struct {
	// Method is GET, POST, PUT, PATCH or DELETE. "" is POST for a request that
	// has a body, a login, a refresh and a log-out, and GET for the others.
	Method string
	// URL has templates behind its host only.
	URL   string
	Query map[string]string // is added to the URL's own
	// Headers win over those that are sent anyway. The value
	// "Basic {{.username}}:{{.password}}" is encoded as RFC 7617 wants it.
	Headers map[string]string
	Form    map[string]string
	JSON    any // any JSON value, with templates in its strings
	GraphQL *GraphQL
}

// GraphQL is a request as GraphQL over HTTP wants it: a POST of JSON. Values go
// into the variables; a template in the query would let a value be read as a
// part of it.
type GraphQL struct {
	Query         string
	Variables     any // likewise as Request.JSON
	OperationName string
}

// Response says where a reply holds what. A place that is not given is not
// looked for. The access token has to be there after a login and a refresh, the
// others need not be.
type Response struct {
	AccessToken      Place
	RefreshToken     Place
	ExpiresIn        Place // or a moment; see [Unit]
	ExpiresAt        Place // or a time from now; see [Unit]
	RefreshExpiresIn Place
	RefreshExpiresAt Place
	Subject          Place
	UserData         Place
	TokenType        Place
	Scope            Place
}

// Place is where in a reply a value stands. One of JSON, Header and Cookie is
// given; the zero value is nowhere.
type Place struct {
	// JSON is a path in the syntax of gjson, such as user.id, tokens.0.value or
	// errors.#.code, without modifiers but "@this" alone, which is the whole
	// body.
	JSON   string
	Header string // "Bearer abc" in a token's place stands for abc, as it does in JSON
	Cookie string // as Set-Cookie sets it (RFC 6265)
	Unit   Unit   // of an expiry
}

// IsZero reports whether nothing is given.
func (p Place) IsZero() bool { return p == Place{} }

// Unit says how an expiry is written.
type Unit string

// The units. UnitAuto reads what cannot be mistaken: a number below 10⁹ is
// seconds from now, from there on it is a moment, in seconds since 1970 below
// 10¹¹ and in milliseconds from there on; text may be such a number, a time from
// now with its unit (30s, 1500ms, 15m, 1h30m, 7d), or a date. Milliseconds from
// now cannot be told from seconds: they need UnitMillis.
const (
	UnitAuto       Unit = ""
	UnitSeconds    Unit = "s"       // from now
	UnitMillis     Unit = "ms"      // from now
	UnitUnix       Unit = "unix"    // seconds since 1970
	UnitUnixMillis Unit = "unix_ms" // milliseconds since 1970
	UnitRFC3339    Unit = "rfc3339" // 2026-01-02T15:04:05Z; in UTC where it names no zone
	UnitHTTP       Unit = "http"    // Fri, 02 Jan 2026 15:04:05 GMT
)

// Units lists the units.
func Units() []Unit {
	return []Unit{UnitAuto, UnitSeconds, UnitMillis, UnitUnix, UnitUnixMillis, UnitRFC3339, UnitHTTP}
}

// Failure recognises a reply that is a failure, also where its status says
// otherwise. All that is given must hold.
type Failure struct {
	StatusFrom, StatusTo int    // HTTP statuses, both included; 0: any
	Redirect             bool   // a status of 3xx with a Location
	Location             string // of the redirect, "*" standing for any text; "": any
	JSON                 string // a path as in [Place]
	Equals               string // what stands there, or in a list there; "": anything but null
	BodyContains         string

	// Class is one of [provider.MatcherClasses]. "" is dead: the name and
	// password, the refresh token or the session will not be taken any more.
	Class  credential.Class
	Reason credential.Reason // "" is the usual one of the class and the call
}

// As is a way for a token to travel.
type As string

// The ways. "" is a bearer token.
const (
	AsBearer As = "bearer" // Authorization: Bearer (RFC 6750 section 2.1)
	AsHeader As = "header" // as it is, in the header Name
	AsCookie As = "cookie" // as it is, in the cookie Name
)

// Send is how a token travels.
type Send struct {
	As   As
	Name string // of the header or the cookie
}
