package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/store"
)

func TestErrorsOfTheEngineInTheAPIsWords(t *testing.T) {
	t.Parallel()
	refused := errors.New("dial 10.0.0.7:6379: canary of an address")
	for name, row := range map[string]struct {
		err  error
		want api.FaultError // Detail is compared where it is set
	}{
		"not found":        {refresh.ErrNotFound, api.FaultError{Kind: api.FaultNotFound}},
		"unknown provider": {refresh.ErrUnknownProvider, api.FaultError{Kind: api.FaultUnknownProvider}},
		"stale token":      {refresh.ErrStaleToken, api.FaultError{Kind: api.FaultStaleToken}},
		"no login": {refresh.ErrNoLogin, api.FaultError{
			Kind: api.FaultNoLogin, Detail: "this provider takes no name and password: its settings have no login call; send a token that it has issued, or declare login for this provider in config.yaml",
		}},
		"login refused": {
			&refresh.LoginRefusedError{Reason: credential.ReasonLoginRefused, Detail: "HTTP 401"},
			api.FaultError{
				Kind: api.FaultLoginRefused, Reason: credential.ReasonLoginRefused,
				Detail: "the backend does not take this user name and password; nothing was stored (HTTP 401)",
			},
		},
		"account locked": {
			&refresh.LoginRefusedError{Reason: credential.ReasonAccountLocked},
			api.FaultError{Kind: api.FaultLoginRefused, Reason: credential.ReasonAccountLocked},
		},
		"login wants the user": {
			&refresh.LoginRefusedError{Reason: credential.ReasonInteractionRequired},
			api.FaultError{Kind: api.FaultLoginRefused, Reason: credential.ReasonInteractionRequired},
		},
		"login refused in its own words": {
			&refresh.LoginUnclearError{Reason: credential.ReasonInvalidRequest, Detail: "HTTP 422"},
			api.FaultError{
				Kind: api.FaultLoginRefused, Reason: credential.ReasonInvalidRequest,
				Detail: "the backend refused the login request (HTTP 422), and not in words that are known to mean a wrong user name or password; " +
					"nothing was stored or changed, and it is not sent again by itself. See that both are right; " +
					"if they are, compare login.request with what the backend wants. What a refusal looks like can be told in login.failed_when",
			},
		},
		"login without its token": {
			&refresh.LoginUnclearError{
				Reason: credential.ReasonMalformedReply, Detail: "HTTP 303, a redirect to another page, access_token (cookie sid) was not found",
				Missing: []credential.Absence{{Name: "access_token", Place: "cookie sid", Why: "was not found", Beside: []string{"SID", "theme"}}},
			},
			api.FaultError{
				Kind: api.FaultLoginRefused, Reason: credential.ReasonMalformedReply,
				Detail: "the backend answered the login (HTTP 303, a redirect to another page), but the reply did not have the declared cookie sid; it set: SID, theme. " +
					"Nothing was stored or changed, and it is not sent again by itself. See that user name and password are right; " +
					"if they are, compare login.response with what the backend answers: refreshd provider check. What a refusal looks like can be told in login.failed_when",
			},
		},
		"paused": {
			&refresh.UnavailableError{Reason: credential.ReasonPaused, RetryAfter: time.Minute},
			api.FaultError{Kind: api.FaultUnavailable, Reason: credential.ReasonPaused, RetryAfter: time.Minute},
		},
		"login put off": {
			&refresh.LoginPutOffError{Reason: credential.ReasonUnavailable, RetryAfter: 2 * time.Second, Detail: "HTTP 503"},
			api.FaultError{
				Kind: api.FaultUnavailable, Reason: credential.ReasonUnavailable, RetryAfter: 2 * time.Second,
				Detail: "this login cannot be made now (provider_unavailable: HTTP 503), and nothing was changed: " +
					"the login and the token that are stored are kept, and that token still works. The login has to be sent again",
			},
		},
		"login put off by a pause": {
			&refresh.LoginPutOffError{Reason: credential.ReasonPaused, RetryAfter: time.Minute},
			api.FaultError{Kind: api.FaultUnavailable, Reason: credential.ReasonPaused, RetryAfter: time.Minute},
		},
		"no session":      {refresh.ErrNoSession, api.FaultError{Kind: api.FaultNoSession}},
		"dead on arrival": {refresh.ErrDeadOnArrival, api.FaultError{Kind: api.FaultDeadOnArrival}},
		"a value that is missing": {
			&provider.ValueError{Provider: "shop", Name: "access_token", Request: "refresh.request"},
			api.FaultError{
				Kind: api.FaultInvalid, Detail: "is missing, and refresh.request of provider shop needs {{.access_token}}: send it as well",
			},
		},
		"a value that does not fit": {
			&provider.ValueError{Provider: "shop", Name: "refresh_token", Request: "refresh.request.headers.X-Refresh", Why: "has a control character"},
			api.FaultError{
				Kind: api.FaultInvalid, Detail: "does not fit refresh.request.headers.X-Refresh of provider shop: it has a control character; " +
					"send another one, or have the settings send it where it fits",
			},
		},
		"conflict":         {refresh.ErrConflict, api.FaultError{Kind: api.FaultConflict}},
		"not refreshable":  {refresh.ErrNotRefreshable, api.FaultError{Kind: api.FaultNotRefreshable}},
		"fresh rejected":   {refresh.ErrFreshRejected, api.FaultError{Kind: api.FaultFreshRejected}},
		"stopping":         {refresh.ErrStopping, api.FaultError{Kind: api.FaultUnavailable}},
		"cursor of a list": {store.ErrBadCursor, api.FaultError{Kind: api.FaultBadCursor}},
		"cursor of events": {event.ErrBadCursor, api.FaultError{Kind: api.FaultBadCursor}},
		"state": {
			&refresh.StateError{State: credential.StateReauthRequired, Reason: credential.ReasonInvalidGrant, Since: noon},
			api.FaultError{Kind: api.FaultState, State: credential.StateReauthRequired, Reason: credential.ReasonInvalidGrant, Since: noon},
		},
		"logged out": {
			&refresh.StateError{State: credential.StateLoggedOut, Reason: credential.ReasonOwner, Since: noon},
			api.FaultError{Kind: api.FaultState, State: credential.StateLoggedOut, Reason: credential.ReasonOwner, Since: noon},
		},
		"deleted": {
			&refresh.StateError{State: credential.StateDeleted, Reason: credential.ReasonOwner, Since: noon},
			api.FaultError{Kind: api.FaultNotFound, Detail: refresh.ErrNotFound.Error()},
		},
		"min_ttl": {
			&refresh.MinTTLError{Asked: time.Hour, Longest: 54 * time.Second},
			api.FaultError{Kind: api.FaultMinTTL, Detail: "min_ttl is 1h0m0s, but this credential's tokens live too short for more than 54s"},
		},
		"unavailable": {
			&refresh.UnavailableError{Reason: credential.ReasonNetwork, RetryAfter: 3 * time.Second, Err: refused},
			api.FaultError{
				Kind: api.FaultUnavailable, Reason: credential.ReasonNetwork, RetryAfter: 3 * time.Second,
				Err: refused, Detail: "it cannot be done now (network): " + outage(credential.ReasonNetwork, ""),
			},
		},
		"a dead login": {
			refresh.ErrDeadLogin,
			api.FaultError{Kind: api.FaultLoginRefused, Reason: credential.ReasonMalformedReply, Detail: refresh.ErrDeadLogin.Error()},
		},
		"without an answer": {
			&refresh.UnavailableError{Reason: credential.ReasonStoreUnavailable, RetryAfter: time.Second, Err: refused, Unsure: true},
			api.FaultError{
				Kind: api.FaultUnavailable, Reason: credential.ReasonStoreUnavailable, RetryAfter: time.Second,
				Err: refused, Detail: "it is not known whether this was done (look, or send it again), for an answer of Redis is missing",
			},
		},
		"full": {&store.FullError{Max: 10_000}, api.FaultError{Kind: api.FaultFull, Detail: (&store.FullError{Max: 10_000}).Error()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, err := range []error{row.err, fmt.Errorf("put: %w", row.err)} {
				got, ok := errors.AsType[*api.FaultError](fault(err))
				require.True(t, ok)
				assert.Equal(t, row.want.Kind, got.Kind)
				assert.Equal(t, row.want.State, got.State)
				assert.Equal(t, row.want.Reason, got.Reason)
				assert.Equal(t, row.want.Since, got.Since)
				assert.Equal(t, row.want.RetryAfter, got.RetryAfter)
				require.NotEmpty(t, got.Detail)
				if row.want.Detail != "" {
					assert.Equal(t, row.want.Detail, got.Detail)
				}
				if row.want.Err != nil {
					require.ErrorIs(t, got, row.want.Err, "for the log")
				}
				assert.NotContains(t, got.Detail, "canary", "not for the caller")
			}
		})
	}
}

