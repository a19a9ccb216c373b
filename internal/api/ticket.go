package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	ticketsPath = eventsPath + "/tickets"
	ticketStart = "rdt_" // tells tickets from keys
	ticketLife  = 60 * time.Second
	// ticketsMost is how many tickets one key makes within the life of one: far
	// more than streams can be open, and little enough for Redis to hold.
	ticketsMost = 6000
	// bodyLimitTicket bounds what is stored of one.
	bodyLimitTicket = 4 << 10
	maxGlob         = 64 // bytes
)

// TicketBody narrows what a ticket lets see.
type TicketBody struct {
	Types    []string          `json:"types,omitempty" maxItems:"32" nullable:"false" doc:"Only events whose type matches one of the globs" example:"[\"credential.*\"]"`
	Provider string            `json:"provider,omitempty" maxLength:"128" doc:"Only of that provider"`
	Prefix   string            `json:"prefix,omitempty" maxLength:"128" doc:"Only of credentials whose IDs start so"`
	Labels   map[string]string `json:"labels,omitempty" doc:"Only of credentials with these labels"`
}

// NewTicket is a ticket that was just made.
type NewTicket struct {
	Ticket    string    `json:"ticket" doc:"Goes into the URL: /v1/events?ticket=…" example:"rdt_…"`
	ExpiresAt time.Time `json:"expires_at" doc:"It is good for one request until then"`
	ExpiresIn int64     `json:"expires_in" doc:"Seconds until then" example:"60"`
	Cursor    string    `json:"cursor" doc:"Where the log ended when the ticket was made: a page that has not seen an event yet goes on from there"`
}

func (a *API) ticketRoutes() {
	define(a, route{
		method: http.MethodPost, path: ticketsPath, id: "create-event-ticket", tag: tagEvents, needs: []Scope{ScopeEventRead},
		summary: "Make a ticket for a browser's event stream",
		description: "An EventSource cannot send a key. It opens /v1/events?ticket=… instead, within 60 s and once, on any replica, and sees what this key may, narrowed by the body. " +
			"The stream lives as long as the key. When it breaks off, an EventSource comes back with the same URL, gets 401 and gives up: make another ticket then, and go on with cursor=, the lastEventId of the last event that was seen.",
		bodyOptional: true, bodyLimit: bodyLimitTicket, success: http.StatusCreated, problems: []int{http.StatusTooManyRequests},
	}, a.createTicket)
}

type ticketIn struct {
	Body *TicketBody `required:"false"`
}

type ticketOut struct {
	Body NewTicket
}

func (a *API) createTicket(ctx context.Context, in *ticketIn) (*ticketOut, error) {
	key := holder(ctx)
	var filter EventFilter
	if in.Body != nil {
		var p *Problem
		if filter, p = in.Body.filter(key); p != nil {
			return nil, p
		}
	}
	// Where it begins is told, and a filter that selects nothing is refused now:
	// nobody reads the answer to an EventSource.
	reader, err := a.events.Open(ctx, "", filter)
	if err != nil {
		return nil, locate(err, FaultBadFilter, "body.types")
	}
	text, hash := draw(ticketStart)
	again, err := a.tickets.Issue(ctx, hash, Ticket{Key: key.hash, Filter: filter}, ticketLife, ticketsMost)
	switch {
	case err != nil:
		return nil, err
	case again > 0:
		return nil, problem(http.StatusTooManyRequests, codeManyTickets, "this key has made too many tickets in the last minute").again(again)
	}
	return &ticketOut{Body: NewTicket{
		Ticket: text.Reveal(), ExpiresAt: a.now().Add(ticketLife).Time(), ExpiresIn: int64(ticketLife / time.Second), Cursor: reader.Cursor(),
	}}, nil
}

// filter checks what a ticket shall let see. The key's own limits are left to
// when it is used.
func (b *TicketBody) filter(key *Key) (EventFilter, *Problem) {
	if slices.ContainsFunc(b.Types, func(glob string) bool { return len(glob) > maxGlob || !plain(glob) }) {
		return EventFilter{}, invalid("body.types", "has a glob that is too long, or holds a control character")
	}
	if !plain(b.Provider) {
		return EventFilter{}, invalid("body.provider", "holds a control character")
	}
	if p := checkLabels(b.Labels); p != nil {
		return EventFilter{}, p
	}
	if _, p := narrowed(key, "body.prefix", b.Prefix); p != nil {
		return EventFilter{}, p
	}
	return EventFilter{Types: b.Types, Provider: b.Provider, Prefix: b.Prefix, Labels: b.Labels}, nil
}

