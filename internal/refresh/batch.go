package refresh

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// batchBudget is how long a batch goes on taking permits. What it did not
	// begin by then goes back to the due index, before its claim runs out.
	batchBudget = 3 * time.Second
	// idlePause is how long a credential rests at most that is due while its
	// client is held back.
	idlePause = 15 * time.Second
	// wakeSlack is by how much this process's idea of the store's clock may differ
	// from it.
	wakeSlack = time.Second
	// stillDue gives back what is due at the moment that its record says: where
	// more is overdue than is read at a time, it would otherwise come last that was
	// first.
	stillDue credential.Millis = 0
)

// RefreshBatch refreshes what is due of a batch, for which room was reserved; "" if
// there was no need. Members fail independently; an error means that the batch as a
// whole could not be worked on, and the due index will bring it back. A process that
// has just started gives it back once the others know of it.
func (e *Engine) RefreshBatch(ctx context.Context, provider string, ids []credential.ID, reservation string) (credential.BatchReport, error) {
	leave, err := e.enter()
	if err != nil {
		return credential.BatchReport{}, err
	}
	defer leave()
	claims := &batchClaims{engine: e, provider: provider, reservation: reservation, waiting: len(ids)}
	defer claims.end(ctx) // however it ends: what is not begun by then waits for another claim
	t, err := e.target(provider)
	if err != nil {
		return credential.BatchReport{}, errors.Join(err, e.store.Release(ctx, provider, ids, e.clock.Now().Add(time.Minute)))
	}
	if e.barrier.starting() {
		now := e.clock.Boot()
		e.stranded.add(t.Name, ids, now, now)
		return credential.BatchReport{Returned: len(ids)}, nil
	}
	var report credential.BatchReport
	rest, err := e.refreshAll(ctx, t, ids, claims, &report)
	if _, rested := errors.AsType[*restedError](err); err != nil && !rested {
		now := e.clock.Boot()
		e.stranded.add(t.Name, rest, now, now)
	}
	return report, err
}

// refreshAll carries out a batch, as far as permits are to be had in its time.
// With an error it returns what was not begun and not given back either.
func (e *Engine) refreshAll(ctx context.Context, t *Target, rest []credential.ID, claims *batchClaims, report *credential.BatchReport) ([]credential.ID, error) {
	started := e.clock.Boot()
	for len(rest) > 0 {
		inTurn, err := e.breakers.inTurn(ctx, t.Name, rest)
		if err != nil {
			return rest, err
		}
		rest = inTurn
		allowed, err := e.breakers.allow(ctx, t.Name, rest[0])
		if err != nil {
			return rest, err
		}
		want := len(rest)
		switch allowed {
		case blocked, onHold:
			claims.end(ctx)
			return rest, e.idle(ctx, t, rest, report)
		case oneProbe:
			want = 1
		case free:
		}
		n := 0
		permits, err := e.takePermits(ctx, t, want)
		if err == nil {
			n = min(permits.granted, want)
			claims.done(ctx, n)
			err = e.refreshSome(ctx, t, rest[:n], allowed, permits, report)
		}
		if _, busy := errors.AsType[*UnavailableError](err); busy {
			// Whoever rested for as long as a permit takes would find it taken by
			// those that die later. What is claimed, and when, is the capacity's to say.
			// So it is for whoever comes too late for a probe.
			claims.end(ctx)
			return rest, e.handBack(ctx, t, rest, report)
		}
		if err != nil {
			return rest, err
		}
		rest = rest[n:]
		if len(rest) > 0 && e.clock.Boot()-started > batchBudget {
			claims.end(ctx)
			return rest, e.handBack(ctx, t, rest, report)
		}
	}
	return nil, nil
}

// batchClaims is what a batch has claimed on a reservation. Nothing of it is told
// twice: the reservation may be that of other batches, too.
type batchClaims struct {
	engine                *Engine
	provider, reservation string
	waiting               int // for permits
}

// done tells dispatchers that n of them wait for permits no more, so that others can
// be claimed. If nobody hears of it, they are when the claims would have run out.
func (c *batchClaims) done(ctx context.Context, n int) {
	c.waiting -= n
	if n == 0 || c.reservation == "" {
		return // there is no need to count
	}
	e := c.engine
	e.crew.run(func() { // a permit does not wait for it
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitDeadline)
		defer cancel()
		if err := e.claims.ClaimsDone(ctx, c.provider, c.reservation, n); err != nil {
			e.log.Debug().Err(err).Str("provider", c.provider).Int("claims", n).Msg("claims that are done could not be noted, they end by themselves")
		}
	})
}

