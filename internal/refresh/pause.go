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
	if paused || e.opts.OnClientRecovered == nil {
		return true, nil
	}
	for name := range *e.targets.Load() {
		if provider == credential.AllClients || provider == name {
			e.opts.OnClientRecovered(name) // what was held back is looked at now
		}
	}
	return true, nil
}