// ticketKey is the context key of the [Ticket] that a request came with.
type ticketKey struct{}

// redeemed returns the ticket that the request came with, nil if it came with a
// key.
func redeemed(ctx context.Context) *Ticket {
	ticket, _ := ctx.Value(ticketKey{}).(*Ticket)
	return ticket
}

// ticketOf returns what a request has in the place of a ticket, where one does
// in place of a key.
func ticketOf(rt route, r *http.Request) (string, bool) {
	if !rt.tickets || !strings.Contains(r.URL.RawQuery, "ticket") {
		return "", false
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !values.Has("ticket") {
		return "", false
	}
	return values.Get("ticket"), true
}

// ticketHashKey is the context key of the hash of a ticket that a request came
// with and that is still to be redeemed.
type ticketHashKey struct{}

// presentedTicket looks at what a request has in the place of a ticket, and
// leaves it good.
func presentedTicket(r *http.Request, text string) ([sha256.Size]byte, *Problem) {
	if len(r.Header["Authorization"]) > 0 {
		return [sha256.Size]byte{}, problem(http.StatusBadRequest, codeBadRequest, "send a key or a ticket, not both")
	}
	hash, ok := hashDrawn(ticketStart, text)
	if !ok || r.Method != http.MethodGet { // HEAD would use it up for nothing
		return [sha256.Size]byte{}, usedTicket()
	}
	return hash, nil
}

// redeem uses the ticket up that a request came with, if it did, and puts it
// and the key that it was made with into the context. Whatever is wrong with a
// ticket, the answer is the same. What else a request may be refused for has to
// be looked at before: a ticket is not to be lost by a misspelling.
func (a *API) redeem(ctx context.Context) (context.Context, *Problem) {
	hash, ok := ctx.Value(ticketHashKey{}).([sha256.Size]byte)
	if !ok {
		return ctx, nil
	}
	ticket, err := a.tickets.Take(ctx, hash)
	switch {
	case err != nil:
		return nil, a.unchecked(err, "ticket")
	case ticket == nil:
		return nil, usedTicket()
	}
	key, err := a.keys.find(ctx, ticket.Key)
	switch {
	case err != nil:
		return nil, a.unchecked(err, "key")
	case key == nil || !key.may([]Scope{ScopeEventRead}):
		return nil, usedTicket()
	}
	return context.WithValue(context.WithValue(ctx, holderKey{}, key), ticketKey{}, ticket), nil
}

// usedTicket refuses a ticket. An EventSource that gets this gives up, as with
// every status but 200, and does not come back by itself.
func usedTicket() *Problem {
	return problem(http.StatusUnauthorized, codeUnauthorized, "this ticket does not exist, was used, or is over a minute old; make another with POST "+ticketsPath).
		with("WWW-Authenticate", `Bearer realm="refreshd"`)
}

// besideTicket refuses what is asked for beside a ticket.
func (in *eventsIn) besideTicket() *Problem {
	for _, row := range []struct {
		name string
		set  bool
	}{
		{"type", len(in.Type) > 0}, {"provider", in.Provider != ""}, {"prefix", in.Prefix != ""}, {"label", len(in.Label) > 0}, {"wait", in.Wait != ""},
	} {
		if row.set {
			return invalid("query."+row.name, "does not go with a ticket; say it where the ticket is made")
		}
	}
	return nil
}

// within is what a ticket lets see: its own filter within its key's limits.
func (ticket *Ticket) within(key *Key) (EventFilter, *Problem) {
	filter := ticket.Filter
	prefix, ok := key.narrow(filter.Prefix)
	if !ok {
		return EventFilter{}, forbidden("this ticket's key is not good for IDs with its prefix")
	}
	filter.Prefix, filter.Subject = prefix, key.Subject
	return filter, nil
}

// goesOn reports whether whoever opened a stream may still follow it: the key
// that he came with, or that his ticket was made with, may.
func (a *API) goesOn(ctx context.Context, r *http.Request) bool {
	needs := []Scope{ScopeEventRead}
	ticket := redeemed(ctx)
	if ticket == nil {
		_, p := a.admit(r, needs)
		return p == nil
	}
	key, err := a.keys.find(ctx, ticket.Key)
	return err == nil && key != nil && key.may(needs)
}
