package refresh

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// Expect is a caller's condition on a credential. It is checked on the very
// revision that a change is decided on.
type Expect struct {
	Absent  bool   // If-None-Match: *
	Version uint64 // If-Match; 0: any
	Subject string // of the caller, for whom nothing of another subject is stored; "": any
}

// Put is the result of [Engine.Put].
type Put struct {
	Held      credential.Held
	Created   bool
	Unchanged bool                 // nothing was stored: it is the login that is stored already
	Missing   []credential.Absence // of what was stored now: what should tell an expiry, and does not, and user data that is not kept
}

// Put stores a login: a new credential, or a new token for one that exists. It
// is journaled before it returns. A login that brings back the current refresh
// token changes nothing, whatever stands beside it but another subject, and comes
// after a login that was given up before; one that brings back an earlier one is refused with
// [ErrStaleToken]. One for an ID under which another subject's credential is
// stored than the caller's is refused with [ErrOtherSubject]. A login that
// cannot be made now is stored as pending, unless a token is stored that still
// works: that is kept, with a [LoginPutOffError]. One that is refused is stored
// nowhere, with a [LoginRefusedError] or a [LoginUnclearError].
func (e *Engine) Put(ctx context.Context, login credential.Login, expect Expect) (Put, error) {
	leave, err := e.enter()
	if err != nil {
		return Put{}, err
	}
	defer leave()
	t, err := e.target(login.Provider)
	if err != nil {
		return Put{}, err
	}
	if err := e.barrier.awaitSoon(ctx, passWrites); err != nil {
		return Put{}, e.unavailable(err)
	}
	a := arrival{login: login, expect: expect, target: t, byOwner: login.UserData != nil, nonce: newNonce()}
	if !login.SignIn.IsZero() && login.Token.Access.IsZero() {
		a.ends = e.signIns.begin(login.ID)
		defer e.signIns.done(login.ID)
		if a.was, err = e.mayStore(ctx, login, expect); err == nil {
			err = t.check(login)
		}
		if err != nil {
			return Put{}, err // no login is made for what would not be stored
		}
		if a.was.Paused {
			a.login.AskedAt, a.later = e.clock.Now(), putOffBy(paused())
		} else if a.login, a.later, err = e.signIn(ctx, t, login); err != nil {
			return Put{}, err
		}
		if a.later != nil {
			a.login.Failed.Reason = a.later.Reason
		}
		// The backend may have begun a session, and ended the one before: that is
		// stored though nobody waits any more.
		caller := ctx
		a.signedIn, a.gone = true, func() error { return context.Cause(caller) }
		lasting, cancel := e.untilStopped(context.WithoutCancel(ctx))
		defer cancel()
		ctx = lasting
	}
	return e.arrive(ctx, a)
}

// mayStore returns what is stored under a login's ID, or why the login would not be
// stored there.
func (e *Engine) mayStore(ctx context.Context, login credential.Login, expect Expect) (credential.Record, error) {
	for {
		seen := e.barrier.sight()
		before, err := e.recorded(ctx, login.ID)
		if err != nil {
			return credential.Record{}, err
		}
		why := expect.met(before)
		if why == nil && before != nil {
			_, why = e.repeated(*before, login)
		}
		if why == nil {
			if before == nil {
				return credential.Record{}, nil
			}
			return before.Record, nil
		}
		switch stands, err := e.concludes(ctx, seen); {
		case err != nil:
			return credential.Record{}, err
		case stands:
			return credential.Record{}, why
		}
	}
}

// arrive stores a login, deciding again where the record has moved.
func (e *Engine) arrive(ctx context.Context, a arrival) (Put, error) {
	t := a.target
	for {
		seen := e.barrier.sight()
		before, err := e.recorded(ctx, a.login.ID)
		if err != nil {
			e.tellOrphan(a, err)
			return Put{}, err
		}
		now := e.clock.Now()
		same, err := e.admit(a, before, now)
		working := a.later != nil && before != nil && before.Record.ValidAt(now, 0)
		if err != nil || same || working {
			switch stands, unsure := e.concludes(ctx, seen); {
			case unsure != nil:
				e.tellOrphan(a, unsure)
				return Put{}, unsure
			case !stands:
				continue
			}
		}
		if err != nil {
			e.disown(ctx, a, before)
			e.tellUnstored(a, err)
			if errors.Is(err, errOvertaken) {
				return Put{Held: *before}, nil
			}
			return Put{}, err
		}
		if same {
			put, done, err := e.takeRepeat(ctx, t, *before, a.login.Subject, now)
			if err != nil || done {
				return put, err
			}
			continue
		}
		if working {
			return Put{}, a.later // a mistyped password must not end what works
		}
		login := a.login
		if !a.byOwner && t.Policy.AsksUserData && before != nil && before.UserData != nil && login.SameUser(*before) {
			login.UserData = nil // the call of its own is the source: what the login told only fills what is empty
		}
		write := credential.Connect(before, login, t.Policy, a.nonce, now)
		change := Change{Nonce: a.nonce, ID: login.ID, Kind: ChangePut, Grant: write.Record.Grant, At: now, Login: &login}
		written, err := e.change(ctx, change, write)
		if err != nil {
			e.tellOrphan(a, err)
			return Put{}, err
		}
		if written {
			held := write.Result(credential.Held{})
			if len(login.UserData) == 0 {
				e.meetUser(ctx, t, held)
			}
			created := before == nil || before.Record.State == credential.StateDeleted
			return Put{Held: held, Created: created, Missing: e.missing.brought(login, e.clock.Boot(), now)}, nil
		}
	}
}