func TestFullStoreIsToldOutOfAListOfErrors(t *testing.T) {
	t.Parallel()
	// As the store's write of one credential comes back through the engine.
	err := &refresh.UnavailableError{Err: &store.ItemsError{
		IDs: []credential.ID{"user:one"}, Errs: []error{&store.FullError{Max: 1}},
	}}
	got, ok := errors.AsType[*api.FaultError](fault(err))
	require.True(t, ok)
	assert.Equal(t, api.FaultFull, got.Kind)
}

func TestOtherErrorsStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	require.NoError(t, fault(nil))
	strange := errors.New("strange")
	assert.Equal(t, strange, fault(strange), "the API conceals it")
}

// Whoever does not know whether his token was stored may send it again, and is told
// what it means if it is refused then. Without a refresh token it cannot be.
func TestTheSecondSendingOfATokenMayBeRefused(t *testing.T) {
	t.Parallel()
	const again = "409 stale_token then means that this refresh token was stored before"
	token := credential.Login{Token: credential.Token{Access: credential.NewSecret("canary-a"), Refresh: credential.NewSecret("canary-r")}}
	unsure := &refresh.UnavailableError{Reason: credential.ReasonStoreUnavailable, RetryAfter: time.Second, Unsure: true}
	got, ok := errors.AsType[*api.FaultError](unstored(unsure, token))
	require.True(t, ok)
	assert.Contains(t, got.Detail, "it is not known whether this was done (look, or send it again: "+again)
	assert.NotContains(t, got.Detail, "canary")
	assert.Equal(t, time.Second, got.RetryAfter)
	token.Token.Refresh = credential.Secret{}
	require.NotContains(t, unstored(unsure, token).Error(), again)
	require.NotContains(t, unstored(&refresh.UnavailableError{Reason: credential.ReasonStoreUnavailable}, token).Error(), again)
	require.ErrorContains(t, unstored(refresh.ErrStaleToken, token), refresh.ErrStaleToken.Error())
	assert.NoError(t, unstored(nil, token))
}

