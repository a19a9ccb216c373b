package ssf

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

const (
	// pageSize is how many entries of each shard's log are read at a time.
	pageSize = 512
	// maxPages bounds how far behind the first unanswered event others are
	// looked for.
	maxPages = 2
	// pollWait bounds a long poll.
	pollWait = 30 * time.Second
	// defaultEvents is how many tokens a reply holds unless the receiver wants
	// fewer or more, maxEvents the most that it ever does.
	defaultEvents, maxEvents = 100, 1000
	// saveAfter is how many events that nobody asked for are passed before
	// that alone is worth storing.
	saveAfter = 256
)

// Progress is how far a receiver has answered what it was given.
type Progress struct {
	Last     []string // by shard: everything up to there needs no more
	Answered []string // IDs of events behind it that were answered
	// Pending is a verification that the receiver asked for and has not
	// answered; nil is none.
	Pending  *PendingVerification
	Revision uint64 // of what is stored
}

// PendingVerification is one that waits to be fetched.
type PendingVerification struct{ ID, State string }

// Places keeps the progress of receivers that poll.
type Places interface {
	// Place returns a receiver's progress; one that has never polled starts
	// where its subscription does.
	Place(ctx context.Context, subscription string) (Progress, error)
	// SavePlace replaces the progress of that revision. It reports false, and
	// changes nothing, if something else is stored.
	SavePlace(ctx context.Context, subscription string, p Progress) (bool, error)
}

// Poll is what a receiver asks for (RFC 8936, section 2.4).
type Poll struct {
	Max    *int              // tokens at most; 0 is none; nil leaves it to the transmitter
	AtOnce bool              // not to wait where there are none
	Ack    []string          // IDs of tokens that were taken
	Errors map[string]string // codes of errors by the ID of the token that was refused
}

// Batch is what it gets.
type Batch struct {
	Sets map[string]string // tokens by their IDs
	More bool              // there are others
}

// PollerOptions are what a [Poller] is made of.
type PollerOptions struct {
	Log         *event.Log
	Places      Places
	Transmitter *Transmitter
	Logger      zerolog.Logger
	Registerer  prometheus.Registerer
}

// Poller hands out Security Event Tokens to receivers that ask for them. A
// token is offered again until it is answered. Of one credential only the first
// unanswered one is offered, for a set of tokens has no order. It is used by
// many goroutines.
type Poller struct {
	opts  PollerOptions
	polls *prometheus.CounterVec
}

// NewPoller returns a poller.
func NewPoller(opts PollerOptions) *Poller {
	p := &Poller{opts: opts, polls: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "refreshd_polled_tokens_total", Help: "Security event tokens of receivers that poll, by what came of them.",
	}, []string{"subscription", "outcome"})}
	opts.Registerer.MustRegister(p.polls)
	return p
}

// ErrBusy says that others polled the same stream all the while.
var ErrBusy = errors.New("others poll the same stream at this moment")

// Poll notes what the receiver answers and returns what it has not answered
// yet. Where there is nothing it waits, for half a minute at most and not
// beyond until.
func (p *Poller) Poll(ctx context.Context, stream Stream, filter event.Filter, ask Poll, until <-chan struct{}) (Batch, error) {
	timer := time.NewTimer(pollWait)
	defer timer.Stop()
	for over := ask.AtOnce || ask.most() == 0; ; {
		changed := p.opts.Log.Changed()
		batch, err := p.once(ctx, stream, filter, ask)
		if err != nil || len(batch.Sets) > 0 || over {
			return batch, err
		}
		ask.Ack, ask.Errors = nil, nil // they are noted
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-until:
			over = true
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
	}
}

func (ask Poll) most() int {
	if ask.Max == nil {
		return defaultEvents
	}
	return min(max(*ask.Max, 0), maxEvents)
}

// Verify has a verification event offered with the next poll. It takes the
// place of one that was not fetched.
func (p *Poller) Verify(ctx context.Context, stream Stream, state string) error {
	for range saveTimes {
		at, err := p.opts.Places.Place(ctx, stream.Name)
		if err != nil {
			return err
		}
		at.Pending = &PendingVerification{ID: "verification-" + rand.Text(), State: state}
		saved, err := p.opts.Places.SavePlace(ctx, stream.Name, at)
		if err != nil || saved {
			return err
		}
	}
	return ErrBusy
}

// once answers one poll with what there is.
func (p *Poller) once(ctx context.Context, stream Stream, filter event.Filter, ask Poll) (Batch, error) {
	for range saveTimes {
		at, err := p.opts.Places.Place(ctx, stream.Name)
		if err != nil {
			return Batch{}, err
		}
		look, err := p.look(ctx, stream, filter, at, ask)
		if err != nil {
			return Batch{}, err
		}
		if look.worthSaving() {
			saved, err := p.opts.Places.SavePlace(ctx, stream.Name, look.next)
			if err != nil {
				return Batch{}, err
			}
			if !saved {
				continue // somebody else has answered something: look again
			}
		}
		p.note(stream, look, ask)
		return p.batch(ctx, stream, look, ask.most())
	}
	return Batch{}, ErrBusy
}

