package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	// defaultTolerance is what Standard Webhooks recommends.
	defaultTolerance = 5 * time.Minute
	// defaultMaxBody is well over the 20 kB that Standard Webhooks recommends.
	defaultMaxBody = 64 << 10
	// webhookMemory is how many credentials the handler knows the order of.
	webhookMemory = 10_000

	secretPrefix  = "whsec_"
	secretLeast   = 24 // bytes, as Standard Webhooks says
	secretMost    = 64
	mostSecrets   = 8
	eventsMedia   = "application/cloudevents+json"
	maxSignatures = 4 << 10 // bytes of the header
)

var (
	// ErrGone is returned by a webhook's function, wrapped or not, to say that
	// this endpoint wants no more events: refreshd is answered 410 and disables
	// the subscription.
	ErrGone = errors.New("client: this endpoint wants no more events")
	// ErrBadSignature says that a delivery was not signed with any of the
	// secrets. It reaches [WebhookOptions.Refused].
	ErrBadSignature = errors.New("client: the delivery is not signed with a secret of this endpoint")
	// ErrBadAge says that a delivery was signed too long ago, or in the future.
	// It reaches [WebhookOptions.Refused].
	ErrBadAge = errors.New("client: the delivery was signed too long ago, or ahead of this machine's clock")
)

// WebhookOptions change how a [WebhookHandler] works. The zero value is good
// for one process that may handle an event again after it was restarted.
type WebhookOptions struct {
	// Tolerance is how far a delivery's time may be from now: 5 minutes unless
	// set. What is older may be a recording that somebody plays back.
	Tolerance time.Duration
	// MaxBody bounds a delivery in bytes: 64 KiB unless set.
	MaxBody int64
	// Order remembers how far each credential has come. Unless set, memory
	// does, for the 10,000 credentials that were heard of last.
	Order OrderStore
	// Refused is told of a delivery that the function never saw, and why: a
	// wrong signature, an age, a body that cannot be read, a failing Order. It
	// must not block. Unless set nobody is told.
	Refused func(r *http.Request, err error)
}

// An OrderStore remembers the version of the last event of each credential
// that was handled. One that is kept in a database with what the events change
// keeps its word through restarts and among several processes. It is called
// concurrently, though never for one key at the same time by one process.
type OrderStore interface {
	// Handled returns the version that was set for the key last, 0 if none
	// was. A key is a text of up to 256 bytes.
	Handled(ctx context.Context, key string) (version uint64, err error)
	// SetHandled remembers that the event of that version was handled.
	SetHandled(ctx context.Context, key string, version uint64) error
}

// A WebhookHandler receives the deliveries of a subscription. Make one with
// [NewWebhookHandler]. It may be used concurrently.
//
// A delivery is answered
//   - 204 when the function has returned nil, and without calling it for an
//     event of a credential that is not newer than the last one handled: it
//     came again, or late;
//   - 500 when the function has returned an error: refreshd delivers it again,
//     before any later event of the same credential;
//   - 503 with Retry-After when that error is an [*UnavailableError], such as
//     one of this package;
//   - 410 when that error is [ErrGone];
//   - 401, 413, 415 or 400 when it is not an event that refreshd has signed.
type WebhookHandler struct {
	handle  func(context.Context, Event) error
	signers []*standardwebhooks.Webhook
	opts    WebhookOptions
	turns   turns
}

// NewWebhookHandler returns a handler that checks what arrives by Standard
// Webhooks and calls handle with each event.
//
// Secrets are those of the subscription, "whsec_" and base64 of 24 to 64
// bytes. More than one are for the time in which they are changed: first here,
// then in refreshd, then the old one goes.
//
// For one credential handle is called in the order of its versions, and never
// twice at the same time; for different ones concurrently. It may be called
// again for an event that it had handled, when the answer was lost. refreshd
// waits 20 seconds for an answer: what takes longer belongs behind it. To have
// a replay handled, forget what Order remembers first.
//
// The error says which secret is malformed, by its place.
func NewWebhookHandler(secrets []string, handle func(context.Context, Event) error, opts WebhookOptions) (*WebhookHandler, error) {
	if handle == nil {
		return nil, errors.New("client: a webhook handler needs a function to call")
	}
	if len(secrets) == 0 || len(secrets) > mostSecrets {
		return nil, fmt.Errorf("client: a webhook handler takes 1 to %d secrets, not %d", mostSecrets, len(secrets))
	}
	if opts.Tolerance < 0 || opts.MaxBody < 0 {
		return nil, errors.New("client: a webhook's Tolerance and MaxBody cannot be negative")
	}
	if opts.Tolerance == 0 {
		opts.Tolerance = defaultTolerance
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = defaultMaxBody
	}
	if opts.Order == nil {
		opts.Order = newMemoryOrder(webhookMemory)
	}
	h := &WebhookHandler{handle: handle, opts: opts, turns: turns{held: map[string]*turn{}}}
	for i, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
		if err != nil || len(key) < secretLeast || len(key) > secretMost {
			return nil, fmt.Errorf("client: webhook secret %d must be %q and base64 of %d to %d bytes", i+1, secretPrefix, secretLeast, secretMost)
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("client: webhook secret %d cannot be used", i+1)
		}
		h.signers = append(h.signers, signer)
	}
	return h, nil
}