// repeated reports whether login brings what is stored already.
func (e *Engine) repeated(h credential.Held, login credential.Login) (bool, error) {
	deleted := h.Record.State == credential.StateDeleted
	if login.Provider != h.Record.Provider && !deleted {
		return false, fmt.Errorf("%w: it belongs to provider %q; delete it first to store one of %q", ErrConflict, h.Record.Provider, login.Provider)
	}
	brought := login.Token.Refresh
	if !login.SignIn.IsZero() {
		return false, nil // its owner logs in, whatever came before
	}
	switch {
	case brought.IsZero():
		return !deleted && h.Token.Refresh.IsZero() && !h.Token.Access.IsZero() && login.Token.Access.Equal(h.Token.Access), nil
	case brought.Equal(h.Token.Refresh):
		if t, err := e.target(h.Record.Provider); err == nil && h.Record.Unasked() && t.Policy.CanReplace(h.Record) && !e.store.SpentBefore(h, brought) {
			return false, nil // nobody has used it, and it can be used now
		}
		return !h.Record.State.Terminal(), e.staleIf(h.Record.State.Terminal())
	case e.store.SpentBefore(h, brought):
		return false, ErrStaleToken
	default:
		return false, nil
	}
}

func (e *Engine) staleIf(stale bool) error {
	if stale {
		return ErrStaleToken
	}
	return nil
}

// Logout ends a credential at its owner's word and erases its secrets. One that
// is logged out already, or deleted, stays as it is, and a login that was given up
// before does not come back to it.
func (e *Engine) Logout(ctx context.Context, id credential.ID, expect Expect) (credential.Held, error) {
	return e.end(ctx, id, expect, ChangeLogout, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		return credential.Logout(h, nonce, now), h.Record.State != credential.StateLoggedOut
	}, false)
}

// Delete removes a credential. revoke also ends its tokens at the provider, as
// far as that can be done. Where there is none a login that was given up before
// does not bring one, unless another process has it under way and there is no
// tombstone either.
func (e *Engine) Delete(ctx context.Context, id credential.ID, expect Expect, revoke bool) error {
	_, err := e.end(ctx, id, expect, ChangeDelete, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		return credential.Delete(h, nonce, now), true
	}, revoke)
	return err
}

func (e *Engine) end(
	ctx context.Context, id credential.ID, expect Expect, kind ChangeKind,
	decide func(credential.Held, credential.Nonce, credential.Millis) (credential.Write, bool), revoke bool,
) (credential.Held, error) {
	leave, err := e.enter()
	if err != nil {
		return credential.Held{}, err
	}
	defer leave()
	if err := e.barrier.awaitSoon(ctx, passWrites); err != nil {
		return credential.Held{}, e.unavailable(err)
	}
	nonce := newNonce()
	for {
		seen := e.barrier.sight()
		before, err := e.recorded(ctx, id)
		if err != nil {
			return credential.Held{}, err
		}
		now := e.clock.Now()
		var write credential.Write
		wanted, why := false, expect.met(before)
		if why == nil && before != nil && before.Record.State != credential.StateDeleted {
			write, wanted = decide(*before, nonce, now)
		}
		if !wanted {
			switch stands, err := e.concludes(ctx, seen); {
			case err != nil:
				return credential.Held{}, err
			case !stands:
				continue
			}
		}
		switch {
		case errors.Is(why, ErrOtherSubject):
			return credential.Held{}, ErrNotFound // as far as this caller is concerned
		case why != nil:
			return credential.Held{}, why
		case before == nil:
			e.signIns.end(id)
			return credential.Held{}, ErrNotFound
		case !wanted:
			held, noted, err := e.noteRepeat(ctx, *before, now)
			switch {
			case err != nil:
				return credential.Held{}, err
			case !noted:
				continue
			case before.Record.State == credential.StateDeleted:
				return credential.Held{}, ErrNotFound
			}
			return held, nil
		}
		t, unknown := e.target(before.Record.Provider)
		change := Change{Nonce: nonce, ID: id, Kind: kind, Grant: write.Record.Grant, At: now}
		written, err := e.change(ctx, change, write)
		if err != nil {
			return credential.Held{}, err
		}
		if !written {
			continue
		}
		if unknown == nil && (revoke || t.LogsOut) {
			empty := before.Token.Refresh.IsZero() && before.Token.Access.IsZero()
			if !empty {
				e.revoke(ctx, t, before.Token)
			}
		}
		return write.Result(*before), nil
	}
}

