package event

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
	"github.com/refreshd/refreshd/internal/failpoint"
)

// posted is what came of one delivery.
type posted struct {
	outcome    string
	err        error
	gone       bool // 410: the receiver wants no more
	retryAfter time.Duration
}

// post sends one event. Its errors hold neither the address's query nor the
// answer's body.
func (w *Webhooks) post(ctx context.Context, to *receiver, entry credential.LogEntry) posted {
	event := Expand(entry, w.opts.Source, to.Filter)
	body, err := event.Encode()
	if err != nil {
		return posted{outcome: "invalid", err: err}
	}
	now := w.opts.Now()
	signature, err := to.signer.Sign(event.ID, now, body)
	if err != nil {
		return posted{outcome: "invalid", err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deliveryTimeout, errors.New("the receiver took longer than "+deliveryTimeout.String()))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return posted{outcome: "invalid", err: errors.New("the subscription's url is malformed")}
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", w.opts.UserAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, event.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	if err := failpoint.Hit(failpoint.DeliveryPost); err != nil {
		return posted{outcome: "unreachable", err: bare(ctx, err)}
	}
	resp, err := w.opts.Client.Do(req)
	if err != nil {
		return posted{outcome: "unreachable", err: bare(ctx, err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxReply)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return posted{outcome: "delivered"}
	}
	return posted{
		outcome: "refused", err: fmt.Errorf("the receiver answered %d", resp.StatusCode),
		gone:       resp.StatusCode == http.StatusGone,
		retryAfter: retryAfter(resp.Header.Get("Retry-After"), now),
	}
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
