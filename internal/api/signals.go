package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	signalsPath = "/v1/signals"
	// signalsFresh is how long receivers may keep the public keys and the
	// configuration.
	signalsFresh = "public, max-age=900"
)

// Signals is the transmitter of Security Event Tokens. Its methods may be
// called concurrently. Where it is not configured they fail with
// [ErrNoSignals].
type Signals interface {
	// Transmitter describes it (SSF 1.0, section 7.1).
	Transmitter(ctx context.Context) (SignalTransmitter, error)
	// Keys lists the keys that receivers are to know.
	Keys(ctx context.Context) ([]SigningKey, error)
	// RotateKey makes a new one and returns it. A [FaultError] of kind
	// [FaultConflict] says that one waits to take over already.
	RotateKey(ctx context.Context, immediate bool) (SigningKey, error)
	// Poll notes what a receiver answers and returns what it has not answered
	// yet, waiting for it at most until the channel is closed.
	// [ErrNoStream] says that no such subscription is polled.
	Poll(ctx context.Context, subscription string, ask SignalPoll, until <-chan struct{}) (SignalBatch, error)
	// Verify sends a verification event down a stream. [ErrNoStream] as above,
	// for one that is pushed as well; [ErrNotTaken] says that its receiver did
	// not take it.
	Verify(ctx context.Context, subscription, state string) error
}

// The errors of [Signals].
var (
	ErrNoSignals = errors.New("no security event tokens are sent by this service")
	ErrNoStream  = errors.New("no subscription of this name has security event tokens delivered so")
	ErrNotTaken  = errors.New("the receiver did not take it")
)

// SignalTransmitter is the transmitter's configuration metadata.
type SignalTransmitter struct {
	SpecVersion     string         `json:"spec_version" example:"1_0"`
	Issuer          string         `json:"issuer" doc:"Of the tokens" example:"https://refreshd.example"`
	JWKSURI         string         `json:"jwks_uri" doc:"Where the public keys are"`
	Methods         []string       `json:"delivery_methods_supported" nullable:"false" doc:"RFC 8935 and RFC 8936"`
	VerificationURI string         `json:"verification_endpoint" doc:"Where a receiver asks for a verification event"`
	Schemes         []SignalScheme `json:"authorization_schemes" nullable:"false" doc:"How a receiver proves who it is: with an API key as a bearer token"`
	DefaultSubjects string         `json:"default_subjects" enum:"ALL" doc:"Every subject is in a stream"`
}

// SignalScheme names a way of authorization.
type SignalScheme struct {
	URN string `json:"spec_urn" example:"urn:ietf:rfc:6750"`
}

// SigningKey is one public key for ES256.
type SigningKey struct {
	ID   string
	X, Y string            // base64url
	From credential.Millis // it signs from this moment, until a later one does
	// Until is the end of its publication; 0 is for now without end.
	Until credential.Millis
}

// SignalPoll is what a receiver that polls says and wants.
type SignalPoll struct {
	Max    *int // 0 is to acknowledge only; nil leaves it to the service
	AtOnce bool
	Ack    []string
	Errors map[string]string // code by the token's ID
}

// SignalBatch is what it gets.
type SignalBatch struct {
	Sets map[string]string
	More bool
}

