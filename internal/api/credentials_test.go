package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

const login = `{"provider":"acme","subject":"u-1","labels":{"team":"blue"},` +
	`"token":{"access_token":"a-1","refresh_token":"r-1","scope":"read","expires_in":3600}}`

func TestPutStoresAndLogsInAgain(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	first := b.call(t, http.MethodPut, "/v1/credentials/new:1", login)
	require.Equal(t, http.StatusCreated, first.status, first.body)
	assert.Equal(t, `"1"`, first.header.Get("ETag"))
	assert.Equal(t, "no-store", first.header.Get("Cache-Control"))
	var record api.Record
	first.decode(t, &record)
	assert.Equal(t, "new:1", record.ID)
	assert.Equal(t, "acme", record.Provider)
	assert.Equal(t, "active", record.State)
	assert.Equal(t, map[string]string{"team": "blue"}, record.Labels)
	assert.Equal(t, int64(3600), *record.ExpiresIn)
	assert.NotNil(t, record.DueAt)
	assert.True(t, record.Refreshable)

	again := b.call(t, http.MethodPut, "/v1/credentials/new:1", strings.ReplaceAll(login, "r-1", "r-2"), "If-Match", `"1"`)
	require.Equal(t, http.StatusOK, again.status, again.body)
	assert.Equal(t, `"2"`, again.header.Get("ETag"))
	held := b.engine.stored["new:1"]
	assert.Equal(t, "r-2", held.Token.Refresh.Reveal())
	assert.Equal(t, "Bearer", held.Token.Type)
}

func TestPutConditions(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		path    string
		headers []string
		status  int
		code    string
	}{
		"at that version":          {"acct-1", []string{"If-Match", `"7"`}, 200, ""},
		"at another version":       {"acct-1", []string{"If-Match", `"6"`}, 412, "precondition"},
		"nothing to match":         {"other", []string{"If-Match", `"6"`}, 412, "precondition"},
		"only where nothing is":    {"other", []string{"If-None-Match", "*"}, 201, ""},
		"but something is":         {"acct-1", []string{"If-None-Match", "*"}, 412, "precondition"},
		"not an ETag":              {"acct-1", []string{"If-Match", "7"}, 422, "invalid"},
		"half an ETag":             {"acct-1", []string{"If-Match", `"7`}, 422, "invalid"},
		"a weak ETag":              {"acct-1", []string{"If-Match", `W/"7"`}, 422, "invalid"},
		"several":                  {"acct-1", []string{"If-Match", `"7", "8"`}, 422, "invalid"},
		"version 0":                {"acct-1", []string{"If-Match", `"0"`}, 422, "invalid"},
		"any version":              {"acct-1", []string{"If-Match", "*"}, 422, "invalid"},
		"If-None-Match of an ETag": {"acct-1", []string{"If-None-Match", `"7"`}, 422, "invalid"},
		"both":                     {"acct-1", []string{"If-Match", `"7"`, "If-None-Match", "*"}, 422, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			got := b.call(t, http.MethodPut, "/v1/credentials/"+row.path, login, row.headers...)
			require.Equal(t, row.status, got.status, got.body)
			if row.code != "" {
				assert.Equal(t, row.code, got.problem(t).Code)
			}
		})
	}
}

func TestPutFaults(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		kind     api.FaultKind
		status   int
		location string
	}{
		{api.FaultUnknownProvider, 422, "body.provider"},
		{api.FaultDeadOnArrival, 422, "body.token"},
		{api.FaultLoginRefused, 422, "body.login"},
		{api.FaultNoLogin, 422, "body.login"},
		{api.FaultStaleToken, 409, "body.token.refresh_token"},
		{api.FaultConflict, 409, ""},
		{api.FaultFull, 507, ""},
		{api.FaultUnavailable, 503, ""},
	} {
		t.Run(string(row.kind), func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			b.engine.set(func(e *fakeEngine) { e.err = &api.FaultError{Kind: row.kind, Detail: "words for the caller"} })
			got := b.call(t, http.MethodPut, "/v1/credentials/acct-1", login)
			require.Equal(t, row.status, got.status)
			p := got.problem(t)
			assert.Equal(t, string(row.kind), p.Code)
			assert.Equal(t, "words for the caller", p.Detail)
			if row.location != "" {
				require.Len(t, p.Errors, 1)
				assert.Equal(t, row.location, p.Errors[0].Location)
			}
		})
	}
}

