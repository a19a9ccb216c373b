package refresh

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

// signIn logs in at the backend with what an owner brought, before anything is
// stored, and returns the login with the token that this brought. While the
// backend cannot be asked, it returns the login as it is: it is stored as
// pending then, and made as soon as that can be done.
//
// Errors: [ErrNoLogin]; a [LoginRefusedError].
func (e *Engine) signIn(ctx context.Context, t *Target, login credential.Login) (credential.Login, error) {
	if !t.Policy.CanLogin {
		return login, ErrNoLogin
	}
	allowed, err := e.breakers.allow(ctx, t.Name)
	if err != nil {
		return login, e.unavailable(err)
	}
	if allowed == blocked || allowed == onHold {
		return login, nil
	}
	permits, err := e.takePermits(ctx, t, 1)
	if err != nil {
		return login, nil // it is made later
	}
	defer permits.giveBack(ctx)
	if failed := t.Exchanger.Prepare(ctx); failed != nil {
		return putOff(login, *failed), nil
	}
	sentAt := e.clock.Now()
	started := e.clock.Boot()
	o := t.Exchanger.Exchange(context.WithoutCancel(ctx), credential.Presentation{
		Method: credential.MethodLogin, SignIn: login.SignIn, Subject: login.Subject,
		MaySend: func() error { return nil },
		Keep:    func(credential.Found) error { return nil }, // nobody was told yet that it is stored
	})
	o.Method = credential.MethodLogin
	e.metrics.exchanged(t.Name, o, e.clock.Boot()-started)
	level := zerolog.InfoLevel
	if o.Class == credential.ClassOK {
		level = zerolog.DebugLevel
	}
	e.log.WithLevel(level).Str("credential", string(login.ID)).Str("provider", t.Name).Str("class", string(o.Class)).
		Str("reason", string(o.Reason)).Str("detail", o.Detail).Msg("login of an owner")
	switch o.Class {
	case credential.ClassPermanent:
		e.breakers.accepted(ctx, t.Name)
		return login, &LoginRefusedError{Reason: o.Reason, Detail: o.Detail}
	case credential.ClassOperator:
		e.breakers.refused(ctx, t.Name, o)
		return putOff(login, o), nil
	case credential.ClassOK, credential.ClassNotSent, credential.ClassRateLimited, credential.ClassNotProcessed,
		credential.ClassTransient, credential.ClassAmbiguous, credential.ClassRefused:
	}
	if o.Token.Access.IsZero() {
		return putOff(login, o), nil
	}
	e.breakers.accepted(ctx, t.Name)
	login.Token, login.ExpiresIn, login.RefreshExpiresIn = o.Token, 0, o.RefreshExpiresIn
	login.ExpiresAt = 0
	if o.ExpiresIn > 0 || o.ExpiresAt > 0 {
		login.ExpiresAt = sentAt.Add(t.Policy.Lifetime(o.ExpiresIn, o.ExpiresAt, sentAt))
	}
	if login.Subject == "" {
		login.Subject = o.Subject
	}
	if login.UserData == nil {
		login.UserData = o.UserData
	}
	return login, nil
}

// putOff notes why a login brought no token yet.
func putOff(login credential.Login, o credential.Outcome) credential.Login {
	login.Failed = credential.Outcome{
		Method: credential.MethodLogin, Class: o.Class, Reason: o.Reason, Detail: o.Detail, RetryAfter: o.RetryAfter,
	}
	return login
}
