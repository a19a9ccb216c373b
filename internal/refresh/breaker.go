package refresh

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// breakerFresh is how long a breaker's state is believed without asking the
// store again. The event log tells of changes at once; this is for when it is
// not being read.
const breakerFresh = time.Second

// breakers holds back the calls of clients that their provider refuses. The
// state is in the store, so every replica obeys it.
type breakers struct {
	engine *Engine
	mu     sync.Mutex
	known  map[string]knownBreaker
}

type knownBreaker struct {
	state credential.Breaker
	asked time.Duration // boot time
}

func newBreakers(e *Engine) *breakers {
	return &breakers{engine: e, known: map[string]knownBreaker{}}
}

// forget makes the next question go to the store.
func (b *breakers) forget(provider string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, provider)
}

// state returns the breaker of a provider's client.
func (b *breakers) state(ctx context.Context, provider string) (credential.Breaker, error) {
	now := b.engine.clock.Boot()
	b.mu.Lock()
	known, ok := b.known[provider]
	b.mu.Unlock()
	if ok && now-known.asked < breakerFresh {
		return known.state, nil
	}
	held, err := b.record(ctx, provider)
	if err != nil {
		return credential.Breaker{}, err
	}
	var state credential.Breaker
	if held != nil {
		state = credential.BreakerOf(held.Record)
	}
	b.learn(provider, state)
	return state, nil
}

func (b *breakers) learn(provider string, state credential.Breaker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known[provider] = knownBreaker{state: state, asked: b.engine.clock.Boot()}
}

func (b *breakers) record(ctx context.Context, provider string) (*credential.Held, error) {
	list, err := b.engine.store.Load(ctx, credential.ClientID(provider))
	if err != nil {
		return nil, &outageError{err: err}
	}
	return list[0], nil
}

// passage is what a breaker lets through.
type passage int

const (
	blocked passage = iota
	onHold          // paused by the operator
	oneProbe
	free
)

// allow tells whether a call may be made for id: freely while the breaker is
// closed, one a minute while it is open. A probe that is due is not taken by that.
func (b *breakers) allow(ctx context.Context, provider string, id credential.ID) (passage, error) {
	all, err := b.state(ctx, credential.AllClients)
	if err != nil {
		return blocked, err
	}
	state, err := b.state(ctx, provider)
	switch {
	case err != nil:
		return blocked, err
	case all.Paused, state.Paused:
		return onHold, nil
	case !state.Open:
		return free, nil
	case state.ProbeAtFor(id) > b.engine.clock.Now():
		return blocked, nil
	}
	return oneProbe, nil
}

// inTurn returns ids with those behind that let others take the next probe.
func (b *breakers) inTurn(ctx context.Context, provider string, ids []credential.ID) ([]credential.ID, error) {
	state, err := b.state(ctx, provider)
	if err != nil || !state.Open || len(state.Refused) == 0 {
		return ids, err
	}
	ids = slices.Clone(ids)
	slices.SortStableFunc(ids, func(a, b credential.ID) int {
		return cmp.Compare(state.ProbeAtFor(a), state.ProbeAtFor(b))
	})
	return ids, nil
}

// probe takes the probe that is due for a call for id, and reports whether it was
// still there. It is for whoever is about to call: one that is taken and not made
// keeps everybody waiting for another minute.
func (b *breakers) probe(ctx context.Context, provider string, id credential.ID) (bool, error) {
	return b.change(ctx, provider, func(h *credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		if h == nil {
			return credential.Write{}, false
		}
		if br := credential.BreakerOf(h.Record); !br.Open || br.ProbeAtFor(id) > now {
			return credential.Write{}, false
		}
		return credential.Probe(*h, nonce, now), true
	}, false)
}

// onHold is an error where the operator has paused the client, or all: for whoever
// was let through and has waited since.
func (b *breakers) onHold(ctx context.Context, provider string) error {
	for _, name := range []string{credential.AllClients, provider} {
		if state, err := b.state(ctx, name); err != nil {
			return err
		} else if state.Paused {
			return paused()
		}
	}
	return nil
}

// heldBack reports whether nothing may pass, or probes alone, without taking one.
func (b *breakers) heldBack(ctx context.Context, provider string) (bool, error) {
	all, err := b.state(ctx, credential.AllClients)
	if err != nil || all.Paused {
		return true, err
	}
	state, err := b.state(ctx, provider)
	return state.Paused || state.Open, err
}

