package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	eventsPath = "/v1/events"
	// streamPage is how many events a stream looks at between two writes.
	streamPage = 64
	// pageBytes bounds the events of a page, which is held for as long as its
	// reader takes to read it; limit is about how many are looked at.
	pageBytes = 128 << 10
	// maxWait bounds a long poll.
	maxWait = 60 * time.Second
	sseType = "text/event-stream"
)

func (a *API) eventRoutes() {
	page := a.answer("The event stream, or a page of it", EventPage{})
	page.Content[sseType] = &huma.MediaType{Schema: &huma.Schema{
		Type: huma.TypeString,
		Description: "Server-Sent Events. id is the cursor to read on behind the event, event its type, data a CloudEvent in one line. " +
			"Comments and blocks with an id alone are signs of life. Reconnect with Last-Event-ID, as browsers do.",
	}}
	define(a, route{
		method: http.MethodGet, path: eventsPath, id: "read-events", tag: tagEvents, needs: []Scope{ScopeEventRead}, tickets: true,
		summary: "Follow the events",
		description: "As Server-Sent Events, without end; with Accept: application/json as pages. " +
			"Delivery is at least once, and in order for each credential. " +
			"Without a cursor it begins now, with 0 at the start of the log. " +
			"Where events behind the cursor are gone, the first event is stream.reset, whatever types were asked for. " +
			"With a ticket in place of a key it is a stream, of what the ticket lets see; 401 to a ticket that was used, which ends an EventSource: it reconnects with the same URL.",
		responses: map[string]*huma.Response{"200": page},
	}, a.readEvents)
}

type eventsIn struct {
	Ticket      string   `query:"ticket" maxLength:"64" doc:"A ticket in place of a key, good for one request. It has a filter of its own; cursor and Last-Event-ID go with it"`
	Accept      string   `header:"Accept" hidden:"true"`
	LastEventID string   `header:"Last-Event-ID" doc:"Cursor of the last event that was seen; wins over cursor"`
	Cursor      string   `query:"cursor" maxLength:"8192" doc:"Cursor of the last event that was seen; 0 is the start of the log"`
	Type        []string `query:"type,explode" nullable:"false" doc:"Only events whose type matches the glob. Repeat it for more" example:"credential.*"`
	Provider    string   `query:"provider" maxLength:"128" doc:"Only of that provider"`
	Prefix      string   `query:"prefix" maxLength:"128" doc:"Only of credentials whose IDs start so"`
	Label       []string `query:"label,explode" nullable:"false" doc:"name=value; only of credentials with that label. Repeat it for more"`
	Limit       int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Of a page: how many events are looked at, about"`
	Wait        string   `query:"wait" maxLength:"32" doc:"Of a page: how long to wait for the first event, up to 60s" example:"30s"`
}

type eventsOut struct {
	Body func(huma.Context)
}

func (a *API) readEvents(ctx context.Context, in *eventsIn) (*eventsOut, error) {
	cursor, p := in.cursor()
	if p != nil {
		return nil, p
	}
	if err := a.events.Check(cursor); err != nil {
		return nil, locate(err, FaultBadCursor, in.cursorLocation())
	}
	wait, p := parseSpan("query.wait", in.Wait, maxWait)
	if p != nil {
		return nil, p
	}
	if in.Ticket != "" {
		if p = in.besideTicket(); p == nil {
			p = a.full()
		}
		if p != nil {
			return nil, p
		}
	}
	if ctx, p = a.redeem(ctx); p != nil {
		return nil, p
	}
	want, p := in.want(holder(ctx), redeemed(ctx))
	if p != nil {
		return nil, p
	}
	return &eventsOut{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if err := a.serveEvents(ctx, w, r, in, want, cursor, wait); err != nil {
			a.explain(ctx, err, "read-events").write(w)
		}
	}}, nil
}

