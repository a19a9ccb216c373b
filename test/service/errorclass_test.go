package service

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

// What may follow from a reply.
const (
	asksTheUser  = "reauth_required" // permanent: no call is made any more
	keepsGoing   = "degraded"        // a failure of the backend: later again, or not while it is in doubt
	asksOperator = "active"          // the breaker opens, and the credential stays as it is
)

// again is how often a call is made that failed.
type again int

const (
	// never: no due time is left, or none for minutes; one that asks for the
	// operator has the breaker's probe, once a minute. There is one call.
	never again = iota
	// later: again at the due time that the failure leaves, not before, which is
	// after 2 s at the least (give or take a tenth).
	later
)

const (
	// farAway is how far from a failure the due time is at least of what is not
	// made again for now: a Retry-After of ten minutes, or the longest one.
	farAway = 9 * time.Minute
	// probeWait is how long after a refusal the breaker's first probe is made at
	// the earliest, which is a minute.
	probeWait = 50 * time.Second
	// notForEver is how far from a failure the due time is at the most, whatever a
	// Retry-After says: a day and what is added to it.
	notForEver = 27 * time.Hour
)

// misreply is a reply that is no success, and what has to follow from it.
type misreply struct {
	name  string
	call  backends.Call
	kind  backends.Kind // "" is bearer, or header for a use
	fault backends.Fault
	more  map[string]any // of the provider's settings

	state  string
	reason string // of the state and its event, of the last failure, or of the breaker
	again  again
}

func jsonReply(status int, body string) backends.Fault {
	return backends.Fault{Reply: &backends.Reply{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: body}}
}

func errorReply(status int, code string) backends.Fault {
	return jsonReply(status, fmt.Sprintf(`{"error":%q}`, code))
}

func pageReply(status int, header ...string) backends.Fault {
	r := &backends.Reply{Status: status, Header: map[string]string{"Content-Type": "text/html"}, Body: `<html><form action="/login"><input name="u"><input type="password" name="p"></form></html>`}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header[header[i]] = header[i+1]
	}
	return backends.Fault{Reply: r}
}

func pageless(status int, name, value string) backends.Fault {
	return backends.Fault{Reply: &backends.Reply{Status: status, Header: map[string]string{name: value}}}
}

const unauthenticated = `{"errors":[{"message":"x","extensions":{"code":"UNAUTHENTICATED"}}],"data":null}`

func quick(f backends.Fault) (backends.Fault, map[string]any) {
	return f, map[string]any{"timeout": "1s"}
}

func limited(retryAfter string) backends.Fault {
	return backends.Fault{Reply: &backends.Reply{Status: 429, Header: map[string]string{"Retry-After": retryAfter}}}
}

func plain(f backends.Fault) backends.Fault {
	f.Reply.Header["Content-Type"] = "text/plain"
	return f
}

