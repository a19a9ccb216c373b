package refresh

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

// signIn logs in at the backend with what an owner brought, before anything is
// stored, and returns the login with the token that this brought. Where it brought
// none for now, later says why: the login can be stored as pending then, and made
// as soon as that can be done. Its AskedAt is when the backend was asked, or, where
// it could not be, when that was to be done.
//
// Errors: [ErrNoLogin]; a [LoginRefusedError]; a [LoginUnclearError].
func (e *Engine) signIn(ctx context.Context, t *Target, login credential.Login) (_ credential.Login, later *LoginPutOffError, err error) {
	login.AskedAt = e.clock.Now()
	if !t.Policy.CanLogin {
		return login, nil, ErrNoLogin
	}
	allowed, err := e.breakers.allow(ctx, t.Name, login.ID)
	if err != nil {
		return login, nil, e.unavailable(err)
	}
	switch allowed {
	case blocked:
		return login, putOffBy(clientRefused()), nil
	case onHold:
		return login, putOffBy(paused()), nil
	case oneProbe, free:
	}
	permits, err := e.takePermits(ctx, t, 1)
	if err != nil {
		return login, putOffBy(err), nil // it is made later
	}
	defer permits.giveBack(ctx)
	if err := e.takeProbe(ctx, t, allowed, login.ID); err != nil {
		return login, putOffBy(err), nil
	}
	putOff := func(o credential.Outcome) (credential.Login, *LoginPutOffError, error) {
		login.Failed = credential.Outcome{
			Method: credential.MethodLogin, Class: o.Class, Reason: o.Reason, Detail: o.Detail, RetryAfter: o.RetryAfter,
		}
		return login, &LoginPutOffError{
			Reason: cmp.Or(o.Reason, credential.ReasonUnavailable), Detail: o.Detail,
			RetryAfter: max(o.RetryAfter, t.Policy.Backoff(login.ID, 1, 0)),
		}, nil
	}
	if failed := t.Exchanger.Prepare(ctx); failed != nil {
		return putOff(*failed)
	}
	login.AskedAt = e.clock.Now()
	sentAt := login.AskedAt
	started := e.clock.Boot()
	lasting := context.WithoutCancel(ctx)
	start := permits.start(lasting)
	var refused atomic.Pointer[error]
	o := t.Exchanger.Exchange(lasting, credential.Presentation{
		Method: credential.MethodLogin, SignIn: login.SignIn, Subject: login.Subject,
		Start: func() error {
			if start == nil {
				return nil
			}
			err := start()
			if err != nil {
				refused.Store(&err)
			}
			return err
		},
		MaySend: func() error { return nil },
		Keep:    func(credential.Found) error { return nil }, // nobody was told yet that it is stored
	})
	o.Method = credential.MethodLogin
	e.metrics.exchanged(t.Name, o, e.clock.Boot()-started)
	if why := refused.Load(); why != nil && o.Class == credential.ClassNotSent {
		return login, putOffBy(*why), nil
	}
	e.hold(ctx, t, o)
	level := zerolog.InfoLevel
	if o.Class == credential.ClassOK {
		level = zerolog.DebugLevel
	}
	e.log.WithLevel(level).Str("credential", string(login.ID)).Str("provider", t.Name).Str("class", string(o.Class)).
		Str("reason", string(o.Reason)).Str("detail", o.Detail).Msg("login of an owner")
	switch o.Class {
	case credential.ClassPermanent:
		e.breakers.accepted(ctx, t, login.ID)
		return login, nil, &LoginRefusedError{Reason: o.Reason, Detail: o.Detail}
	case credential.ClassOperator:
		_ = e.breakers.refused(ctx, t, login.ID, allowed == oneProbe, o) // it is put off either way
		return putOff(o)
	case credential.ClassRefused:
		if o.Token.Access.IsZero() {
			return login, nil, &LoginUnclearError{Reason: o.Reason, Detail: o.Detail, Missing: o.Missing}
		}
	case credential.ClassOK, credential.ClassNotSent, credential.ClassRateLimited, credential.ClassNotProcessed,
		credential.ClassTransient, credential.ClassAmbiguous:
	}
	if o.Token.Access.IsZero() {
		return putOff(o)
	}
	e.breakers.accepted(ctx, t, login.ID)
	login.Token, login.ExpiresIn, login.RefreshExpiresIn = o.Token, 0, o.RefreshExpiresIn
	login.ExpiresAt = 0
	if o.ExpiresIn > 0 || o.ExpiresAt > sentAt {
		login.ExpiresAt = sentAt.Add(t.Policy.Lifetime(o.ExpiresIn, o.ExpiresAt, sentAt))
	}
	login.Missing = o.Missing
	if login.Subject == "" {
		login.Subject = o.Subject
	}
	if login.UserData == nil {
		login.UserData = o.UserData
	}
	return login, nil, nil
}

// putOffBy tells of a login that was not even begun, and why.
func putOffBy(err error) *LoginPutOffError {
	if away, ok := errors.AsType[*UnavailableError](err); ok {
		return &LoginPutOffError{Reason: away.Reason, RetryAfter: away.RetryAfter}
	}
	return &LoginPutOffError{Reason: credential.ReasonStoreUnavailable, RetryAfter: time.Second}
}