// refused opens the breaker: the provider does not accept this client with a call
// for id. Of many exchanges that come back refused together, the first one opens
// it; probe says that this was the one that was let through. While the breaker is
// closed, a credential that was refused before opens it no more, for the client was
// accepted with others since: own reports that the trouble is its own. What is said
// of settings that are not in use any more opens nothing: it was asked with what
// was in hand when they changed.
func (b *breakers) refused(ctx context.Context, t *Target, id credential.ID, probe bool, o credential.Outcome) (own bool) {
	if b.superseded(t) {
		return false
	}
	provider := t.Name
	b.mu.Lock()
	known := b.known[provider].state
	b.mu.Unlock()
	if !probe && known.Open && known.ProbeAt > b.engine.clock.Now() {
		return false
	}
	_, err := b.change(ctx, provider, func(h *credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		own = false
		if h != nil {
			br := credential.BreakerOf(h.Record)
			own = !br.Open && br.Blames(id)
			if own || !probe && br.Open && br.ProbeAt > now {
				return credential.Write{}, false
			}
		}
		return credential.Trip(h, provider, id, o, nonce, now), true
	}, true)
	b.complain(err, provider)
	return own
}

// superseded reports whether a call was made with settings that are not in use any
// more.
func (b *breakers) superseded(t *Target) bool {
	now, err := b.engine.target(t.Name)
	return err != nil || now.Settings != t.Settings
}

// accepted closes the breaker if it is open, and forgets that the client was refused
// with a call for id. It is called after every reply that shows the client to be
// accepted, so it asks nobody where there is nothing of either. What is said of
// settings that are not in use any more closes nothing.
func (b *breakers) accepted(ctx context.Context, t *Target, id credential.ID) {
	if b.superseded(t) {
		return
	}
	provider := t.Name
	b.mu.Lock()
	known, ok := b.known[provider]
	b.mu.Unlock()
	if ok && !known.state.Open && !known.state.Blames(id) {
		return
	}
	var open bool
	changed, err := b.change(ctx, provider, func(h *credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		if h == nil {
			return credential.Write{}, false
		}
		open = credential.BreakerOf(h.Record).Open
		return credential.Accept(*h, id, nonce, now)
	}, true)
	b.complain(err, provider)
	if changed && open {
		b.engine.letGo(ctx, provider)
	}
}

// pause holds a provider's client back or lets it go on; [credential.AllClients]
// stands for all. It reports whether that changed anything.
func (b *breakers) pause(ctx context.Context, provider string, paused bool) (bool, error) {
	for {
		seen, changes := b.engine.barrier.sight(), false
		wrote, err := b.change(ctx, provider, func(h *credential.Held, nonce credential.Nonce, now credential.Millis) (write credential.Write, _ bool) {
			write, changes = credential.SetClientPaused(h, provider, paused, nonce, now)
			if !changes && b.engine.barrier.lacks() {
				return credential.AffirmClientPaused(h, provider, nonce, now), true
			}
			return write, changes
		}, true)
		if err != nil || wrote {
			return wrote && changes, err
		}
		if stands, err := b.engine.concludes(ctx, seen); err != nil || stands {
			return false, err
		}
	}
}

// retune lets a probe out at once, for the client's settings have changed.
func (b *breakers) retune(ctx context.Context, provider string) {
	changed, err := b.change(ctx, provider, func(h *credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		if h == nil {
			return credential.Write{}, false
		}
		return credential.Retune(*h, nonce, now)
	}, true)
	b.complain(err, provider)
	if changed && b.engine.opts.OnClientRetuned != nil {
		b.engine.opts.OnClientRetuned(provider)
	}
}

// change writes what decide makes of the breaker's record, and reports whether
// it did. If somebody else was faster, it decides again where again is set,
// and gives up otherwise.
func (b *breakers) change(
	ctx context.Context, provider string,
	decide func(*credential.Held, credential.Nonce, credential.Millis) (credential.Write, bool), again bool,
) (bool, error) {
	for {
		held, err := b.record(ctx, provider)
		if err != nil {
			return false, err
		}
		write, wanted := decide(held, newNonce(), b.engine.clock.Now())
		if !wanted {
			var state credential.Breaker
			if held != nil {
				state = credential.BreakerOf(held.Record)
			}
			b.learn(provider, state)
			return false, nil
		}
		var before credential.Held
		if held != nil {
			before = *held
		}
		w := Written{Write: write, After: write.Result(before)}
		status, err := b.engine.applyOne(ctx, w)
		if err != nil {
			return false, err
		}
		if status == credential.StatusWritten {
			b.learn(provider, credential.BreakerOf(write.Record))
			b.engine.stored(w)
			return true, nil
		}
		if !again {
			b.forget(provider)
			return false, nil
		}
	}
}

func (b *breakers) complain(err error, provider string) {
	if err != nil {
		b.engine.log.Error().Err(err).Str("provider", provider).Msg("the breaker of a client could not be changed")
	}
}
