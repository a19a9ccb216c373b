package clienttest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/client"
)

const (
	// reconnect is how long a client waits before it connects again: less than
	// refreshd tells, so that tests are quick.
	reconnect = 20 * time.Millisecond
	// heartbeat is the time between signs of life on an idle stream.
	heartbeat = 15 * time.Second
)

// eventLog is what streams read.
type eventLog struct {
	epoch   int
	trimmed int        // how many events are gone from the log's beginning
	entries []logEntry // what is left
	changed chan struct{}
	cut     chan struct{} // closed to end the streams that are open
}

// logEntry is an event with the versions, by type, of those before it of the
// same credential.
type logEntry struct {
	event client.Event
	last  map[client.EventType]uint64
}

// begin starts a log anew: cursors of the one before do not count any more.
func (l *eventLog) begin() {
	l.epoch++
	l.trimmed, l.entries = 0, nil
	l.changed, l.cut = make(chan struct{}), make(chan struct{})
}

func (l *eventLog) source() string { return "urn:refreshd:clienttest-" + strconv.Itoa(l.epoch) }

func (l *eventLog) end() int { return l.trimmed + len(l.entries) }

func (l *eventLog) cursor(at int) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d|%d", l.epoch, at))
}

var errBadCursor = errors.New("not a cursor of this event stream")

// place returns where a cursor stands, and whether events behind it are gone.
func (l *eventLog) place(cursor string) (at int, reset bool, err error) {
	switch cursor {
	case client.FromNow:
		return l.end(), false, nil
	case client.FromStart:
		return l.trimmed, false, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, false, errBadCursor
	}
	epoch, number, ok := strings.Cut(string(text), "|")
	at, err = strconv.Atoi(number)
	if !ok || err != nil || at < 0 {
		return 0, false, errBadCursor
	}
	if epoch != strconv.Itoa(l.epoch) || at < l.trimmed {
		return l.trimmed, true, nil
	}
	return min(at, l.end()), false, nil
}

// add appends an event.
func (l *eventLog) add(e client.Event) {
	last := make(map[client.EventType]uint64)
	for _, before := range slices.Backward(l.entries) {
		if before.event.Credential == e.Credential {
			maps.Copy(last, before.last)
			last[before.event.Type] = before.event.Version
			break
		}
	}
	l.entries = append(l.entries, logEntry{event: e, last: last})
	close(l.changed)
	l.changed = make(chan struct{})
}

// tell appends the event of a change that leaves the credential's state.
func (s *Server) tell(c *stored, kind client.EventType, by string, now time.Time) {
	s.tellChange(c, c.state, kind, by, now)
}

// tellChange appends the event of a change.
func (s *Server) tellChange(c *stored, was client.State, kind client.EventType, by string, now time.Time) {
	c.version++
	c.updatedAt = now
	s.log.add(client.Event{
		ID: fmt.Sprintf("%s/%d/%08x", c.id, c.version, s.log.epoch), Source: s.log.source(), Type: kind, Time: now,
		Credential: c.id, Provider: c.Provider, User: c.Subject, Labels: maps.Clone(c.Labels),
		State: c.state, PreviousState: was, Reason: c.reason, InitiatedBy: by, ExpiresAt: c.expiresAt, Version: c.version,
	})
}

// Emit has an event told to those who follow, as it is: with a type that does
// not exist, or one that nothing here brings about. What is empty of ID,
// Source and Time is filled in, and so is what is known of the credential; a
// Version of 0 with a credential becomes its next one. It returns the event as
// it was told.
func (s *Server) Emit(e client.Event) client.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.credentials[e.Credential]; c != nil {
		if e.Version == 0 {
			c.version++
			e.Version = c.version
		}
		e.Provider, e.User = cmp.Or(e.Provider, c.Provider), cmp.Or(e.User, c.Subject)
		e.State = cmp.Or(e.State, c.state)
		e.PreviousState = cmp.Or(e.PreviousState, c.state)
		if e.Labels == nil {
			e.Labels = maps.Clone(c.Labels)
		}
		if e.ExpiresAt.IsZero() {
			e.ExpiresAt = c.expiresAt
		}
	}
	e.ID = cmp.Or(e.ID, fmt.Sprintf("emitted-%d-%d", s.log.epoch, s.log.end()))
	e.Source = cmp.Or(e.Source, s.log.source())
	e.InitiatedBy = cmp.Or(e.InitiatedBy, "owner")
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s.log.add(e)
	return e
}

// Trim forgets all events until now: who has not seen the last one is told
// that events are missing.
func (s *Server) Trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.trimmed = s.log.end()
	s.log.entries = nil
}

// Reset begins the event log anew, as after a restored backup, and ends the
// open streams: whoever connects again is told that events are missing.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.log.cut)
	s.log.begin()
}

// Disconnect ends the open streams.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.log.cut)
	s.log.cut = make(chan struct{})
}

// eventFilter is what a reader asks for.
type eventFilter struct {
	types            []string
	provider, prefix string
	labels           map[string]string
}