// ServeHTTP receives one delivery.
func (h *WebhookHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "only POST", http.StatusMethodNotAllowed)
		return
	}
	event, status, err := h.read(w, r)
	if err != nil {
		h.refused(r, err)
		http.Error(w, http.StatusText(status), status)
		return
	}
	switch err := h.take(r, event); {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, ErrGone):
		http.Error(w, "no more events are wanted here", http.StatusGone)
	default:
		status := http.StatusInternalServerError
		if away, ok := errors.AsType[*UnavailableError](err); ok {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", strconv.Itoa(max(int(math.Ceil(away.RetryAfter.Seconds())), 1)))
		}
		http.Error(w, "not handled", status)
	}
}

func (h *WebhookHandler) refused(r *http.Request, err error) {
	if h.opts.Refused != nil {
		h.opts.Refused(r, err)
	}
}

// read returns the event of a delivery, or the status to refuse it with.
func (h *WebhookHandler) read(w http.ResponseWriter, r *http.Request) (Event, int, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || (kind != eventsMedia && kind != jsonType) {
		return Event{}, http.StatusUnsupportedMediaType, errors.New("client: the delivery's Content-Type is no CloudEvent's")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.opts.MaxBody))
	if err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		return Event{}, status, fmt.Errorf("client: the delivery cannot be read: %w", err)
	}
	if err := h.verify(body, r.Header, time.Now()); err != nil {
		return Event{}, http.StatusUnauthorized, err
	}
	var event Event
	if err := json.Unmarshal(body, &event); err != nil {
		return Event{}, http.StatusBadRequest, fmt.Errorf("client: the delivery is signed and %w", err)
	}
	return event, 0, nil
}

// verify checks a delivery as of now. Its age is judged only once the signature
// has shown that the time is the sender's.
func (h *WebhookHandler) verify(body []byte, header http.Header, now time.Time) error {
	if len(header.Get(standardwebhooks.HeaderWebhookSignature)) > maxSignatures {
		return ErrBadSignature
	}
	good := false
	for _, signer := range h.signers {
		if signer.VerifyIgnoringTimestamp(body, header) == nil {
			good = true
			break
		}
	}
	if !good {
		return ErrBadSignature
	}
	seconds, err := strconv.ParseInt(header.Get(standardwebhooks.HeaderWebhookTimestamp), 10, 64)
	if err != nil {
		return ErrBadAge
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > h.opts.Tolerance || age < -h.opts.Tolerance {
		return ErrBadAge
	}
	return nil
}

// take has an event handled, unless it came again or late.
func (h *WebhookHandler) take(r *http.Request, e Event) error {
	ctx := r.Context()
	if e.Version == 0 {
		return h.handle(ctx, e)
	}
	key := orderKey(e)
	done, err := h.turns.wait(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	last, err := h.opts.Order.Handled(ctx, key)
	if err != nil {
		err = fmt.Errorf("client: what was handled cannot be looked up: %w", err)
		h.refused(r, err)
		return err
	}
	if e.Version <= last {
		return nil
	}
	if err := h.handle(ctx, e); err != nil {
		return err
	}
	// It was handled, whoever has hung up meanwhile.
	if err := h.opts.Order.SetHandled(context.WithoutCancel(ctx), key, e.Version); err != nil {
		err = fmt.Errorf("client: what was handled cannot be remembered: %w", err)
		h.refused(r, err)
		return err
	}
	return nil
}

// orderKey names the count that an event's version belongs to. A log that was
// restored has another source and may count again.
func orderKey(e Event) string { return e.Source + " " + e.Credential }
