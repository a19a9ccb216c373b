package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"time"
)

const (
	// FromNow is the place in the event log where the next event will stand.
	FromNow = ""
	// FromStart is the place before the oldest event that the log still has.
	FromStart = "0"

	// silence is how long a stream may say nothing. refreshd gives a sign of
	// life every 15 seconds.
	silence = time.Minute
	// watchMemory is how many credentials a watch knows the last version of.
	watchMemory = 4096

	streamType = "text/event-stream"
	eventsPath = "/v1/events"
)

var (
	errSilent   = errors.New("the event stream gave no sign of life")
	errNoStream = errors.New("the reply is no event stream: is this refreshd?")
)

// A Filter selects events. What is set must all hold; the zero Filter selects
// every event that the API key may see.
type Filter struct {
	Types    []string          // globs, such as "credential.*"; any may match
	Provider string            // its name
	Prefix   string            // what the credential's ID starts with
	Labels   map[string]string // all of these, with these values
}

func (f Filter) query() url.Values {
	q := url.Values{}
	for _, kind := range f.Types {
		q.Add("type", kind)
	}
	for name, value := range f.Labels {
		q.Add("label", name+"="+value)
	}
	if f.Provider != "" {
		q.Set("provider", f.Provider)
	}
	if f.Prefix != "" {
		q.Set("prefix", f.Prefix)
	}
	return q
}

// Watch follows the events that want selects, from behind the cursor that from
// holds: [Event.Cursor] of the last event that was handled, [FromNow],
// [FromStart], or what [Client.Cursor] returned. The key needs the scope
// event:read.
//
// It connects when it is ranged over, and does not end by itself. When the
// connection breaks, refreshd is away, or gives no sign of life for a minute,
// it connects again where it stopped, after a wait that grows to half a minute
// and is never shorter than refreshd asks for. Events that come a second time
// are dropped, as far as a memory of a few thousand credentials goes.
//
// Where events behind the cursor are gone, the next event is one of which
// [Event.IsReset] is true, whatever was selected. Those that follow are all
// that the log still has.
//
// It ends without an error when ctx does. With an error, which comes last, it
// ends where going on cannot help: [ErrUnauthorized], [ErrForbidden],
// [ErrInvalid] for a filter or a cursor that refreshd does not take,
// [ErrClosed], and an [Error] with an empty code where something other than
// refreshd answers from the beginning.
func (c *Client) Watch(ctx context.Context, want Filter, from string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watch{
			client: c, path: eventsPath + "?" + want.query().Encode(), cursor: from,
			seen: newLately[uint64](watchMemory), yield: yield,
		}
		if err := w.run(ctx); err != nil && !w.left {
			yield(Event{}, err)
		}
	}
}

// Cursor returns the present end of the event log. A program that first looks
// at something and then follows its changes takes the cursor before it looks,
// and gives it to [Client.Watch]: what happens in between is among the events.
func (c *Client) Cursor(ctx context.Context) (string, error) {
	var page struct {
		Cursor string `json:"cursor"`
	}
	if err := c.call(ctx, http.MethodGet, eventsPath+"?limit=1", nil, &page); err != nil {
		return "", err
	}
	if page.Cursor == "" {
		return "", &UnavailableError{Err: errors.New("the reply has no cursor: is this refreshd?")}
	}
	return page.Cursor, nil
}

// watch is one ranging over the events.
type watch struct {
	client *Client
	path   string // with the filter
	cursor string
	seen   *lately[uint64] // the last version by [orderKey]; 1 by the ID of an event without a version
	again  backoff
	yield  func(Event, error) bool

	reached bool // refreshd has answered with a stream before
	left    bool // yield has returned false
}

// run goes on until yield returns false or ctx is done, which is no error, or
// until an error lasts.
func (w *watch) run(ctx context.Context) error {
	if !headerSafe(w.cursor) {
		return &Error{
			Status: http.StatusUnprocessableEntity, Code: "bad_cursor",
			Detail: "the cursor has a byte outside of visible ASCII", Location: "header.Last-Event-ID",
		}
	}
	living, end := w.client.living(ctx)
	defer end()
	for {
		err := w.connection(living)
		switch {
		case w.left, ctx.Err() != nil:
			return nil
		case w.client.life.Err() != nil:
			return ErrClosed
		case lasting(err, w.reached):
			return err
		}
		if !w.again.pause(living, err) {
			if ctx.Err() != nil {
				return nil
			}
			return ErrClosed
		}
	}
}

// living returns a context that ends with ctx, and with the client.
func (c *Client) living(ctx context.Context) (living context.Context, end func()) {
	living, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(c.life, func() { cancel(ErrClosed) })
	return living, func() { forget(); cancel(nil) }
}

// connection follows the events of one connection. It returns nil only when
// yield has returned false.
func (w *watch) connection(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer quiet.Stop()

	req, err := w.client.request(ctx, http.MethodGet, w.path, nil)
	if err != nil {
		if w.reached && !errors.Is(err, ErrClosed) { // a key cannot be had for now
			return &UnavailableError{Err: err}
		}
		return err
	}
	req.Header.Set("Accept", streamType)
	req.Header.Set("Accept-Encoding", "identity") // what compresses also holds back
	req.Header.Set("Cache-Control", "no-store")
	if w.cursor != FromNow {
		req.Header.Set("Last-Event-ID", w.cursor)
	}
	res, err := w.client.send(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != streamType {
		return &Error{Status: res.StatusCode, Detail: errNoStream.Error()}
	}
	w.reached = true
	err = w.follow(newFrames(quietReader{res.Body, quiet}, w.cursor))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = &UnavailableError{Err: cause}
	}
	return err
}

// follow hands out the events of one connection.
func (w *watch) follow(in *frames) error {
	for {
		f, err := in.next()
		if in.retry > 0 {
			w.again.told = min(in.retry, maxRetryAfter)
		}
		switch {
		case errors.Is(err, errFrameTooLong):
			return fmt.Errorf("client: %w: is this refreshd?", err)
		case err != nil:
			return &UnavailableError{Err: err}
		}
		w.again.failures = 0 // it does serve
		if f.id != "" && headerSafe(f.id) {
			w.cursor = f.id
		}
		if f.data == "" {
			continue // the news of a cursor
		}
		event := Event{}
		if err := json.Unmarshal([]byte(f.data), &event); err != nil {
			return fmt.Errorf("client: the stream sent what cannot be read: %w", err)
		}
		event.Cursor = w.cursor
		if w.known(event) {
			continue
		}
		if !w.yield(event, nil) {
			w.left = true
			return nil
		}
	}
}

// known reports whether an event was handed out before, and remembers it.
func (w *watch) known(e Event) bool {
	key, version := orderKey(e), e.Version
	if version == 0 {
		key, version = e.Source+"\n"+e.ID, 1
	}
	if version <= w.seen.get(key) {
		return true
	}
	w.seen.set(key, version)
	return false
}

// quietReader stops the timer while nobody waits for the stream.
type quietReader struct {
	from  io.Reader
	quiet *time.Timer
}

func (q quietReader) Read(p []byte) (int, error) {
	q.quiet.Reset(silence)
	n, err := q.from.Read(p)
	q.quiet.Stop()
	return n, err
}
