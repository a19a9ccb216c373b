package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// deliveryTimeout bounds one delivery (Standard Webhooks recommends 15 to
	// 30 s).
	deliveryTimeout = 20 * time.Second
	// maxReply is how much of a receiver's answer is read, to keep its
	// connection usable.
	maxReply = 16 << 10
	// maxRetryAfter caps what a receiver may ask for.
	maxRetryAfter = 24 * time.Hour
)

// WebhookOptions are what a [Webhook] is made of.
type WebhookOptions struct {
	URL       string
	Secrets   []SigningSecret // that deliveries are signed with, the current one first
	Filter    event.Filter    // of the subscription: an event names its last one among those asked for
	Client    *http.Client    // dials only where deliveries may go, and follows no redirect; see [NewClient]
	Source    string          // of the events
	UserAgent string
	// Now is the wall clock, against which a receiver holds the signature's
	// time: what processes share may be the clock of a host that is off.
	Now func() time.Time
}

// SigningSecret is a secret that deliveries are signed with until a moment, by
// the wall clock; the zero moment is for good.
type SigningSecret struct {
	Secret credential.Secret // "whsec_" and base64 of 24 to 64 bytes
	Until  time.Time
}

// Webhook is a [Carrier] that posts events to an endpoint, with the signatures
// of Standard Webhooks.
type Webhook struct {
	opts    WebhookOptions
	signers []signer // the current secret's first
}

// signer signs with one secret.
type signer struct {
	*standardwebhooks.Webhook

	until time.Time
}

// NewWebhook returns the carrier for an endpoint.
func NewWebhook(opts WebhookOptions) (*Webhook, error) {
	w := &Webhook{opts: opts}
	for _, secret := range opts.Secrets {
		one, err := standardwebhooks.NewWebhook(secret.Secret.Reveal())
		if err != nil {
			return nil, errors.New("the secret must be \"whsec_\" and base64 of 24 to 64 bytes")
		}
		w.signers = append(w.signers, signer{one, secret.Until})
	}
	if len(w.signers) == 0 {
		return nil, errors.New("a webhook needs a secret to be signed with")
	}
	return w, nil
}

// Carry posts one event. The outcome's error holds neither the address's query
// nor the answer's body.
func (w *Webhook) Carry(ctx context.Context, entry credential.LogEntry) Outcome {
	return w.Send(ctx, event.Expand(entry, w.opts.Source, w.opts.Filter))
}

// Reset posts stream.reset.
func (w *Webhook) Reset(ctx context.Context, id string, at credential.Millis) Outcome {
	return w.Send(ctx, event.CloudEvent{
		SpecVersion: "1.0", ID: id, Source: w.opts.Source, Type: string(credential.EventStreamReset), Time: at.Time(),
	})
}

// Send posts an event that stands in no log, such as one that verifies the
// endpoint. What holds for the outcome of Carry holds for this one.
func (w *Webhook) Send(ctx context.Context, e event.CloudEvent) Outcome {
	body, err := e.Encode()
	if err != nil {
		return Outcome{Result: Invalid, Err: err}
	}
	now := w.opts.Now()
	signatures, err := w.sign(e.ID, now, body)
	if err != nil {
		return Outcome{Result: Invalid, Err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deliveryTimeout, errors.New("the receiver took longer than "+deliveryTimeout.String()))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.opts.URL, bytes.NewReader(body))
	if err != nil {
		return Outcome{Result: Invalid, Err: errors.New("the subscription's url is malformed")}
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", w.opts.UserAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, e.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signatures)
	if err := failpoint.Hit(failpoint.DeliveryPost); err != nil {
		return Outcome{Result: Unreachable, Err: bare(ctx, err)}
	}
	resp, err := w.opts.Client.Do(req)
	if err != nil {
		return Outcome{Result: Unreachable, Err: bare(ctx, err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxReply)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return Outcome{Result: Delivered, Status: resp.StatusCode}
	}
	return Outcome{
		Result: Refused, Status: resp.StatusCode, Err: fmt.Errorf("the receiver answered %d", resp.StatusCode),
		Gone:       resp.StatusCode == http.StatusGone,
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), now),
	}
}

// sign signs with every secret that has not ended, separated by spaces, as
// Standard Webhooks has it for the time of a rotation.
func (w *Webhook) sign(id string, now time.Time, body []byte) (string, error) {
	var signatures []string
	for i, one := range w.signers {
		if i > 0 && !one.until.IsZero() && !now.Before(one.until) {
			continue
		}
		signature, err := one.Sign(id, now, body)
		if err != nil {
			return "", err
		}
		signatures = append(signatures, signature)
	}
	return strings.Join(signatures, " "), nil
}

// bare strips an HTTP client's error of the address.
func bare(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		if !strings.Contains(inner.Error(), "://") {
			return inner
		}
	}
	return errors.New("the receiver could not be reached")
}

// retryAfter reads the header of RFC 9110 section 10.2.3, in either form.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return min(time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
