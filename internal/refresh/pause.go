package refresh

import (
	"context"

	"github.com/refreshd/refreshd/internal/credential"
)

// PauseProvider holds a provider back or lets it go on, in every replica and
// over restarts; [credential.AllClients] stands for the whole service. Nothing
// is presented while it is paused; tokens are served as long as they live, and
// expiries are told. It reports whether that changed anything.
//
// Error: [ErrUnknownProvider].
func (e *Engine) PauseProvider(ctx context.Context, provider string, paused bool) (bool, error) {
	leave, err := e.enter()
	if err != nil {
		return false, err
	}
	defer leave()
	if provider != credential.AllClients {
		if _, err := e.target(provider); err != nil {
			return false, err
		}
	}
	changed, err := e.breakers.pause(ctx, provider, paused)
	if err != nil {
		return false, e.unavailable(err)
	}
	if !changed {
		return false, nil
	}
	e.log.Info().Str("provider", provider).Bool("paused", paused).Msg("a provider was paused or resumed")
	if paused {
		return true, nil
	}
	for name := range *e.targets.Load() {
		if provider == credential.AllClients || provider == name {
			e.letGo(ctx, name)
		}
	}
	return true, nil
}

// letGo has what was held back of a provider looked at now, beside whoever found
// that it may go on. It is put back into its places first: what rests until its
// token dies would come behind all that are dead, though it could be saved.
func (e *Engine) letGo(ctx context.Context, provider string) {
	e.crew.run(func() {
		ctx, cancel := e.untilStopped(context.WithoutCancel(ctx))
		defer cancel()
		if err := e.opts.Resting.Wake(ctx, provider, idlePause+wakeSlack); err != nil {
			e.log.Warn().Err(err).Str("provider", provider).Stringer("for", idlePause).
				Msg("what was held back could not be put into its places, and rests for a while yet")
		}
		if e.opts.OnClientRecovered != nil {
			e.opts.OnClientRecovered(provider)
		}
	})
}