// Whoever gets no token is told of which provider, and what to do; whoever asked
// for something else is not told of tokens.
func TestOutagesNameProviderAndRemedy(t *testing.T) {
	t.Parallel()
	e := apiEngine{providerOf: func(context.Context, credential.ID) string { return "acme" }}
	usual := outage("", "")
	for _, reason := range []credential.Reason{
		credential.ReasonUnavailable, credential.ReasonNetwork, credential.ReasonTimeout, credential.ReasonRateLimited,
		credential.ReasonClientMisconfigured, credential.ReasonInvalidRequest, credential.ReasonMalformedReply,
	} {
		err := &refresh.UnavailableError{Reason: reason}
		got := e.unserved(t.Context(), "user:one", err).Error()
		assert.Contains(t, got, "no valid token can be had now ("+string(reason)+"): ")
		assert.Contains(t, got, "provider acme")
		assert.NotContains(t, got, usual)
		assert.NotContains(t, fault(err).Error(), "token")
	}
	for _, reason := range []credential.Reason{credential.ReasonPaused, credential.ReasonStoreUnavailable, credential.ReasonOwnerDied} {
		assert.NotEqual(t, usual, outage(reason, ""))
	}
	// Once it is proven that a process has died nobody waits for it or its machine.
	for doubt, remedy := range map[bool]string{false: "bring it back", true: "Nothing has to be done"} {
		err := &refresh.UnavailableError{Reason: credential.ReasonOwnerDied, Doubt: doubt}
		for _, got := range []error{fault(err), e.unserved(t.Context(), "user:one", err)} {
			require.ErrorContains(t, got, remedy)
			assert.Equal(t, doubt, !strings.Contains(got.Error(), "kill"), got)
		}
	}
	// What wrong settings have brought about is not asked for again by new ones.
	for _, reason := range []credential.Reason{credential.ReasonInvalidRequest, credential.ReasonMalformedReply} {
		assert.Contains(t, outage(reason, "acme"), "send SIGHUP; then refreshd refresh ID asks at once, for each that waits")
	}
	// The reason is the same where a request was only too early.
	assert.Contains(t, outage(credential.ReasonUnavailable, ""), "still at work on an earlier request; it is asked again by itself, in a moment")
	for cause, want := range map[error]string{
		journal.ErrNoRoom: "the journal has no room", journal.ErrBroken: "the journal cannot be written; look at the disk of data_dir",
		journal.ErrStalled: "the disk of the journal does not answer; look at the disk of data_dir",
	} {
		err := &refresh.UnavailableError{Reason: credential.ReasonStoreUnavailable, Err: fmt.Errorf("somewhere: %w", cause)}
		for _, got := range []error{fault(err), e.unserved(t.Context(), "user:one", err)} {
			require.ErrorContains(t, got, "now: "+want)
			assert.NotContains(t, got.Error(), "Redis")
		}
	}
	assert.Contains(t, e.unserved(t.Context(), "user:one", refresh.ErrNotFound).Error(), "no credential has the ID user:one")
	assert.NoError(t, e.unserved(t.Context(), "user:one", nil))
}
