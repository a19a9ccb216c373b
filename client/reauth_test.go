package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

var errGaveUp = errors.New("the user gave up")

func TestReauthAtTheStart(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"reauth_required", "logged_out", "fresh_rejected", "not_refreshable"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			h.refuse(code)
			var reasons []string
			rt := h.client.Transport(sendingID, nil, client.WithReauth(func(_ context.Context, reason string) error {
				reasons = append(reasons, reason)
				h.signIn()
				return nil
			}))
			status, _ := h.get(t, &http.Client{Transport: rt})
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, []string{code}, reasons)
			assert.Equal(t, 1, h.seen[""])
		})
	}
}

func TestReauthAfterARejection(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"reauth_required", "logged_out", "fresh_rejected", "not_refreshable"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			var reasons []string
			rt := h.client.Transport(sendingID, nil, client.WithReauth(func(_ context.Context, reason string) error {
				reasons = append(reasons, reason)
				h.signIn()
				return nil
			}))
			c := &http.Client{Transport: rt}
			status, _ := h.get(t, c)
			require.Equal(t, http.StatusOK, status)
			h.expire()
			h.refuse(code)
			status, _ = h.get(t, c)
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, []string{code}, reasons)
			assert.Equal(t, 3, h.seen[""])
			_, exchanges := h.counts()
			assert.Zero(t, exchanges, "the token of the login was refreshed")
		})
	}
}

// Where a fresh token is refused and the user signs in for nothing, the caller
// gets the response.
func TestReauthThatChangesNothing(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	logins := 0
	rt := h.client.Transport(sendingID, nil, client.WithReauth(func(context.Context, string) error {
		logins++
		return nil
	}))
	_, err := h.client.Token(t.Context(), sendingID)
	require.NoError(t, err)
	h.expire()
	h.refuse("fresh_rejected")
	status, body := h.get(t, &http.Client{Transport: rt})
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Equal(t, "who are you?\n", body)
	assert.Equal(t, []int{1, 1}, []int{logins, h.seen[""]})
}

func TestReauthThatFails(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	rt := h.client.Transport(sendingID, nil, client.WithReauth(func(context.Context, string) error { return errGaveUp }))
	c := &http.Client{Transport: rt}
	for _, rejected := range []bool{false, true} {
		if rejected {
			h.refuse("")
			_, err := h.client.Token(t.Context(), sendingID)
			require.NoError(t, err)
			h.expire()
		}
		h.refuse("reauth_required")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.resource.URL, nil)
		require.NoError(t, err)
		_, err = c.Do(req) //nolint:bodyclose // there is none with an error
		require.ErrorIs(t, err, errGaveUp)
		require.ErrorIs(t, err, client.ErrReauthRequired)
		needs, ok := errors.AsType[*client.ReauthError](err)
		require.True(t, ok)
		assert.Equal(t, sendingID, needs.ID)
		assert.Equal(t, "invalid_grant", needs.Reason)
	}
}

// Nobody is asked to sign in for a request that cannot be sent again: its
// caller gets the response, and the next request asks.
func TestReauthNotForAStream(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	logins := 0
	c := &http.Client{Transport: h.client.Transport(sendingID, nil, client.WithReauth(func(context.Context, string) error {
		logins++
		h.signIn()
		return nil
	}))}
	_, err := h.client.Token(t.Context(), sendingID)
	require.NoError(t, err)
	h.expire()
	h.refuse("reauth_required")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.resource.URL, io.MultiReader(strings.NewReader("x")))
	require.NoError(t, err)
	res, err := c.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	assert.Zero(t, logins)
	status, _ := h.get(t, c)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, 1, logins)
}

// waitingLogin is a login that goes on until it is told to end.
type waitingLogin struct {
	began  chan struct{}
	answer chan error
	calls  atomic.Int64
	cause  error // why its context ended
}

func (l *waitingLogin) sign(ctx context.Context, _ string) error {
	l.calls.Add(1)
	l.began <- struct{}{}
	select {
	case err := <-l.answer:
		return err
	case <-ctx.Done():
		l.cause = context.Cause(ctx)
		return l.cause
	}
}

func setupLogin(t *testing.T) (*sendingHouse, *waitingLogin) {
	t.Helper()
	h := setupSending(t)
	h.refuse("reauth_required")
	return h, &waitingLogin{began: make(chan struct{}), answer: make(chan error)}
}

