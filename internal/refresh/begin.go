package refresh

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// wanted is one credential that begin is asked for.
type wanted struct {
	id         credential.ID
	force      bool
	generation uint64 // 0: whichever is current
}

// begin asks the store for the right to present each credential's generation,
// and notes an intent for each that is granted. Refused ones are returned as
// the store answered them.
func (e *Engine) begin(ctx context.Context, t *Target, list []wanted, by credential.Initiator, rejected bool) ([]*turn, []credential.Begun, error) {
	requests := make([]credential.Begin, len(list))
	for i, want := range list {
		requests[i] = credential.Begin{
			ID: want.id, Nonce: newNonce(), Owner: e.owner, Lasts: t.Policy.Times.Attempt(),
			Force: want.force, Generation: want.generation,
		}
		e.ledger.begun(requests[i].Nonce)
	}
	asked := e.clock.Boot()
	answers, err := e.ask(ctx, requests)
	if err != nil {
		e.barrier.met(err)
		// Some may have been granted. They are open under this owner, held by
		// nobody: the next recovery pass closes them.
		for _, r := range requests {
			e.ledger.ended(r.Nonce)
		}
		return nil, nil, err
	}
	answered := e.clock.Boot()
	var turns []*turn
	var refused []credential.Begun
	for i, answer := range answers {
		if answer.Refusal != credential.RefusedNot || answer.Err != nil {
			e.ledger.ended(requests[i].Nonce)
			refused = append(refused, answer)
			continue
		}
		if answer.Held.Record.Provider != t.Name {
			// A left-over of the due index. The token is not for this provider.
			e.abandon(ctx, &turn{target: t, held: answer.Held, attempt: *answer.Held.Attempt, by: by})
			refused = append(refused, credential.Begun{ID: answer.ID, Refusal: credential.RefusedUnknown, Now: answer.Now})
			continue
		}
		turns = append(turns, &turn{
			target: t, held: answer.Held, attempt: *answer.Held.Attempt, by: by, rejected: rejected,
			method: t.Policy.MethodAt(answer.Held.Record, answer.Now),
			asked:  asked, answered: answered, now: answer.Now,
		})
		e.ledger.granted(turns[len(turns)-1])
		if !answer.Durable && e.lossy() {
			e.metrics.unconfirmed()
		}
	}
	if err := e.intend(ctx, turns); err != nil {
		for _, tn := range turns {
			e.abandon(ctx, tn)
		}
		return nil, refused, &restedError{errors.Join(err, e.rest(ctx, t, turns))}
	}
	return turns, refused, nil
}

// ask sends the requests to the store.
func (e *Engine) ask(ctx context.Context, requests []credential.Begin) ([]credential.Begun, error) {
	if err := failpoint.Hit(failpoint.BeginBefore); err != nil {
		return nil, err
	}
	if err := e.barrier.beforeBegin(ctx); err != nil {
		return nil, err
	}
	answers, err := e.store.Begin(ctx, requests)
	if err == nil {
		err = failpoint.Hit(failpoint.BeginAnswered)
	}
	return answers, err
}

// rest puts off credentials that could not be journaled: a full disk does not
// become free by asking again at once.
func (e *Engine) rest(ctx context.Context, t *Target, turns []*turn) error {
	ids := make([]credential.ID, len(turns))
	for i, tn := range turns {
		ids[i] = tn.held.Record.ID
	}
	return e.store.Release(context.WithoutCancel(ctx), t.Name, ids, e.clock.Now().Add(t.Policy.Times.Send))
}

// intend notes all intents with one sync.
func (e *Engine) intend(ctx context.Context, turns []*turn) error {
	if len(turns) == 0 {
		return nil
	}
	intents := make([]Intent, len(turns))
	for i, tn := range turns {
		intents[i] = Intent{
			Nonce: tn.attempt.Nonce, ID: tn.held.Record.ID,
			Generation: tn.attempt.Generation, Grant: tn.attempt.Grant, At: tn.now,
		}
	}
	if err := failpoint.Hit(failpoint.IntentBefore); err != nil {
		return err
	}
	if err := e.journal.Intend(context.WithoutCancel(ctx), intents); err != nil {
		return err
	}
	return failpoint.Hit(failpoint.IntentNoted)
}

// restedError says that what could not be begun was put off.
type restedError struct{ err error }

func (e *restedError) Error() string { return e.err.Error() }
func (e *restedError) Unwrap() error { return e.err }
