package refresh

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
)

// TuneSessions sees to it that living sessions are planned by their provider's
// present settings, and that what lives is a session where it has any, and a token
// where it has none. list is as it was read, without secrets; what has other
// settings is read again, and written. It returns how many were. One that cannot
// be read then, or written, is left as it is; an error means that the store could
// not be asked.
func (e *Engine) TuneSessions(ctx context.Context, provider string, list []credential.Held) (int, error) {
	leave, err := e.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	t, err := e.target(provider)
	if err != nil {
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
		single, ok := errors.AsType[itemsError](err)
		switch {
		case ok:
			e.log.Warn().Err(single.At(0)).Str("credential", string(h.Record.ID)).Str("provider", provider).
				Msg("a credential does not get the present settings of session: its record cannot be read or written")
		case err != nil && !errors.Is(err, ErrNotFound):
			return tuned, e.unavailable(err)
		case err == nil && wrote:
			tuned++
		}
	}
	return tuned, nil
}