func (a *API) signalRoutes() {
	define(a, route{
		method: http.MethodGet, path: "/.well-known/ssf-configuration", id: "get-signal-transmitter", tag: tagSignals, public: true,
		summary: "Describe the transmitter of security event tokens", description: "As OpenID Shared Signals Framework 1.0, section 7, has it. Needs no key; may be kept for 15 minutes.",
		problems: []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}, func(ctx context.Context, _ *struct{}) (*transmitterOut, error) {
		told, err := a.signals.Transmitter(ctx)
		return &transmitterOut{CacheControl: signalsFresh, Body: told}, signalFault(err)
	})
	define(a, route{
		method: http.MethodGet, path: "/.well-known/jwks.json", id: "get-signal-keys", tag: tagSignals, public: true,
		summary: "The public keys of security event tokens", description: "A JSON Web Key Set (RFC 7517). Needs no key; may be kept for 15 minutes.",
		problems: []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}, a.publicKeys)
	define(a, route{
		method: http.MethodPost, path: "/v1/subscriptions/{name}/poll", id: "poll-signals", tag: tagSignals, needs: []Scope{ScopeEventRead},
		summary: "Fetch security event tokens",
		description: "As RFC 8936 has it. A token comes again until it is acknowledged, or reported in setErrs: then it does not come again. " +
			"Of each credential one token is offered at a time, so that they are taken in order. Waits half a minute for the first, unless returnImmediately. " +
			"A key that is limited to a prefix or a subject may not.",
		bodyLimit: 1 << 20, problems: []int{http.StatusNotFound},
	}, a.pollSignals)
	define(a, route{
		method: http.MethodPost, path: signalsPath + "/verify", id: "verify-signals", tag: tagSignals, needs: []Scope{ScopeEventRead},
		summary: "Ask for a verification event",
		description: "As OpenID Shared Signals Framework 1.0, section 8.1.4, has it: by the receiver of a stream, which is named like its subscription. " +
			"It is pushed at once, or offered with the next poll. A key that is limited to a prefix or a subject may not.",
		success: http.StatusNoContent, problems: []int{http.StatusNotFound, http.StatusBadGateway},
	}, a.verifySignals)
	define(a, route{
		method: http.MethodPost, path: signalsPath + "/keys", id: "rotate-signal-key", tag: tagSignals, needs: []Scope{ScopeAdmin},
		summary: "Rotate the signing key",
		description: "The new key is published at once and signs in an hour; the one of before is published for a day beyond. " +
			"With immediate it signs within half a minute everywhere, and the others are withdrawn: for a key that others have got hold of.",
		bodyOptional: true, success: http.StatusCreated, problems: []int{http.StatusNotFound, http.StatusConflict},
	}, a.rotateSignalKey)
	define(a, route{
		method: http.MethodGet, path: signalsPath + "/keys", id: "list-signal-keys", tag: tagSignals, needs: []Scope{ScopeAdmin},
		summary: "List the signing keys", description: "Those that are published, and when each signs.", problems: []int{http.StatusNotFound},
	}, a.listSignalKeys)
}

type transmitterOut struct {
	CacheControl string `header:"Cache-Control"`
	Body         SignalTransmitter
}

// JSONWebKey is a public key (RFC 7517).
type JSONWebKey struct {
	Type      string `json:"kty" enum:"EC"`
	Curve     string `json:"crv" enum:"P-256"`
	X         string `json:"x"`
	Y         string `json:"y"`
	ID        string `json:"kid" doc:"Its thumbprint (RFC 7638)"`
	Use       string `json:"use" enum:"sig"`
	Algorithm string `json:"alg" enum:"ES256"`
}

type publicKeysOut struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Keys []JSONWebKey `json:"keys" nullable:"false"`
	} `nameHint:"JSONWebKeySet"`
}

func (a *API) publicKeys(ctx context.Context, _ *struct{}) (*publicKeysOut, error) {
	keys, err := a.signals.Keys(ctx)
	if err != nil {
		return nil, signalFault(err)
	}
	out := &publicKeysOut{CacheControl: signalsFresh}
	out.Body.Keys = make([]JSONWebKey, len(keys))
	for i, key := range keys {
		out.Body.Keys[i] = JSONWebKey{Type: "EC", Curve: "P-256", X: key.X, Y: key.Y, ID: key.ID, Use: "sig", Algorithm: "ES256"}
	}
	return out, nil
}

type pollIn struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9-]{0,31}$" doc:"Of the subscription" example:"signals"`
	Body struct {
		MaxEvents         *int                 `json:"maxEvents,omitempty" minimum:"0" doc:"Tokens at most; 0 is to acknowledge only. 100 unless given, 1000 at most"`
		ReturnImmediately bool                 `json:"returnImmediately,omitempty" doc:"Not to wait where there are none"`
		Ack               []string             `json:"ack,omitempty" nullable:"false" maxItems:"1000" doc:"jti of tokens that were taken"`
		SetErrs           map[string]pollError `json:"setErrs,omitempty" nullable:"false" doc:"Errors of tokens that were not, by their jti"`
	} `nameHint:"SignalPoll"`
}

type pollError struct {
	Err         string `json:"err" maxLength:"256" doc:"Code" example:"invalid_key"`
	Description string `json:"description,omitempty" doc:"For people; not kept"`
}

