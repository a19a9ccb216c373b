package refresh

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
)

// Tune sees to it that living sessions are planned by their provider's
// present settings, that what lives is a session where it has any, and a token
// where it has none, and that a token which had no way to another has the one that
// there is by now. list is as it was read, without secrets; what has other
// settings is read again, and written. It returns how many were. One that cannot
// be read then, or written, is left as it is; an error means that the store could
// not be asked.
func (e *Engine) Tune(ctx context.Context, provider string, list []credential.Held) (int, error) {
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
		if _, differs := credential.Tune(h, t.Policy, credential.Nonce{}, e.clock.Now()); !differs {
			continue
		}
		wrote := false
		_, err := e.amend(ctx, h.Record.ID, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (write credential.Write, _ bool) {
			write, wrote = credential.Write{}, false
			if h.Record.Provider == provider {
				write, wrote = credential.Tune(h, t.Policy, nonce, now)
			}
			return write, wrote
		})
		single, ok := errors.AsType[itemsError](err)
		switch {
		case ok:
			e.log.Warn().Err(single.At(0)).Str("credential", string(h.Record.ID)).Str("provider", provider).
				Msg("a credential does not get the present settings of its provider: its record cannot be read or written")
		case err != nil && !errors.Is(err, ErrNotFound):
			return tuned, e.unavailable(err)
		case err == nil && wrote:
			tuned++
		}
	}
	return tuned, nil
}

// findWay returns held as it is stored once it has the way to another token that its
// provider's present settings give it, where it had none.
func (e *Engine) findWay(ctx context.Context, held credential.Held) (credential.Held, error) {
	t, err := e.target(held.Record.Provider)
	if err != nil || held.Record.Refreshable {
		return held, nil //nolint:nilerr // whoever goes on tells of it
	}
	if _, differs := credential.Tune(held, t.Policy, credential.Nonce{}, e.clock.Now()); !differs {
		return held, nil
	}
	return e.amend(ctx, held.Record.ID, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		if h.Record.Provider != t.Name {
			return credential.Write{}, false
		}
		return credential.Tune(h, t.Policy, nonce, now)
	})
}

// wayless reports whether there is no way to another token, by what is stored or by
// the present settings of the provider. A session that is to be made a token is not
// judged before it is one.
func (e *Engine) wayless(r credential.Record) bool {
	if !r.Refreshable {
		return true
	}
	t, err := e.target(r.Provider)
	return err == nil && t.Policy.Method(r) == credential.MethodNone && !t.Policy.TookOut(r)
}