func misreplies() []misreply {
	slow, short := quick(backends.Fault{Hold: 4 * time.Second})
	const refresh, login, use = backends.CallRefresh, backends.CallLogin, backends.CallUse
	busy := map[string]any{"errors": []any{map[string]any{"status": 400, "error": "invalid_grant", "description": "*already being processed*", "class": "transient"}}}
	own := map[string]any{"errors": []any{map[string]any{"status": 409, "class": "permanent"}}}
	return []misreply{
		// A refresh token. What came of a failure is not known: it is not presented
		// again, for the token rotates and its last moment is far away.
		{"invalid_grant", refresh, "", errorReply(400, "invalid_grant"), nil, asksTheUser, "invalid_grant", never},
		{"bad_refresh_token", refresh, "", errorReply(400, "bad_refresh_token"), nil, asksTheUser, "invalid_grant", never},
		{"a bare 401", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 401}}, nil, asksTheUser, "invalid_grant", never},
		{"a bare 403", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 403}}, nil, asksTheUser, "invalid_grant", never},
		{"an error at 200", refresh, "", errorReply(200, "bad_refresh_token"), nil, asksTheUser, "invalid_grant", never},
		{"ok false at 200", refresh, "", jsonReply(200, `{"ok":false,"error":"invalid_refresh_token"}`), nil, asksTheUser, "invalid_grant", never},
		{"BAD_REFRESH_TOKEN", refresh, "", jsonReply(400, `{"status":"BAD_REFRESH_TOKEN","message":"missing or unknown refresh token"}`), nil, asksTheUser, "invalid_grant", never},
		{"code 190", refresh, "", jsonReply(400, `{"error":{"message":"expired","type":"OAuthException","code":190,"error_subcode":463}}`), nil, asksTheUser, "invalid_grant", never},
		{"login_required", refresh, "", errorReply(400, "login_required"), nil, asksTheUser, "interaction_required", never},
		{"MFA", refresh, "", errorReply(400, "mfa_required"), nil, asksTheUser, "interaction_required", never},
		{"declared as permanent", refresh, "", errorReply(409, "gone"), own, asksTheUser, "invalid_grant", never},
		{"interaction_required", refresh, "", errorReply(400, "interaction_required"), nil, asksTheUser, "interaction_required", never},
		{"consent_required", refresh, "", errorReply(400, "consent_required"), nil, asksTheUser, "consent_required", never},
		{"already being processed", refresh, "", jsonReply(400, `{"error":"invalid_grant","error_description":"token request is already being processed"}`), busy, keepsGoing, "provider_unavailable", later},
		{"a page at 200", refresh, "", pageReply(200), nil, keepsGoing, "malformed_reply", never},
		{"nothing at 200", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 200}}, nil, keepsGoing, "malformed_reply", never},
		{"broken JSON at 200", refresh, "", jsonReply(200, `{"tok`), nil, keepsGoing, "malformed_reply", never},
		{"invalid_request", refresh, "", errorReply(400, "invalid_request"), nil, keepsGoing, "invalid_request", later},
		{"invalid_grant in plain text", refresh, "", plain(errorReply(400, "invalid_grant")), nil, asksTheUser, "invalid_grant", never},
		{"refresh_token_already_used", refresh, "", errorReply(400, "refresh_token_already_used"), nil, asksTheUser, "invalid_grant", never},
		{"internal_error at 200", refresh, "", jsonReply(200, `{"ok":false,"error":"internal_error"}`), nil, keepsGoing, "provider_unavailable", never},
		{"429", refresh, "", limited("600"), nil, keepsGoing, "rate_limited", never},
		{"429 until a date", refresh, "", limited(time.Now().Add(15 * time.Minute).UTC().Format(http.TimeFormat)), nil, keepsGoing, "rate_limited", never},
		{"429 until a date that has passed", refresh, "", limited(time.Now().Add(-15 * time.Minute).UTC().Format(http.TimeFormat)), nil, keepsGoing, "rate_limited", later},
		{"429 for ages", refresh, "", limited("999999999999999999999"), nil, keepsGoing, "rate_limited", never},
		{"429 for a negative time", refresh, "", limited("-600"), nil, keepsGoing, "rate_limited", later},
		{"429 with nonsense", refresh, "", limited("soon"), nil, keepsGoing, "rate_limited", later},
		{"429 without a time", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 429}}, nil, keepsGoing, "rate_limited", later},
		{"slow_down", refresh, "", errorReply(400, "slow_down"), nil, keepsGoing, "rate_limited", later},
		{"408", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 408}}, nil, keepsGoing, "provider_unavailable", never},
		{"500", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 500}}, nil, keepsGoing, "provider_unavailable", never},
		{"a page at 502", refresh, "", pageReply(502), nil, keepsGoing, "provider_unavailable", never},
		{"423", refresh, "", errorReply(423, "nope"), nil, keepsGoing, "invalid_request", later},
		{"503", refresh, "", errorReply(503, "server_error"), nil, keepsGoing, "provider_unavailable", never},
		{"temporarily_unavailable", refresh, "", errorReply(400, "temporarily_unavailable"), nil, keepsGoing, "provider_unavailable", never},
		{"server_error at 400", refresh, "", errorReply(400, "server_error"), nil, keepsGoing, "provider_unavailable", never},
		{"a bare ok false at 200", refresh, "", jsonReply(200, `{"ok":false}`), nil, keepsGoing, "malformed_reply", never},
		{"a reply cut off", refresh, "", backends.Fault{Cut: true}, nil, keepsGoing, "network", never},
		{"a connection reset", refresh, "", backends.Fault{Reset: true}, nil, keepsGoing, "network", never},
		{"a reply too late", refresh, "", slow, short, keepsGoing, "timeout", never},
		{"a body without end", refresh, "", jsonReply(200, strings.Repeat(" ", 2<<20)), nil, keepsGoing, "malformed_reply", never},
		{bodyCut, refresh, "", backends.Fault{}, nil, keepsGoing, "network", never},
		{bodyStops, refresh, "", backends.Fault{}, short, keepsGoing, "timeout", never},
		{noName, refresh, "", backends.Fault{}, nil, keepsGoing, "network", later},
		{nobody, refresh, "", backends.Fault{}, nil, keepsGoing, "network", later},
		{noTLS, refresh, "", backends.Fault{}, nil, keepsGoing, "network", later},
		{resetEarly, refresh, "", backends.Fault{}, nil, keepsGoing, "network", later},
		{"invalid_client", refresh, "", errorReply(401, "invalid_client"), nil, asksOperator, "client_misconfigured", never},
		{"incorrect_client_credentials at 200", refresh, "", errorReply(200, "incorrect_client_credentials"), nil, asksOperator, "client_misconfigured", never},
		{"bad_client_secret at 200", refresh, "", jsonReply(200, `{"ok":false,"error":"bad_client_secret"}`), nil, asksOperator, "client_misconfigured", never},
		{badTLS, refresh, "", backends.Fault{}, nil, asksOperator, "client_misconfigured", never},
		{"unauthorized_client", refresh, "", errorReply(400, "unauthorized_client"), nil, asksOperator, "client_misconfigured", never},
		{"unsupported_grant_type", refresh, "", errorReply(400, "unsupported_grant_type"), nil, asksOperator, "client_misconfigured", never},
		{"invalid_scope", refresh, "", errorReply(400, "invalid_scope"), nil, asksOperator, "client_misconfigured", never},
		{"404", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 404}}, nil, asksOperator, "client_misconfigured", never},
		{"405", refresh, "", backends.Fault{Reply: &backends.Reply{Status: 405}}, nil, asksOperator, "client_misconfigured", never},
		{"302 to a login page", refresh, "", pageReply(302, "Location", "/login"), nil, keepsGoing, "provider_unavailable", never},
		{"a redirect", refresh, "", pageReply(307, "Location", "https://elsewhere.invalid/"), nil, keepsGoing, "provider_unavailable", never},
		{"308 to another place", refresh, "", pageReply(308, "Location", "/v2/refresh"), nil, asksOperator, "client_misconfigured", never},
		// A name and a password.
		{"401", login, "", errorReply(401, "nope"), nil, asksTheUser, "login_refused", never},
		{"403", login, "", errorReply(403, "nope"), nil, asksTheUser, "login_refused", never},
		{"423", login, "", errorReply(423, "nope"), nil, asksTheUser, "account_locked", never},
		{"MFA", login, "", errorReply(401, "mfa_required"), nil, asksTheUser, "interaction_required", never},
		{"a login page at 200", login, "", pageReply(200), nil, asksTheUser, "login_refused", never},
		{"refused at 200", login, "", errorReply(200, "invalid_credentials"), nil, asksTheUser, "login_refused", never},
		{"UNAUTHENTICATED at 200", login, "", jsonReply(200, unauthenticated), nil, asksTheUser, "login_refused", never},
		{"503", login, "", backends.Fault{Reply: &backends.Reply{Status: 503}}, nil, keepsGoing, "provider_unavailable", later},
		{"a page at 502", login, "", pageReply(502), nil, keepsGoing, "provider_unavailable", later},
		{"a connection reset", login, "", backends.Fault{Reset: true}, nil, keepsGoing, "network", later},
		{"a reply cut off", login, "", backends.Fault{Cut: true}, nil, keepsGoing, "network", later},
		{"nothing at 200", login, "", backends.Fault{Reply: &backends.Reply{Status: 200}}, nil, keepsGoing, "malformed_reply", never},
		{"broken JSON at 200", login, "", jsonReply(200, `{"tok`), nil, keepsGoing, "malformed_reply", never},
		{"429", login, "", limited("600"), nil, keepsGoing, "rate_limited", never},
		{"400", login, "", errorReply(400, "nope"), nil, keepsGoing, "invalid_request", never},
		{"422", login, "", errorReply(422, "nope"), nil, keepsGoing, "invalid_request", never},
		{"no token at 200", login, "", jsonReply(200, `{"success":false}`), nil, keepsGoing, "malformed_reply", never},
		{"302 to a login page", login, "", pageReply(302, "Location", "/login?error=1"), nil, asksTheUser, "login_refused", never},
		{"302 to a page for maintenance", login, "", pageReply(302, "Location", "https://status.invalid/maintenance"), nil, keepsGoing, "provider_unavailable", later},
		{"a reply too late", login, "", slow, short, keepsGoing, "timeout", later},
		{"404", login, "", backends.Fault{Reply: &backends.Reply{Status: 404}}, nil, asksOperator, "client_misconfigured", never},
		{"405", login, "", backends.Fault{Reply: &backends.Reply{Status: 405}}, nil, asksOperator, "client_misconfigured", never},
		{"308 to another place", login, "", pageReply(308, "Location", "/v2/login"), nil, asksOperator, "client_misconfigured", never},
		// A session, without a login to replace it with.
		{"401", use, "", errorReply(401, "nope"), nil, asksTheUser, "session_ended", never},
		{"403", use, "", errorReply(403, "nope"), nil, asksTheUser, "session_ended", never},
		{"419", use, "", pageReply(419), nil, asksTheUser, "session_ended", never},
		{"302 to a login page", use, backends.KindCookie, pageReply(302, "Location", "/login"), nil, asksTheUser, "session_ended", never},
		{"302 to a page for maintenance", use, backends.KindCookie, pageReply(302, "Location", "https://status.invalid/maintenance"), nil, keepsGoing, "provider_unavailable", later},
		{"a login page at 200", use, "", pageReply(200), nil, asksTheUser, "session_ended", never},
		{"UNAUTHENTICATED at 200", use, backends.KindGraphQL, jsonReply(200, unauthenticated), nil, asksTheUser, "session_ended", never},
		{"440", use, "", pageReply(440), nil, asksTheUser, "session_ended", never},
		{"a deleted cookie at 200", use, backends.KindCookie, pageless(200, "Set-Cookie", backends.SessionCookie+"=; Path=/; Max-Age=0"), nil, asksTheUser, "session_ended", never},
		{"423", use, "", errorReply(423, "nope"), nil, keepsGoing, "invalid_request", later},
		{"429", use, "", limited("600"), nil, keepsGoing, "rate_limited", never},
		{"a connection reset", use, "", backends.Fault{Reset: true}, nil, keepsGoing, "network", later},
		{"a reply cut off", use, "", backends.Fault{Cut: true}, nil, keepsGoing, "network", later},
		{"404", use, "", backends.Fault{Reply: &backends.Reply{Status: 404}}, nil, asksOperator, "client_misconfigured", never},
		{"503", use, "", backends.Fault{Reply: &backends.Reply{Status: 503}}, nil, keepsGoing, "provider_unavailable", later},
		{"a reply too late", use, "", slow, short, keepsGoing, "timeout", later},
	}
}