// end tells the same of all that still wait.
func (c *batchClaims) end(ctx context.Context) { c.done(ctx, c.waiting) }

// handBack gives back what waits for a permit, as it is by now.
func (e *Engine) handBack(ctx context.Context, t *Target, ids []credential.ID, report *credential.BatchReport) error {
	report.Returned += len(ids)
	if _, err := e.advanceAll(ctx, t, ids, report); err != nil {
		return err
	}
	again := stillDue
	if e.barrier.passes() != passAll || e.stalled() != nil {
		again = e.clock.Now().Add(tickEvery) // nothing comes of it here until the gate is open, or the journal goes on
	}
	return e.store.Release(ctx, t.Name, ids, again)
}

// AdvanceBatch stores what the passing of time alone has brought to those of a
// batch, and gives them back to the due index: they wait for a call whose turn has
// not come. An error means that the batch as a whole could not be worked on, and
// the due index will bring it back.
func (e *Engine) AdvanceBatch(ctx context.Context, provider string, ids []credential.ID) (credential.BatchReport, error) {
	leave, err := e.enter()
	if err != nil {
		return credential.BatchReport{}, err
	}
	defer leave()
	t, err := e.target(provider)
	if err != nil {
		return credential.BatchReport{}, errors.Join(err, e.store.Release(ctx, provider, ids, e.clock.Now().Add(time.Minute)))
	}
	var report credential.BatchReport
	if err := e.handBack(ctx, t, ids, &report); err != nil {
		now := e.clock.Boot()
		e.stranded.add(t.Name, ids, now, now)
		return report, err
	}
	return report, nil
}

// advanceAll stores what the passing of time alone has brought to each of ids,
// and returns what is stored then; nil where there is none, or none that can be
// read.
func (e *Engine) advanceAll(ctx context.Context, t *Target, ids []credential.ID, report *credential.BatchReport) ([]*credential.Held, error) {
	list, err := e.store.Load(ctx, ids...)
	if _, single := errors.AsType[itemsError](err); err != nil && !single {
		return nil, err
	}
	var wg sync.WaitGroup
	var advanced atomic.Int64
	for i, h := range list {
		if h == nil || !credential.Due(h.Record, h.Attempt, e.clock.Now()).Advance {
			continue
		}
		wg.Add(1)
		e.crew.run(func() {
			defer wg.Done()
			after, done := e.advanceClock(ctx, t, *h)
			if done {
				advanced.Add(1)
			}
			list[i] = &after
		})
	}
	wg.Wait()
	report.Advanced += int(advanced.Load())
	return list, nil
}

// refreshSome begins as many attempts as there are permits and carries them to
// their ends. Whether one is the probe that allowed speaks of is asked last: what
// was due when it was claimed may need no call any more.
func (e *Engine) refreshSome(ctx context.Context, t *Target, ids []credential.ID, allowed passage, permits *permitLease, report *credential.BatchReport) error {
	defer permits.giveBack(ctx)
	var list []wanted
	led := make(map[credential.ID]*flight, len(ids))
	for _, id := range ids {
		fl, leads := e.flights.join(id)
		if !leads {
			report.Skipped++
			continue
		}
		led[id] = fl
		list = append(list, wanted{id: id})
	}
	land := func(id credential.ID, result settled) { e.flights.land(id, led[id], result) }
	if len(list) == 0 {
		return nil
	}
	turns, refused, err := e.begin(ctx, t, list, credential.BySchedule, false)
	for _, answer := range refused {
		delete(led, e.landRefused(ctx, t, answer, land, report))
	}
	if err == nil {
		err = e.takeProbeFor(ctx, t, allowed, turns)
	}
	if err != nil {
		for id := range led {
			land(id, settled{err: err})
		}
		return err
	}
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	for _, tn := range turns {
		wg.Add(1)
		e.crew.run(func() {
			defer wg.Done()
			tn.start, tn.spare = permits.start(context.WithoutCancel(ctx)), func() { permits.doneOne(ctx) }
			result := e.take(ctx, tn)
			land(tn.held.Record.ID, result)
			e.learnUserData(ctx, t, result)
			mu.Lock()
			defer mu.Unlock()
			busy, _ := errors.AsType[*UnavailableError](result.err)
			switch {
			case busy != nil && busy.Reason == credential.ReasonRateLimited:
				report.Returned++ // its permit lapsed, and there was no other
			case result.outcome.Class == credential.ClassOK && result.err == nil:
				report.Refreshed++
			default:
				report.Failed++
			}
		})
	}
	wg.Wait()
	return nil
}