// serveEvents answers with a stream or a page. An error means that nothing was
// written.
func (a *API) serveEvents(ctx context.Context, w http.ResponseWriter, r *http.Request, in *eventsIn, want EventFilter, cursor string, wait time.Duration) error {
	if r.Method == http.MethodHead {
		return nil // there is nothing to follow
	}
	leave, p := a.takePlace()
	if p != nil {
		return p
	}
	defer leave()
	reader, err := a.events.Open(ctx, cursor, want)
	if err != nil {
		return locate(locate(err, FaultBadCursor, in.cursorLocation()), FaultBadFilter, "query.type")
	}
	if in.Ticket != "" || !wantsPage(in.Accept) {
		return a.stream(ctx, w, r, reader)
	}
	page, err := a.page(ctx, reader, in.Limit, wait)
	if err != nil {
		return err
	}
	data, err := json.Marshal(page)
	if err != nil {
		return fmt.Errorf("encode a page of events: %w", err)
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(append(data, '\n')) // whoever asked may be gone
	return nil
}

// cursor is where a request begins to read.
func (in *eventsIn) cursor() (string, *Problem) {
	if in.LastEventID == "" {
		return in.Cursor, nil
	}
	if !plain(in.LastEventID) || len(in.LastEventID) > maxCursor {
		return "", invalid("header.Last-Event-ID", "is not a cursor of this event stream")
	}
	return in.LastEventID, nil
}

// want reads the filter of a request.
func (in *eventsIn) want(key *Key, ticket *Ticket) (EventFilter, *Problem) {
	if ticket != nil {
		return ticket.within(key)
	}
	labels, p := parseLabels(in.Label)
	if p != nil {
		return EventFilter{}, p
	}
	prefix, p := narrowed(key, "query.prefix", in.Prefix)
	if p != nil {
		return EventFilter{}, p
	}
	if len(in.Type) > maxTypes {
		return EventFilter{}, invalid("query.type", "is given too often")
	}
	return EventFilter{Types: in.Type, Provider: in.Provider, Prefix: prefix, Subject: key.Subject, Labels: labels}, nil
}

// maxTypes bounds how many globs over event types a filter has.
const maxTypes = 32

// maxCursor bounds the text of a cursor in bytes.
const maxCursor = 8192

func (in *eventsIn) cursorLocation() string {
	if in.LastEventID != "" {
		return "header.Last-Event-ID"
	}
	return "query.cursor"
}

// wantsPage reports whether JSON is asked for rather than a stream.
func wantsPage(accept string) bool {
	return strings.Contains(accept, jsonType) && !strings.Contains(accept, sseType)
}

// full refuses a stream while none can be opened; it takes no place.
func (a *API) full() *Problem {
	if a.stopping() {
		return problem(http.StatusServiceUnavailable, string(FaultUnavailable), "the service is stopping").again(time.Second)
	}
	if len(a.places) == cap(a.places) {
		return noPlace()
	}
	return nil
}

func noPlace() *Problem {
	return problem(http.StatusServiceUnavailable, codeTooMany, "every place for an event stream is taken").again(10 * time.Second)
}

// takePlace takes one of the places for streams.
func (a *API) takePlace() (leave func(), p *Problem) {
	if p := a.full(); p != nil {
		return nil, p
	}
	select {
	case a.places <- struct{}{}:
		a.metrics.streams.Inc()
		return func() { a.metrics.streams.Dec(); <-a.places }, nil
	default:
		return nil, noPlace()
	}
}

// eventPage is an [EventPage] whose events are encoded already.
type eventPage struct {
	Events []pageEvent `json:"events"`
	Cursor string      `json:"cursor"`
}

type pageEvent struct {
	Cursor string          `json:"cursor"`
	Event  json.RawMessage `json:"event"`
}

func (p *eventPage) add(events ...StreamedEvent) {
	for _, e := range events {
		p.Events = append(p.Events, pageEvent{Cursor: e.Cursor, Event: e.JSON})
	}
}

// page reads one page. With wait it goes on until something was found or the
// time is over.
func (a *API) page(ctx context.Context, reader EventReader, limit int, wait time.Duration) (*eventPage, error) {
	page := &eventPage{Events: []pageEvent{}}
	if reader.Reset() {
		reset, err := a.resetEvent(reader.Cursor())
		if err != nil {
			return nil, err
		}
		page.add(reset)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for over := wait == 0; ; {
		changed := a.events.Changed()
		events, atEnd, err := reader.Read(ctx, limit, pageBytes)
		if errors.Is(err, ErrLogReplaced) { // whoever goes on from this cursor gets a reset
			page.Cursor = reader.Cursor()
			return page, nil
		}
		if err != nil {
			return nil, err
		}
		page.add(events...)
		page.Cursor = reader.Cursor()
		if over || len(page.Events) > 0 {
			return page, nil
		}
		if !atEnd {
			continue // there is more, and nothing of this was wanted
		}
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-a.stop:
			over = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
