package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// codeNotRefreshable is the code of a problem that is no state: there is no
// refresh token and no login.
const codeNotRefreshable = "not_refreshable"

// mends reports whether the user is to be asked to mend an error.
func (t *Transport) mends(err error) bool { return t.reauth != nil && reasonOf(err) != "" }

// reasonOf returns why only the user can mend an error, "" if that is not so.
func reasonOf(err error) string {
	if needs, ok := errors.AsType[*ReauthError](err); ok {
		return needs.Code
	}
	if errors.Is(err, ErrNotRefreshable) {
		return codeNotRefreshable
	}
	return ""
}

// signIn has the user sign in because of cause, unless a login has ended since
// seen, and returns what came of it.
func (t *Transport) signIn(ctx context.Context, cause error, seen uint64) error {
	if ctx.Value(signingIn{t.usage}) != nil {
		return cause // it is the login itself that asks
	}
	reason := reasonOf(cause)
	sign := func(ctx context.Context) error {
		err := t.reauth(context.WithValue(ctx, signingIn{t.usage}, true), reason)
		if err == nil {
			// What was asked before is not the answer any more.
			t.client.slots.of(t.client, t.usage.id).renounce(0)
		}
		return err
	}
	err := t.usage.login.pass(ctx, seen, t.client.spawn, sign)
	if err != nil {
		return fmt.Errorf("signing in again: %w: %w", err, cause)
	}
	return nil
}

// signingIn is the context key of the login of a credential.
type signingIn struct{ usage *usage }

// errNobody ends a login that nobody waits for any more.
var errNobody = errors.New("nobody waits for it any more")

// gate lets one login of a credential happen at a time.
type gate struct {
	ended atomic.Uint64 // logins that have ended, but for those that nobody waited for

	mu   sync.Mutex
	last error  // of the last of them
	now  *login // the one under way
}

// login is one call of the function that WithReauth was given.
type login struct {
	done    chan struct{}
	err     error // set before done closes
	cancel  context.CancelCauseFunc
	waiting int
	left    bool // nobody waits any more: it was told to end
}

// pass returns the outcome of a login: of the last if one has ended since that
// many had, of the one that is under way, or of a new one. It waits no longer
// than ctx.
func (g *gate) pass(ctx context.Context, seen uint64, spawn func(func(context.Context)) bool, sign func(context.Context) error) error {
	for {
		l, err := g.join(ctx, seen, spawn, sign)
		if l == nil {
			return err
		}
		select {
		case <-l.done:
			if !g.abandoned(l) {
				return l.err
			}
		case <-ctx.Done():
			g.leave(l)
			return ended(ctx, ctx.Err())
		}
	}
}

// join returns the login to wait for, or the outcome if there is none.
func (g *gate) join(ctx context.Context, seen uint64, spawn func(func(context.Context)) bool, sign func(context.Context) error) (*login, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended.Load() > seen {
		return nil, g.last
	}
	if l := g.now; l != nil {
		l.waiting++
		return l, nil
	}
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	l := &login{done: make(chan struct{}), cancel: cancel, waiting: 1}
	if !spawn(func(life context.Context) { g.run(own, life, l, sign) }) {
		cancel(ErrClosed)
		return nil, ErrClosed
	}
	g.now = l
	return l, nil
}

// run makes a login, which the client's end ends too.
func (g *gate) run(ctx, life context.Context, l *login, sign func(context.Context) error) {
	stop := context.AfterFunc(life, func() { l.cancel(ErrClosed) })
	defer stop()
	defer l.cancel(nil)
	err := sign(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	l.err = err
	g.now = nil
	if !l.left || err == nil {
		g.last = err
		g.ended.Add(1)
	}
	close(l.done)
}

// leave is for those who wait no longer. A login that nobody waits for is told
// to end; whoever comes meanwhile waits for that.
func (g *gate) leave(l *login) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.waiting--; l.waiting == 0 && g.now == l {
		l.left = true
		l.cancel(errNobody)
	}
}

// abandoned reports whether the outcome of a login that has ended tells nothing,
// because it was told to end.
func (g *gate) abandoned(l *login) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return l.left && l.err != nil
}