// landRefused deals with a credential whose begin was refused and returns its
// ID.
func (e *Engine) landRefused(ctx context.Context, t *Target, answer credential.Begun, land func(credential.ID, settled), report *credential.BatchReport) credential.ID {
	result := settled{held: answer.Held, err: answer.Err}
	switch {
	case answer.Err != nil:
		report.Failed++
		e.log.Error().Err(answer.Err).Str("credential", string(answer.ID)).Msg("a credential cannot be begun")
	case answer.Refusal == credential.RefusedAlternate:
		result = e.installAlternate(ctx, t, answer.ID)
		report.Advanced++
	default:
		if _, advanced := e.advanceClock(ctx, t, answer.Held); advanced {
			report.Advanced++
		} else {
			report.Skipped++
		}
	}
	land(answer.ID, result)
	return answer.ID
}

// advanceClock stores what the passing of time alone has brought, such as an
// expiry, and returns what is stored then and whether there was anything. seen may
// lack the secrets, as the answer to a refused begin does: what is written has to
// know all that it leads to, so the record is read once more. While somebody may still
// put something back it waits: what the store has lost may be a refresh, and then the
// token is not over, nor is the version free that this would take.
func (e *Engine) advanceClock(ctx context.Context, t *Target, seen credential.Held) (credential.Held, bool) {
	if e.barrier.passes() != passAll || seen.Record.ID == "" || !credential.Due(seen.Record, seen.Attempt, e.clock.Now()).Advance {
		return seen, false
	}
	for {
		again, err := e.reload(ctx, seen.Record.ID)
		if err != nil || again == nil {
			return seen, false // the due index brings it back
		}
		write, ok := credential.Advance(*again, t.Policy, newNonce(), e.clock.Now())
		if !ok {
			return *again, false
		}
		written, err := e.commit(ctx, *again, write, nil)
		if err != nil {
			return *again, false
		}
		if written {
			return write.Result(*again), true
		}
	}
}

// idle does for a held-back client what needs no call: expiries are still
// published. What stays due rests for a while.
func (e *Engine) idle(ctx context.Context, t *Target, ids []credential.ID, report *credential.BatchReport) error {
	advanced := report.Advanced
	list, err := e.advanceAll(ctx, t, ids, report)
	if err != nil {
		return err
	}
	report.Skipped += len(ids) - (report.Advanced - advanced)
	now := e.clock.Now()
	state, unknown := e.breakers.state(ctx, t.Name)
	later := map[credential.Millis][]credential.ID{}
	for i, h := range list {
		if h == nil {
			continue
		}
		at := now.Add(idlePause)
		if probe := state.ProbeAtFor(ids[i]); unknown == nil && probe > now {
			at = min(at, probe) // one of them is the probe
		}
		if clock := h.Record.Clock(); clock > now {
			at = min(at, clock) // what time alone brings is told in time
		}
		later[at] = append(later[at], ids[i])
	}
	for at, some := range later {
		if err := e.store.Release(ctx, t.Name, some, at); err != nil {
			return err
		}
	}
	// Whoever let them go on meanwhile has looked at them before they rested, and
	// this process may not have heard of it yet.
	e.breakers.forget(credential.AllClients)
	e.breakers.forget(t.Name)
	if held, err := e.breakers.heldBack(ctx, t.Name); err != nil || held {
		return err
	}
	for _, some := range later {
		if err := e.store.Release(ctx, t.Name, some, stillDue); err != nil {
			return err
		}
	}
	return nil
}

// RecoverWithin tells a dispatcher for how long after its first presentation a
// provider takes a refresh token in doubt once more; 0 if it does not.
func (e *Engine) RecoverWithin(provider string) time.Duration {
	t, err := e.target(provider)
	if err != nil {
		return 0
	}
	return t.Policy.RecoverWithin()
}