// Each way in which a backend can fail leads to what has to follow from it: the
// credential's state, reason and event, the provider's breaker, and how many
// calls are made.
func TestEachErrorHasItsClass(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	rows := misreplies()
	name := func(n int) string { return fmt.Sprintf("row-%d", n) }
	strangers := map[int]*stranger{}
	for n := range rows {
		row := &rows[n]
		o := backends.Options{Kind: backends.KindBearer, Life: time.Hour, Refreshes: row.call == backends.CallRefresh}
		if row.call == backends.CallUse {
			o.Kind, o.Idle = backends.KindHeader, time.Hour
		}
		if row.kind != "" {
			o.Kind = row.kind
		}
		e.backend(name(n), o, row.more)
		if s := elsewhere(t, row.name); s != nil {
			set := e.config["providers"].(map[string]any)[name(n)].(map[string]any)    //nolint:errcheck,forcetypeassert // made by backend
			set["refresh"].(map[string]any)["request"].(map[string]any)["url"] = s.url //nolint:errcheck,forcetypeassert // made by BackendRefresh
			strangers[n] = s
		}
	}
	at := e.open()
	began := make([]time.Time, len(rows))
	failed := make([]harness.Record, len(rows)) // as it was right after the first failure
	for n, row := range rows {
		b := e.backends[name(n)]
		var id string
		if row.call == backends.CallLogin {
			id = e.signUp(name(n), "ann")
		} else {
			id = e.bring(name(n), "ann")
		}
		row.fault.Call = row.call
		b.Add(row.fault)
		began[n] = time.Now()
		err := at.Refresh(t.Context(), id)
		switch row.state {
		case asksTheUser:
			assert.Equal(t, http.StatusConflict, refusedWith(t, err).Status, "%s: %s", row.call, row.name)
		default:
			assert.Equal(t, http.StatusServiceUnavailable, refusedWith(t, err).Status, "%s: %s", row.call, row.name)
		}
		// Whoever asks on a busy machine may be answered before the call is.
		failed[n] = at.awaitRecord(t, id, func(r harness.Record) bool { return r.LastFailure != nil || row.again != later })
	}
	// A session that is over and has a login to replace it gets one login.
	relogged := map[int]string{}
	for n, row := range rows {
		if row.call == backends.CallUse && row.state == asksTheUser {
			relogged[n] = e.signUp(name(n), "bob")
			require.NoError(t, at.Refresh(t.Context(), relogged[n]), row.name)
		}
	}
	made := func(n int) []backends.Entry {
		if s := strangers[n]; s != nil {
			return s.calls()
		}
		calls := e.backends[name(n)].Calls(rows[n].call, "ann")
		if rows[n].call == backends.CallLogin {
			calls = calls[1:] // the first is its owner's
		}
		return calls
	}
	for n, row := range rows {
		if row.again == later {
			eventually(t, patience, func() (bool, string) {
				calls := len(made(n))
				if s := strangers[n]; s != nil && s.deaf {
					if last := at.get(t, name(n)+":ann").LastFailure; last != nil && last.At.After(failed[n].DueAt.Add(-time.Second)) {
						calls = 2 // the service alone knows of them
					}
				}
				return calls > 1, fmt.Sprintf("%s: %s is not called again", row.call, row.name)
			})
		}
	}

	e.heardAll()
	for n, row := range rows {
		what := fmt.Sprintf("%s: %s", row.call, row.name)
		id := name(n) + ":ann"
		r := at.get(t, id)
		assert.Equal(t, row.state, r.State, what)
		breaker := e.providerState(at, name(n)).Breaker
		assert.Equal(t, row.state == asksOperator, breaker.Open, "%s: the breaker", what)
		calls := made(n)
		switch row.state {
		case asksTheUser:
			assert.Equal(t, row.reason, r.Reason, what)
			events := e.stream.find("credential.reauth_required", id)
			if assert.Len(t, events, 1, what) {
				assert.Equal(t, row.reason, events[0].Data.Reason, what)
			}
		case keepsGoing:
			require.NotNil(t, r.LastFailure, what)
			assert.Equal(t, row.reason, r.LastFailure.Reason, what)
			events := e.stream.find("credential.degraded", id)
			if assert.Len(t, events, 1, what) {
				assert.Equal(t, row.reason, events[0].Data.Reason, what)
			}
			assert.NotContains(t, strings.Join(e.stream.told(id), " "), "reauth_required", what)
		case asksOperator:
			assert.Equal(t, row.reason, breaker.Reason, what)
			assert.Equal(t, []string{"credential.connected"}, e.stream.told(id), "%s: no credential is to blame", what)
			assert.Len(t, e.stream.find("client.misconfigured", "client:"+name(n)), 1, what)
			_, err := at.Token(t.Context(), id, 0)
			require.NoError(t, err, "%s: and its token is served", what)
		}
		s := strangers[n]
		switch {
		case row.again == later && s != nil && s.deaf:
			assert.GreaterOrEqual(t, failed[n].DueAt.Sub(failed[n].LastFailure.At), 1800*time.Millisecond, "%s: what is promised", what)
			continue
		case row.again == later:
			calledWhenDue(t, what, failed[n], calls)
			continue
		}
		soon := after(calls, began[n].Add(probeWait))
		want := 1
		if s != nil && s.deaf {
			want = 0
		}
		assert.Len(t, calls[:len(calls)-len(soon)], want, "%s: one call", what)
		switch row.state {
		case asksTheUser:
			assert.Zero(t, r.DueAt, "%s: nothing is planned", what)
		case keepsGoing:
			assert.True(t, r.DueAt.After(began[n].Add(farAway)), "%s: due at %s, failed at %s", what, r.DueAt, began[n])
			assert.True(t, r.DueAt.Before(began[n].Add(notForEver)), "%s: due at %s, failed at %s", what, r.DueAt, began[n])
		case asksOperator:
			assert.True(t, breaker.ProbeAt.After(began[n].Add(probeWait)), "%s: probed at %s, refused at %s", what, breaker.ProbeAt, began[n])
		}
	}
	for n, id := range relogged {
		b := e.backends[name(n)]
		assert.Equal(t, "active", at.get(t, id).State, rows[n].name)
		assert.Len(t, b.Calls(backends.CallUse, "bob"), 1, rows[n].name)
		assert.Len(t, b.Calls(backends.CallLogin, "bob"), 2, "%s: its owner's and one more", rows[n].name)
	}
	oneEventPerVersion(t, at.api, at.list(t), e.stream)
	countedByClass(t, at, rows, name)
}

