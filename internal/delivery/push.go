package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// PushOptions are what a [Push] is made of.
type PushOptions struct {
	URL    string
	Bearer credential.Secret // sent as a bearer token (RFC 6750); empty is none
	// Token makes the signed Security Event Token of an event. It is called
	// for every delivery of it.
	Token     func(ctx context.Context, entry credential.LogEntry) (string, error)
	Client    *http.Client // as of [WebhookOptions]
	UserAgent string
	Now       func() time.Time // the wall clock, which a date in Retry-After is held against
}

// Push is a [Carrier] that posts Security Event Tokens to a receiver (RFC
// 8935).
type Push struct{ opts PushOptions }

// NewPush returns the carrier for a receiver.
func NewPush(opts PushOptions) *Push { return &Push{opts: opts} }

// Carry posts the token of one event.
func (p *Push) Carry(ctx context.Context, entry credential.LogEntry) Outcome {
	token, err := p.opts.Token(ctx, entry)
	if err != nil {
		return Outcome{Result: Invalid, Err: err}
	}
	return p.Send(ctx, token)
}

// Send posts one token, out of any order. A receiver takes it with 202 and
// nothing else (RFC 8935, section 2.2): whatever else is at the address, a login
// page for one, answers 200. One that refuses it says why with 400 (section
// 2.3). None of these reasons ends the deliveries at once: an issuer, an
// audience, a key or an authentication that does not fit is mended by people,
// on either side, and the schedule gives them the time. The outcome's error
// names the reason if it is a registered one, and holds nothing else that the
// receiver has said.
func (p *Push) Send(ctx context.Context, token string) Outcome {
	ctx, cancel := context.WithTimeoutCause(ctx, deliveryTimeout, errors.New("the receiver took longer than "+deliveryTimeout.String()))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.opts.URL, strings.NewReader(token))
	if err != nil {
		return Outcome{Result: Invalid, Err: errors.New("the subscription's url is malformed")}
	}
	req.Header.Set("Content-Type", "application/secevent+jwt")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", p.opts.UserAgent)
	if !p.opts.Bearer.IsZero() {
		req.Header.Set("Authorization", "Bearer "+p.opts.Bearer.Reveal())
	}
	if err := failpoint.Hit(failpoint.DeliveryPost); err != nil {
		return Outcome{Result: Unreachable, Err: bare(ctx, err)}
	}
	resp, err := p.opts.Client.Do(req)
	if err != nil {
		return Outcome{Result: Unreachable, Err: bare(ctx, err)}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxReply)) // as much as there is: the status has the say
	if resp.StatusCode == http.StatusAccepted {
		return Outcome{Result: Delivered, Status: resp.StatusCode}
	}
	return Outcome{
		Result: Refused, Status: resp.StatusCode, Err: refusal(resp.StatusCode, answer),
		Gone:       resp.StatusCode == http.StatusGone,
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), p.opts.Now()),
	}
}

// refusal says why a receiver did not take a token.
func refusal(status int, answer []byte) error {
	switch {
	case status >= 200 && status < 300:
		return fmt.Errorf("the receiver answered %d, not 202 as one of security event tokens does", status)
	case status == http.StatusBadRequest:
		var told struct {
			Code string `json:"err"`
		}
		// The registered codes of RFC 8935, section 2.4, and SSF 1.0.
		known := []string{
			"invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed", "access_denied", "invalid_state",
		}
		if json.Unmarshal(answer, &told) == nil && slices.Contains(known, told.Code) {
			return fmt.Errorf("the receiver answered 400: %s", told.Code)
		}
	}
	return fmt.Errorf("the receiver answered %d", status)
}
