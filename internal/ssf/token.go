package ssf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/refreshd/refreshd/internal/credential"
)

// tokenType is the typ of a Security Event Token's header (RFC 8417, section
// 2.3).
const tokenType = "secevent+jwt" //nolint:gosec // a name, not a credential

// ErrNoSecurityEvent says that an event has no counterpart among the security
// events.
var ErrNoSecurityEvent = errors.New("this event is no security event")

// Options are what a [Transmitter] is made of.
type Options struct {
	Issuer func() string // of the tokens: an https URL
	// IssuerOf names the issuer of a provider's users, "" where it is not
	// known.
	IssuerOf func(provider string) string
	Ring     *Ring
	// Now is the wall clock: what a receiver holds against its own.
	Now func() time.Time
}

// Transmitter signs Security Event Tokens. It is used by many goroutines.
type Transmitter struct{ opts Options }

// New returns a transmitter.
func New(opts Options) *Transmitter { return &Transmitter{opts: opts} }

// Stream is one receiver's stream of tokens.
type Stream struct {
	Name     string // of the subscription
	Audience string
}

// claims are those of a Security Event Token (RFC 8417, section 2.2). SSF 1.0
// forbids sub and exp (sections 4.1.2 and 4.1.3): none can be taken for an
// access token or an ID token.
type claims struct {
	Issuer   string             `json:"iss"`
	ID       string             `json:"jti"`
	IssuedAt int64              `json:"iat"`
	Audience string             `json:"aud"`
	Subject  subject            `json:"sub_id"`
	At       int64              `json:"toe,omitempty"` // of the event
	Events   map[string]payload `json:"events"`
}

// subject is a subject identifier (RFC 9493) in the format iss_sub or opaque.
type subject struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss,omitempty"`
	Subject string `json:"sub,omitempty"`
	ID      string `json:"id,omitempty"`
}

// Token returns the signed token of an event, in the compact form. Its jti is
// the event's ID, however often it is made. The error is
// [ErrNoSecurityEvent] for an event that is none.
func (t *Transmitter) Token(ctx context.Context, entry credential.LogEntry, stream Stream) (string, error) {
	uri := uriOf(entry.Event.Type)
	if uri == "" {
		return "", fmt.Errorf("%w: %s", ErrNoSecurityEvent, entry.Event.Type)
	}
	about := t.subjectOf(entry.Event)
	if uri == uriVerification {
		about = subject{Format: "opaque", ID: stream.Name}
	}
	return t.sign(ctx, claims{
		ID: entry.Event.EventID(), Audience: stream.Audience, Subject: about, At: seconds(entry.At),
		Events: map[string]payload{uri: payloadOf(entry)},
	})
}

// Verification returns the token of a verification event, by which a receiver
// sees that its stream works (SSF 1.0, section 8.1.4.1). state is what the
// receiver gave, or empty.
func (t *Transmitter) Verification(ctx context.Context, stream Stream, id, state string) (string, error) {
	return t.sign(ctx, claims{
		ID: id, Audience: stream.Audience, Subject: subject{Format: "opaque", ID: stream.Name},
		Events: map[string]payload{uriVerification: {State: state}},
	})
}

// subjectOf names the user as their issuer does, where both are known, else
// the credential.
func (t *Transmitter) subjectOf(e credential.Event) subject {
	if issuer := t.opts.IssuerOf(e.Provider); issuer != "" && e.Subject != "" {
		return subject{Format: "iss_sub", Issuer: issuer, Subject: e.Subject}
	}
	return subject{Format: "opaque", ID: string(e.ID)}
}

func (t *Transmitter) sign(ctx context.Context, c claims) (string, error) {
	c.Issuer, c.IssuedAt = t.opts.Issuer(), t.opts.Now().Unix()
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode a security event token: %w", err)
	}
	key, err := t.opts.Ring.signer(ctx)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key.private, KeyID: key.ID}},
		(&jose.SignerOptions{}).WithType(tokenType),
	)
	if err != nil {
		return "", fmt.Errorf("sign a security event token: %w", err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		return "", fmt.Errorf("sign a security event token: %w", err)
	}
	return signed.CompactSerialize()
}