// calledWhenDue checks that a call that failed is made again when its record says
// so, and not before. failed is the record right after a failure.
func calledWhenDue(t *testing.T, what string, failed harness.Record, calls []backends.Entry) {
	t.Helper()
	require.NotNil(t, failed.LastFailure, what)
	assert.GreaterOrEqual(t, failed.DueAt.Sub(failed.LastFailure.At), 1800*time.Millisecond, "%s: what is promised", what)
	for i := 1; i < len(calls); i++ {
		gap := calls[i].Received.Sub(calls[i-1].Received)
		assert.GreaterOrEqual(t, gap, 1700*time.Millisecond, "%s: call %d", what, i+1)
	}
	// The record has the store's time, as nearly as a process knows it: by that the
	// call that failed may have come a little after its failure.
	next := after(calls, failed.LastFailure.At.Add(time.Second))
	if assert.NotEmpty(t, next, "%s: it is called again", what) {
		assert.False(t, next[0].Received.Before(failed.DueAt), "%s: called at %s, promised for %s", what, next[0].Received, failed.DueAt)
	}
}

// countedByClass checks that the metrics have what became of the calls.
func countedByClass(t *testing.T, at *instance, rows []misreply, name func(int) string) {
	t.Helper()
	data, err := at.Raw(t.Context(), http.MethodGet, "/metrics", nil)
	require.NoError(t, err)
	for n, row := range rows {
		class := map[string]string{asksTheUser: "permanent", asksOperator: "operator"}[row.state]
		if row.state == keepsGoing {
			class = map[string]string{
				"timeout": "ambiguous", "network": "ambiguous", "malformed_reply": "ambiguous",
				"rate_limited": "rate_limited", "invalid_request": "refused", "provider_unavailable": "transient",
			}[row.reason]
		}
		switch {
		case row.name == "already being processed":
			class = "not_processed"
		case slices.Contains([]string{noName, nobody, noTLS, resetEarly}, row.name):
			class = "not_sent"
		case row.call == backends.CallLogin && row.reason == "malformed_reply":
			class = "refused" // nothing is in doubt, and a password is not presented again soon
		}
		line := fmt.Sprintf(`refreshd_exchanges_total\{class="%s",provider="%s"\} [1-9]`, class, name(n))
		assert.Regexp(t, line, string(data), "%s: %s", row.call, row.name)
	}
}