// looked is what one look at the log found.
type looked struct {
	next     Progress
	answered []string              // IDs that were waiting and are answered now
	passed   int                   // entries that need no more
	reset    bool                  // some were trimmed before they could be fetched
	offer    []credential.LogEntry // the first unanswered one of each credential, in order
	waiting  int                   // all that are unanswered, as far as was looked
	verify   bool                  // the pending verification is unanswered
}

func (l *looked) worthSaving() bool { return len(l.answered) > 0 || l.reset || l.passed >= saveAfter }

// look goes through the log from where the receiver is.
func (p *Poller) look(ctx context.Context, stream Stream, filter event.Filter, at Progress, ask Poll) (*looked, error) {
	log := p.opts.Log
	place, err := log.Place(ctx, event.Cursor{Epoch: log.Epoch(), Last: at.Last})
	reset := errors.Is(err, event.ErrReset)
	if err != nil && !reset {
		return nil, err
	}
	l := &looked{next: Progress{Last: place.Clone().Last, Pending: at.Pending, Revision: at.Revision}, reset: reset}
	before, said := set(at.Answered), set(ask.Ack)
	for id := range ask.Errors {
		said[id] = struct{}{}
	}
	l.verification(said)
	seen := map[credential.ID]struct{}{}
	held := make([]bool, len(place.Last)) // by shard: something in it is unanswered
	for range maxPages {
		entries, next, err := log.Read(ctx, place, pageSize)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if filter.Wants(entry.Event) {
				l.weigh(entry, before, said, seen, held)
			}
			if !held[entry.Shard] {
				l.next.Last[entry.Shard] = entry.Position
				l.passed++
			}
		}
		if place = next; len(entries) == 0 {
			break
		}
	}
	if l.reset {
		p.opts.Logger.Error().Str("subscription", stream.Name).
			Msg("events were trimmed before they were polled; it goes on from the oldest that is left")
	}
	return l, nil
}

// verification looks whether the pending one was answered.
func (l *looked) verification(said map[string]struct{}) {
	if l.next.Pending == nil {
		return
	}
	if _, done := said[l.next.Pending.ID]; done {
		l.answered = append(l.answered, l.next.Pending.ID)
		l.next.Pending = nil
		return
	}
	l.verify = true
}

// weigh says of one wanted event whether it is answered or to be offered.
func (l *looked) weigh(entry event.Numbered, before, said map[string]struct{}, seen map[credential.ID]struct{}, held []bool) {
	id := entry.Event.EventID()
	_, known := before[id]
	_, now := said[id]
	if now && !known {
		l.answered = append(l.answered, id)
	}
	if known || now {
		if held[entry.Shard] {
			l.next.Answered = append(l.next.Answered, id)
		}
		return
	}
	held[entry.Shard] = true
	l.waiting++
	if _, earlier := seen[entry.Event.ID]; !earlier {
		seen[entry.Event.ID] = struct{}{}
		l.offer = append(l.offer, entry.LogEntry)
	}
}

// note counts what was answered and tells of refusals. A token that the
// receiver has refused is answered as well (RFC 8936, section 2.4): it has had
// it, and repeating it would hold up everything behind.
func (p *Poller) note(stream Stream, l *looked, ask Poll) {
	for _, id := range l.answered {
		code, refused := ask.Errors[id]
		if !refused {
			p.polls.WithLabelValues(stream.Name, "acknowledged").Inc()
			continue
		}
		p.polls.WithLabelValues(stream.Name, "refused").Inc()
		p.opts.Logger.Warn().Str("subscription", stream.Name).Str("event", id).Str("err", knownError(code)).
			Msg("the receiver refused a security event token; it is not offered again")
	}
}

// batch signs what is offered.
func (p *Poller) batch(ctx context.Context, stream Stream, l *looked, most int) (Batch, error) {
	b := Batch{Sets: map[string]string{}}
	waiting := l.waiting
	if l.verify {
		waiting++
	}
	if l.verify && most > 0 {
		token, err := p.opts.Transmitter.Verification(ctx, stream, l.next.Pending.ID, l.next.Pending.State)
		if err != nil {
			return Batch{}, err
		}
		b.Sets[l.next.Pending.ID] = token
	}
	for _, entry := range l.offer {
		if len(b.Sets) >= most {
			break
		}
		token, err := p.opts.Transmitter.Token(ctx, entry, stream)
		if err != nil {
			return Batch{}, fmt.Errorf("event %s: %w", entry.Event.EventID(), err)
		}
		b.Sets[entry.Event.EventID()] = token
	}
	p.polls.WithLabelValues(stream.Name, "offered").Add(float64(len(b.Sets)))
	b.More = waiting > len(b.Sets)
	return b, nil
}

// knownError returns a code that RFC 8935 section 2.4 or SSF 1.0 registers, and
// "other" for any other text: what a receiver says stays out of the log.
func knownError(code string) string {
	known := []string{
		"invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed", "access_denied", "invalid_state",
	}
	if slices.Contains(known, code) {
		return code
	}
	return "other"
}

func set(list []string) map[string]struct{} {
	m := make(map[string]struct{}, len(list))
	for _, s := range list {
		m[s] = struct{}{}
	}
	return m
}