// send begins a request in the background and returns where its end is told.
func (h *sendingHouse) sendLater(ctx context.Context, t *testing.T, rt http.RoundTripper) <-chan error {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.resource.URL, nil)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		res, err := rt.RoundTrip(req)
		if err == nil {
			err = res.Body.Close()
		}
		ended <- err
	}()
	return ended
}

// Whoever asked first may go: the login goes on for the others.
func TestReauthOutlivesTheFirst(t *testing.T) {
	t.Parallel()
	h, login := setupLogin(t)
	rt := h.client.Transport(sendingID, nil, client.WithReauth(login.sign))
	first, leave := context.WithCancelCause(t.Context())
	one := h.sendLater(first, t, rt)
	<-login.began

	// Another transport of the same credential shares the login.
	other := h.client.Transport(sendingID, nil, client.WithReauth(func(context.Context, string) error {
		t.Error("there is a second login")
		return nil
	}))
	waits := &waitingContext{Context: t.Context(), waited: make(chan struct{}), after: 2}
	two := h.sendLater(waits, t, other)
	<-waits.waited

	leave(errGaveUp)
	require.ErrorIs(t, <-one, errGaveUp)
	h.signIn()
	login.answer <- nil
	require.NoError(t, <-two)
	assert.Equal(t, int64(1), login.calls.Load())
}

// waitingContext tells when its Done was asked for so many times, of which the
// last is that of who waits for a login.
type waitingContext struct {
	context.Context //nolint:containedctx // it is one

	mu     sync.Mutex
	after  int
	waited chan struct{}
}

func (c *waitingContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after--; c.after == 0 {
		close(c.waited)
	}
	return c.Context.Done()
}

// A login that nobody waits for ends, and the next request begins another one,
// once that has ended.
func TestReauthThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	h, login := setupLogin(t)
	rt := h.client.Transport(sendingID, nil, client.WithReauth(login.sign))
	first, leave := context.WithCancel(t.Context())
	one := h.sendLater(first, t, rt)
	<-login.began
	leave()
	require.ErrorIs(t, <-one, context.Canceled)

	two := h.sendLater(t.Context(), t, rt)
	<-login.began
	require.Error(t, login.cause, "the first login has not ended")
	h.signIn()
	login.answer <- nil
	require.NoError(t, <-two)
	assert.Equal(t, int64(2), login.calls.Load())
}

func TestReauthEndsWithTheClient(t *testing.T) {
	t.Parallel()
	h, login := setupLogin(t)
	rt := h.client.Transport(sendingID, nil, client.WithReauth(login.sign))
	one := h.sendLater(t.Context(), t, rt)
	<-login.began
	require.NoError(t, h.client.Close())
	require.ErrorIs(t, login.cause, client.ErrClosed)
	require.ErrorIs(t, <-one, client.ErrClosed)
	require.ErrorIs(t, <-h.sendLater(t.Context(), t, rt), client.ErrClosed)
	assert.Equal(t, int64(1), login.calls.Load())
}

// A login that sends a request of its own over the transport does not wait for
// itself.
func TestReauthFromWithin(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	h.refuse("reauth_required")
	var rt http.RoundTripper
	var within error
	rt = h.client.Transport(sendingID, nil, client.WithReauth(func(ctx context.Context, _ string) error {
		within = <-h.sendLater(ctx, t, rt)
		h.signIn()
		return nil
	}))
	require.NoError(t, <-h.sendLater(t.Context(), t, rt))
	require.ErrorIs(t, within, client.ErrReauthRequired)
}

// What was asked before the login does not answer what is asked after it.
func TestReauthPassesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	h.refuse("reauth_required")
	asked, answered := make(chan struct{}), make(chan struct{})
	var signing, signed atomic.Bool
	var once, again sync.Once
	h.onRead = func() {
		switch {
		case signed.Load():
			again.Do(func() { close(answered) })
		case signing.Load(): // its answer was made before the login, and comes after
			once.Do(func() { close(asked) })
			<-answered
		}
	}
	ended := make(chan struct{})
	rt := h.client.Transport(sendingID, nil, client.WithReauth(func(ctx context.Context, _ string) error {
		signing.Store(true)
		go func() {
			defer close(ended)
			_, _ = h.client.Token(context.WithoutCancel(ctx), sendingID) // either answer will do
		}()
		<-asked
		h.signIn()
		signed.Store(true)
		return nil
	}))
	status, _ := h.get(t, &http.Client{Transport: rt})
	assert.Equal(t, http.StatusOK, status)
	<-ended
}