// recorded reads what is stored under an ID, a tombstone too; nil if nothing is.
func (e *Engine) recorded(ctx context.Context, id credential.ID) (*credential.Held, error) {
	list, err := e.store.Load(ctx, id)
	if err != nil {
		return nil, e.unavailable(&outageError{err: err})
	}
	return list[0], nil
}

// met checks the condition on what is stored.
func (expect Expect) met(h *credential.Held) error {
	exists := h != nil && h.Record.State != credential.StateDeleted
	other := exists && !of(h.Record, expect.Subject)
	switch {
	case expect.Version != 0 && other:
		return fmt.Errorf("%w: it does not exist", ErrConflict)
	case other:
		return ErrOtherSubject
	case expect.Absent && exists:
		return fmt.Errorf("%w: it exists, at version %d", ErrConflict, h.Record.Version)
	case expect.Version != 0 && !exists:
		return fmt.Errorf("%w: it does not exist", ErrConflict)
	case expect.Version != 0 && h.Record.Version != expect.Version:
		return fmt.Errorf("%w: it is at version %d, not %d", ErrConflict, h.Record.Version, expect.Version)
	}
	return nil
}

// change journals and stores what an owner did, and reports whether it was
// stored: the record was still the one that it was decided on, now or, where the
// answer was lost and the store was asked again, the first time.
func (e *Engine) change(ctx context.Context, change Change, write credential.Write) (bool, error) {
	if err := e.journal.Note(ctx, change); err != nil {
		return false, e.unavailable(fmt.Errorf("journal: %w", err))
	}
	w := Written{Write: write, After: write.Result(credential.Held{})}
	status, err := e.applyNoted(ctx, w)
	if err != nil {
		// It may have been stored, and then it stays, whatever the store loses
		// now: the write as such is noted. More is not promised, for it is not
		// acknowledged.
		e.journal.Drop(change.Nonce)
		return false, e.unavailable(err)
	}
	switch status {
	case credential.StatusWritten:
		e.tokens.put(w.After)
	case credential.StatusOvertaken:
	default:
		e.journal.Drop(change.Nonce)
		return false, nil
	}
	e.ledger.retain(e.clock.Boot(), change.Nonce)
	e.stored(w)
	return true, nil
}

// applyNoted stores an owner's change that the journal has.
func (e *Engine) applyNoted(ctx context.Context, w Written) (credential.Status, error) {
	if err := failpoint.Hit(failpoint.OwnerNoted); err != nil {
		return "", err
	}
	status, err := e.applyOne(ctx, w)
	if err == nil {
		if failed := failpoint.Hit(failpoint.OwnerStored); failed != nil {
			err = &outageError{err: failed, unsure: true}
		}
	}
	return status, err
}

// replayChange stores what an owner did and was told had been done, should the
// store have lost it.
func (e *Engine) replayChange(ctx context.Context, r *reader, change Change) error {
	if err := failpoint.Hit(failpoint.ReplayChange); err != nil {
		return err
	}
	for {
		h, err := r.load(ctx, change.ID)
		if err != nil {
			return err
		}
		if h != nil && h.Record.Grant >= change.Grant {
			return nil
		}
		var write credential.Write
		switch change.Kind {
		case ChangePut:
			t, err := e.target(change.Login.Provider)
			if err != nil {
				return err
			}
			login := *change.Login
			if login.ExpiresAt == 0 && t.Policy.Sessions.Idle == 0 { // what was told in seconds counts from when it was brought
				login.ExpiresAt = change.At.Add(t.Policy.Lifetime(login.ExpiresIn, 0, change.At))
			}
			write = credential.Connect(h, login, t.Policy, change.Nonce, e.clock.Now())
		case ChangeLogout, ChangeDelete:
			if h == nil {
				return nil
			}
			write = credential.Logout(*h, change.Nonce, e.clock.Now())
			if change.Kind == ChangeDelete {
				write = credential.Delete(*h, change.Nonce, e.clock.Now())
			}
		default:
			return fmt.Errorf("unknown kind %d of an owner's change", change.Kind)
		}
		write.Record.Grant = max(write.Record.Grant, change.Grant)
		if done, err := r.replay(ctx, credential.Held{}, write); err != nil || done {
			return err
		}
	}
}
