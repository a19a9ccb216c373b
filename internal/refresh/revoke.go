package refresh

import (
	"context"
	"sync"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	revokers      = 2
	revokeWaiting = 4096 // tokens at most that wait to be revoked; others are left to expire
	// revokeKnown bounds the memory of what was taken on.
	revokeKnown = 4 * revokeWaiting
)

// revoker ends tokens that journals held and that belong to logins that are over.
// Nobody waits for it: a provider that does not answer would hold up what has to
// be put back before anybody begins anything, at all providers.
type revoker struct {
	engine *Engine
	queue  chan revocation

	mu    sync.Mutex
	taken map[credential.Nonce]struct{} // by the attempt that brought them: journals are read again for each run of the store
}

type revocation struct {
	target *Target
	token  credential.Token
}

func newRevoker(e *Engine) *revoker {
	return &revoker{engine: e, queue: make(chan revocation, revokeWaiting), taken: map[credential.Nonce]struct{}{}}
}

func (r *revoker) start(loops *sync.WaitGroup) {
	for range revokers {
		loops.Go(r.loop)
	}
}

func (r *revoker) loop() {
	for {
		select {
		case <-r.engine.ctx.Done():
			return
		case one := <-r.queue:
			r.engine.revokeWithin(r.engine.ctx, one.target, one.token)
		}
	}
}

// add has a token revoked, once.
func (r *revoker) add(t *Target, attempt credential.Nonce, token credential.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.taken[attempt]; known {
		return
	}
	if len(r.taken) >= revokeKnown {
		clear(r.taken)
	}
	select {
	case r.queue <- revocation{target: t, token: token}:
		r.taken[attempt] = struct{}{}
	default:
		r.engine.log.Debug().Str("provider", t.Name).Msg("too many tokens of ended logins wait to be revoked, one is left to expire")
	}
}

// revoke ends a token that nobody will use, as far as the provider can, also if
// whoever asked for it goes.
func (e *Engine) revoke(ctx context.Context, t *Target, token credential.Token) {
	e.revokeWithin(context.WithoutCancel(ctx), t, token)
}

func (e *Engine) revokeWithin(ctx context.Context, t *Target, token credential.Token) {
	ctx, cancel := context.WithTimeout(ctx, t.Policy.Times.Exchange)
	defer cancel()
	if err := t.Exchanger.Revoke(ctx, token); err != nil {
		e.log.Info().Err(err).Str("provider", t.Name).Msg("a token of an ended login could not be revoked")
	}
}