func TestPutTimes(t *testing.T) {
	t.Parallel()
	// A JWT with exp one hour after noon.
	const jwt = "e30.eyJleHAiOjE4MDAwMDM2MDB9.c2ln"
	for name, row := range map[string]struct {
		token string
		want  string // the engine's call
	}{
		"expires_in":     {`"access_token":"a","expires_in":60`, "put x acme 1m0s 0 []"},
		"expires_at":     {`"access_token":"a","expires_at":"2027-01-15T08:01:00Z"`, "put x acme 0s 1800000060000 []"},
		"another zone":   {`"access_token":"a","expires_at":"2027-01-15T09:01:00+01:00"`, "put x acme 0s 1800000060000 []"},
		"in the past":    {`"access_token":"a","refresh_token":"r","expires_at":"2020-01-01T00:00:00Z"`, "put x acme 0s 1577836800000 []"},
		"of the token":   {`"access_token":"` + jwt + `"`, "put x acme 0s 1800003600000 []"},
		"told wins":      {`"access_token":"` + jwt + `","expires_in":60`, "put x acme 1m0s 0 []"},
		"none at all":    {`"access_token":"a"`, "put x acme 0s 0 []"},
		"the far future": {`"access_token":"e30.eyJleHAiOjMyNTAzNjgwMDAwfQ.c2ln"`, "put x acme 0s 1831622400000 []"},
		"longest there":  {`"access_token":"a","expires_in":31622400`, "put x acme 8784h0m0s 0 []"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			got := b.call(t, http.MethodPut, "/v1/credentials/x", `{"provider":"acme","token":{`+row.token+`}}`)
			require.Equal(t, http.StatusCreated, got.status, got.body)
			assert.Equal(t, []string{row.want}, b.engine.calls())
		})
	}
}

// That nothing was stored is told to who brought it, and to nobody else.
func TestPutTellsThatNothingWasStored(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	const put = `{"provider":"acme","token":{"access_token":"a","refresh_token":"r"}}`
	assert.NotContains(t, b.call(t, http.MethodPut, "/v1/credentials/x", put).body, "unchanged")
	b.engine.set(func(e *fakeEngine) { e.unchanged = true })
	got := b.call(t, http.MethodPut, "/v1/credentials/x", put)
	assert.Equal(t, http.StatusOK, got.status)
	assert.Contains(t, got.body, `"unchanged":true`)
	assert.NotContains(t, b.call(t, http.MethodGet, "/v1/credentials/x", "").body, "unchanged")
}

// What should tell an expiry and does not is told to who brought it, and to nobody
// else.
func TestPutTellsWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	const word = "exp (access_token) tells no time to come"
	b.engine.set(func(e *fakeEngine) { e.missing = []string{word} })
	var record api.Record
	b.call(t, http.MethodPut, "/v1/credentials/x", `{"provider":"acme","token":{"access_token":"a"}}`).decode(t, &record)
	assert.Equal(t, []string{word}, record.Missing)
	assert.NotContains(t, b.call(t, http.MethodGet, "/v1/credentials/x", "").body, "missing")
}

func TestGetRecord(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.engine.set(func(e *fakeEngine) {
		e.stored["acct-1"].Attempt = &credential.Attempt{Doubt: true, RecoverAt: noon + 1000}
	})
	got := b.call(t, http.MethodGet, "/v1/credentials/acct-1", "")
	require.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, `"7"`, got.header.Get("ETag"))
	assert.JSONEq(t, `{
		"id": "acct-1", "provider": "acme", "subject": "u-7", "labels": {"team": "blue"},
		"state": "active", "since": "2027-01-15T07:59:55Z", "version": 7, "generation": 4,
		"expires_at": "2027-01-15T09:00:00Z", "expires_in": 3600, "due_at": "2027-01-15T08:00:01Z",
		"refreshable": true, "in_doubt": true, "has_login": false, "paused": false,
		"last_success_at": "2027-01-15T07:59:55Z",
		"last_failure": {"at": "2027-01-15T07:59:53Z", "reason": "provider_unavailable", "detail": "503"},
		"created_at": "2027-01-15T07:59:51Z", "updated_at": "2027-01-15T07:59:55Z"
	}`, got.body)

	unknown := b.call(t, http.MethodGet, "/v1/credentials/nobody", "")
	require.Equal(t, http.StatusNotFound, unknown.status)
	assert.Equal(t, "not_found", unknown.problem(t).Code)

	b.engine.set(func(e *fakeEngine) { e.stored["acct-1"].Record.State = credential.StateDeleted })
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/v1/credentials/acct-1", "").status)
}

func TestExpiredRecordCountsNoNegativeSeconds(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.store("acct-1", -10)
	var record api.Record
	b.call(t, http.MethodGet, "/v1/credentials/acct-1", "").decode(t, &record)
	assert.Equal(t, int64(0), *record.ExpiresIn)
}