type pollOut struct {
	Body struct {
		Sets map[string]string `json:"sets" nullable:"false" doc:"Security event tokens by their jti"`
		More bool              `json:"moreAvailable,omitempty" doc:"There are others"`
	} `nameHint:"SignalBatch"`
}

func (a *API) pollSignals(ctx context.Context, in *pollIn) (*pollOut, error) {
	if p := unbound(ctx); p != nil {
		return nil, p
	}
	leave, p := a.takePlace()
	if p != nil {
		return nil, p
	}
	defer leave()
	ask := SignalPoll{Max: in.Body.MaxEvents, AtOnce: in.Body.ReturnImmediately, Ack: in.Body.Ack, Errors: make(map[string]string, len(in.Body.SetErrs))}
	for id, told := range in.Body.SetErrs {
		ask.Errors[id] = told.Err
	}
	batch, err := a.signals.Poll(ctx, in.Name, ask, a.stop)
	if err != nil {
		return nil, signalFault(err)
	}
	out := &pollOut{}
	out.Body.Sets, out.Body.More = batch.Sets, batch.More
	return out, nil
}

type verifySignalsIn struct {
	Body struct {
		StreamID string `json:"stream_id" pattern:"^[a-z0-9][a-z0-9-]{0,31}$" doc:"Name of the subscription"`
		State    string `json:"state,omitempty" maxLength:"1024" doc:"Comes back in the event, to tell it from others"`
	} `nameHint:"SignalVerification"`
}

func (a *API) verifySignals(ctx context.Context, in *verifySignalsIn) (*struct{}, error) {
	if p := unbound(ctx); p != nil {
		return nil, p
	}
	return nil, signalFault(a.signals.Verify(ctx, in.Body.StreamID, in.Body.State))
}

// SigningKeyInfo tells of one signing key when it signs.
type SigningKeyInfo struct {
	ID    string     `json:"id" doc:"As in the set of public keys"`
	From  *time.Time `json:"from" doc:"It signs from then on, until a later one does"`
	Until *time.Time `json:"until,omitempty" doc:"It is published until then"`
}

type signalKeyOut struct {
	Body SigningKeyInfo
}

type rotateSignalKeyIn struct {
	Body *SignalKeyRotation `required:"false"`
}

// SignalKeyRotation says how the signing key is rotated.
type SignalKeyRotation struct {
	Immediate bool `json:"immediate,omitempty" doc:"Withdraw the others at once"`
}

func (a *API) rotateSignalKey(ctx context.Context, in *rotateSignalKeyIn) (*signalKeyOut, error) {
	key, err := a.signals.RotateKey(ctx, in.Body != nil && in.Body.Immediate)
	if err != nil {
		return nil, signalFault(err)
	}
	return &signalKeyOut{Body: signingKeyInfo(key)}, nil
}

type signalKeysOut struct {
	Body struct {
		Keys []SigningKeyInfo `json:"keys" nullable:"false"`
	} `nameHint:"SigningKeyList"`
}

func (a *API) listSignalKeys(ctx context.Context, _ *struct{}) (*signalKeysOut, error) {
	keys, err := a.signals.Keys(ctx)
	if err != nil {
		return nil, signalFault(err)
	}
	out := &signalKeysOut{}
	out.Body.Keys = make([]SigningKeyInfo, len(keys))
	for i, key := range keys {
		out.Body.Keys[i] = signingKeyInfo(key)
	}
	return out, nil
}

func signingKeyInfo(key SigningKey) SigningKeyInfo {
	return SigningKeyInfo{ID: key.ID, From: moment(key.From), Until: moment(key.Until)}
}

// unbound refuses a key that is limited: a stream is about every credential.
func unbound(ctx context.Context) *Problem {
	if key := holder(ctx); key == nil || key.limited() {
		return forbidden("a stream of security event tokens is about every credential, and this key is limited to some")
	}
	return nil
}

// signalFault tells callers what they may know.
func signalFault(err error) error {
	switch {
	case errors.Is(err, ErrNoSignals):
		return problem(http.StatusNotFound, codeNoSignals, ErrNoSignals.Error()+"; set ssf.issuer in config.yaml")
	case errors.Is(err, ErrNoStream):
		return problem(http.StatusNotFound, codeNoStream, ErrNoStream.Error())
	case errors.Is(err, ErrNotTaken):
		return problem(http.StatusBadGateway, codeNotTaken, err.Error())
	}
	return err
}
