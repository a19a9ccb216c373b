package refresh

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
)

// TuneSessions sees to it that living sessions are planned by their provider's
// present settings. list is as it was read, without secrets; what has other
// settings is read again, and written. It returns how many were.
func (e *Engine) TuneSessions(ctx context.Context, provider string, list []credential.Held) (int, error) {
	leave, err := e.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	t, err := e.target(provider)
	if err != nil || t.Policy.Sessions.Idle == 0 {
		return 0, nil // there is nothing to go by
	}
	tuned := 0
	for _, h := range list {
		if _, differs := credential.TuneSession(h, t.Policy, credential.Nonce{}, e.clock.Now()); !differs {
			continue
		}
		wrote := false
		_, err := e.amend(ctx, h.Record.ID, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (write credential.Write, _ bool) {
			write, wrote = credential.Write{}, false
			if h.Record.Provider == provider {
				write, wrote = credential.TuneSession(h, t.Policy, nonce, now)
			}
			return write, wrote
		})
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return tuned, e.unavailable(err)
		case err == nil && wrote:
			tuned++
		}
	}
	return tuned, nil
}