func TestListPages(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for i := range 5 {
		b.store(credential.ID(fmt.Sprintf("page-%d", i)), 60)
	}
	b.store(credential.ClientID("acme"), 60)
	var seen []string
	path := "/v1/credentials?limit=2"
	for pages := 0; ; pages++ {
		require.Less(t, pages, 5)
		got := b.call(t, http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, got.status, got.body)
		var page struct {
			Credentials []api.Record `json:"credentials"`
			Next        string       `json:"next"`
		}
		got.decode(t, &page)
		for _, r := range page.Credentials {
			seen = append(seen, r.ID)
		}
		if page.Next == "" {
			break
		}
		path = "/v1/credentials?limit=2&cursor=" + page.Next
	}
	assert.Equal(t, []string{"acct-1", "page-0", "page-1", "page-2", "page-3", "page-4"}, seen, "and no record of refreshd's own")
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	got := b.call(t, http.MethodGet, "/v1/credentials?provider=acme&state=active&label=team%3Dblue&label=env%3Da%3Db&prefix=acct&cursor=c&limit=7", "")
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Equal(t, []string{`list {Provider:acme State:active Labels:map[env:a=b team:blue] Prefix:acct Subject:} "c" 7`}, b.engine.calls())
	assert.Contains(t, b.call(t, http.MethodGet, "/v1/credentials?provider=other", "").body, `{"credentials":[]}`)

	b.engine.set(func(e *fakeEngine) { e.err = &api.FaultError{Kind: api.FaultBadCursor, Detail: "not a cursor"} })
	p := b.call(t, http.MethodGet, "/v1/credentials?cursor=bad", "").problem(t)
	assert.Equal(t, 422, p.Status)
	assert.Equal(t, "query.cursor", p.Errors[0].Location)
}

func TestLogoutAndDelete(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	out := b.call(t, http.MethodPost, "/v1/credentials/acct-1/logout", "", "If-Match", `"7"`)
	require.Equal(t, http.StatusOK, out.status, out.body)
	var record api.Record
	out.decode(t, &record)
	assert.Equal(t, "logged_out", record.State)
	assert.Equal(t, `"8"`, out.header.Get("ETag"))

	gone := b.call(t, http.MethodDelete, "/v1/credentials/acct-1?revoke=true", "")
	require.Equal(t, http.StatusNoContent, gone.status)
	assert.Empty(t, gone.body)
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodDelete, "/v1/credentials/acct-1", "").status)
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodPost, "/v1/credentials/acct-1/logout", "").status)
	assert.Equal(t, []string{
		"logout acct-1 7", "delete acct-1 0 true", "delete acct-1 0 false", "logout acct-1 0",
	}, b.engine.calls())

	b.engine.set(func(e *fakeEngine) { e.err = &api.FaultError{Kind: api.FaultConflict, Detail: "at version 9"} })
	for _, call := range []answer{
		b.call(t, http.MethodPost, "/v1/credentials/acct-1/logout", "", "If-Match", `"7"`),
		b.call(t, http.MethodDelete, "/v1/credentials/acct-1", "", "If-Match", `"7"`),
	} {
		assert.Equal(t, http.StatusPreconditionFailed, call.status)
		assert.Equal(t, "at version 9", call.problem(t).Detail)
	}
}

// TestUnreachableIsNoFault makes sure that an outage behind the API does not
// look like a bug in front of it, nor show an address.
func TestUnreachableIsNoFault(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.engine.set(func(e *fakeEngine) { e.err = fmt.Errorf("read a record: %w", timeoutError{}) })
	got := b.call(t, http.MethodGet, "/v1/credentials/acct-1", "")
	assert.Equal(t, http.StatusServiceUnavailable, got.status)
	assert.Equal(t, "1", got.header.Get("Retry-After"))
	assert.NotContains(t, got.body, "10.0.0.7")

	b.engine.set(func(e *fakeEngine) { e.err = fmt.Errorf("something of 10.0.0.7 is broken") })
	got = b.call(t, http.MethodGet, "/v1/credentials/acct-1", "")
	assert.Equal(t, http.StatusInternalServerError, got.status)
	assert.NotContains(t, got.body, "10.0.0.7")
	assert.Equal(t, "internal", got.problem(t).Code)
	assert.Contains(t, b.log.String(), "10.0.0.7", "the log has the cause")
}

// timeoutError is a net.Error.
type timeoutError struct{}

func (timeoutError) Error() string   { return "dial 10.0.0.7: i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
