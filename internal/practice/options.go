package practice

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrInvalid is wrapped by every error about an option, a setting, a fault or
// a grant to mint that makes no sense.
var ErrInvalid = errors.New("invalid")

// Reuse says what a second presentation of a spent refresh token does.
type Reuse string

// The reuse policies.
const (
	// ReuseStrict revokes the whole family (RFC 9700, 4.14.2).
	ReuseStrict Reuse = "strict"
	// ReuseGrace returns another child of the family within the grace after
	// the first presentation, and is strict afterwards.
	ReuseGrace Reuse = "grace"
	// ReuseOff refuses the spent token and lets the family live.
	ReuseOff Reuse = "off"
)

// ClientAuth says how a client has to authenticate (RFC 6749, 2.3.1).
type ClientAuth string

// The ways of client authentication.
const (
	ClientAuthBasic ClientAuth = "basic" // the Authorization header only
	ClientAuthPost  ClientAuth = "post"  // the request body only
	ClientAuthNone  ClientAuth = "none"  // a public client, client_id in the body
	ClientAuthAny   ClientAuth = "any"   // header or body; none for a client whose secret is empty
)

// ExpiresIn says how a token reply tells the life of its access token.
type ExpiresIn string

// The forms of expires_in.
const (
	ExpiresInNormal  ExpiresIn = "normal"  // a number of seconds
	ExpiresInMissing ExpiresIn = "missing" // left out, as RFC 6749, 5.1 permits
	ExpiresInString  ExpiresIn = "string"  // a string of digits
)

// Client is one registered client. An empty Secret makes it a public client.
type Client struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// Options make a [Server]. The zero value is usable: client "demo" with the
// secret "demo-secret", strict rotation, access tokens of 20 s.
type Options struct {
	AccessTTL           time.Duration // life of an access token; 0 is 20 s
	NoRotate            bool          // a refresh keeps the refresh token as it is
	Reuse               Reuse         // "" is strict
	Grace               time.Duration // for ReuseGrace; 0 is 10 s
	RefreshTTL          time.Duration // life of a refresh token from its issue; 0 is for ever
	Clients             []Client      // none is demo:demo-secret
	ClientAuth          ClientAuth    // "" is any
	Latency             time.Duration // added to every call of the token endpoint
	RotateBeforeLatency bool          // rotate first and wait then
	ExpiresIn           ExpiresIn     // "" is normal
	AdminKey            string        // bearer token of /admin; "" leaves it open
}

func (o Options) withDefaults() Options {
	if o.AccessTTL == 0 {
		o.AccessTTL = 20 * time.Second
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Reuse == "" {
		o.Reuse = ReuseStrict
	}
	if o.ClientAuth == "" {
		o.ClientAuth = ClientAuthAny
	}
	if o.ExpiresIn == "" {
		o.ExpiresIn = ExpiresInNormal
	}
	if len(o.Clients) == 0 {
		o.Clients = []Client{{ID: "demo", Secret: "demo-secret"}}
	}
	return o
}

// Validate reports what is wrong with the options, defaults filled in. Its
// errors wrap [ErrInvalid].
func (o Options) Validate() error {
	o = o.withDefaults()
	errs := []error{o.settings().validate()}
	for _, c := range o.Clients {
		if c.ID == "" {
			errs = append(errs, fmt.Errorf("%w: a client without an ID", ErrInvalid))
		}
	}
	return errors.Join(errs...)
}

func (o Options) settings() Settings {
	return Settings{
		AccessTTL:           o.AccessTTL,
		Rotate:              !o.NoRotate,
		Reuse:               o.Reuse,
		Grace:               o.Grace,
		RefreshTTL:          o.RefreshTTL,
		ClientAuth:          o.ClientAuth,
		Latency:             o.Latency,
		RotateBeforeLatency: o.RotateBeforeLatency,
		ExpiresIn:           o.ExpiresIn,
	}
}

// ParseClients reads "id:secret[,id:secret]". The secret starts after the
// first colon and may be empty. Its errors wrap [ErrInvalid] and never hold a
// secret.
func ParseClients(s string) ([]Client, error) {
	var clients []Client
	for i, pair := range strings.Split(s, ",") {
		id, secret, ok := strings.Cut(pair, ":")
		if !ok || id == "" {
			return nil, fmt.Errorf("%w: client %d of the list is not id:secret", ErrInvalid, i+1)
		}
		clients = append(clients, Client{ID: id, Secret: secret})
	}
	return clients, nil
}