func filterOf(r *http.Request) (eventFilter, *problem) {
	q := r.URL.Query()
	f := eventFilter{types: q["type"], provider: q.Get("provider"), prefix: q.Get("prefix"), labels: map[string]string{}}
	for _, glob := range f.types {
		if known, err := matchesAny(glob); err != nil || !known {
			return f, refuse(http.StatusUnprocessableEntity, "bad_filter", "the event type matches none").at("query.type")
		}
	}
	for _, label := range q["label"] {
		name, value, ok := strings.Cut(label, "=")
		if !ok || name == "" {
			return f, invalid("query.label", "must be name=value")
		}
		f.labels[name] = value
	}
	return f, nil
}

// matchesAny reports whether a glob matches a type that there is.
func matchesAny(glob string) (bool, error) {
	for _, kind := range []client.EventType{
		client.EventConnected, client.EventReauthorized, client.EventRefreshed, client.EventDegraded, client.EventRecovered,
		client.EventExpired, client.EventExpiring, client.EventReauthRequired, client.EventReuseSuspected, client.EventClaimsChanged,
		client.EventUserDataChanged, client.EventLoggedOut, client.EventDeleted, client.EventSessionExpiring, client.EventSessionExtended,
		client.EventProviderOutage, client.EventProviderRecovered, client.EventClientMisconfigured, client.EventClientRecovered,
		client.EventSubscriptionDisabled, client.EventSubscriptionLagging, client.EventStreamReset, client.EventStreamVerification,
	} {
		if ok, err := path.Match(glob, string(kind)); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (f eventFilter) wantsType(kind client.EventType) bool {
	return len(f.types) == 0 || slices.ContainsFunc(f.types, func(glob string) bool {
		ok, err := path.Match(glob, string(kind))
		return ok && err == nil
	})
}

func (f eventFilter) wants(e client.Event) bool {
	for name, value := range f.labels {
		if got, ok := e.Labels[name]; !ok || got != value {
			return false
		}
	}
	return (f.provider == "" || f.provider == e.Provider) && strings.HasPrefix(e.Credential, f.prefix) && f.wantsType(e.Type)
}

// shown returns the event of an entry as this reader sees it.
func (f eventFilter) shown(entry logEntry) client.Event {
	e := entry.event
	for kind, version := range entry.last {
		if f.wantsType(kind) {
			e.PreviousVersion = max(e.PreviousVersion, version)
		}
	}
	return e
}

// reader is one subscriber's place in the log.
type reader struct {
	server *Server
	want   eventFilter
	at     int
	epoch  int
	cut    chan struct{}
	reset  bool
}

// cursorEvent is an event with the cursor behind it.
type cursorEvent struct {
	Cursor string       `json:"cursor"`
	Event  client.Event `json:"event"`
}

func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) *problem {
	want, p := filterOf(r)
	if p != nil {
		return p
	}
	cursor, location := r.URL.Query().Get("cursor"), "query.cursor"
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		cursor, location = last, "header.Last-Event-ID"
	}
	s.mu.Lock()
	at, reset, err := s.log.place(cursor)
	in := &reader{server: s, want: want, at: at, epoch: s.log.epoch, cut: s.log.cut, reset: reset}
	s.mu.Unlock()
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "bad_cursor", err.Error()).at(location)
	}
	if accept := r.Header.Get("Accept"); strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/event-stream") {
		events, _ := in.next()
		answer(w, "application/json", http.StatusOK, struct {
			Events []cursorEvent `json:"events"`
			Cursor string        `json:"cursor"`
		}{events, in.cursor()})
		return nil
	}
	in.stream(w, r)
	return nil
}

func (in *reader) cursor() string {
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	return in.server.log.cursor(in.at)
}

// next returns what has come since, and a channel that is closed when there is
// more.
func (in *reader) next() (events []cursorEvent, changed chan struct{}) {
	s := in.server
	s.mu.Lock()
	defer s.mu.Unlock()
	events = []cursorEvent{}
	l := &s.log
	if in.epoch != l.epoch {
		return events, l.changed // the stream is being cut
	}
	if in.at < l.trimmed {
		in.at, in.reset = l.trimmed, true
	}
	if in.reset {
		in.reset = false
		events = append(events, cursorEvent{Cursor: l.cursor(in.at), Event: client.Event{
			ID: fmt.Sprintf("reset-%d-%d", l.epoch, time.Now().UnixNano()), Source: l.source(), Type: client.EventStreamReset, Time: time.Now(),
		}})
	}
	for ; in.at < l.end(); in.at++ {
		if entry := l.entries[in.at-l.trimmed]; in.want.wants(entry.event) {
			events = append(events, cursorEvent{Cursor: l.cursor(in.at + 1), Event: in.want.shown(entry)})
		}
	}
	return events, l.changed
}

// stream serves Server-Sent Events until the client goes or the stream is cut.
func (in *reader) stream(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	_, err := fmt.Fprintf(w, "retry: %d\nid: %s\n\n", reconnect.Milliseconds(), in.cursor())
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for err == nil {
		events, changed := in.next()
		for _, e := range events {
			var text []byte
			if text, err = json.Marshal(e.Event); err == nil {
				_, err = fmt.Fprintf(w, "id: %s\nevent: %s\ndata: %s\n\n", e.Cursor, e.Event.Type, text)
			}
		}
		if err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-beat.C:
			_, err = fmt.Fprint(w, ":\n\n")
		case <-in.cut:
			return
		case <-in.server.stop:
			return
		case <-r.Context().Done():
			return
		}
	}
}
