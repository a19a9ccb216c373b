package practice

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func admin(t *testing.T, f *fixture) *Admin {
	t.Helper()
	a := NewAdmin(f.url("/"))
	t.Cleanup(a.Close)
	return a
}

func TestAdminMint(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{AccessTTL: 90 * time.Second})
	a := admin(t, f)
	require.NoError(t, a.Healthy(t.Context()))

	before := time.Now()
	minted, err := a.Mint(t.Context(), MintRequest{Count: 3, Prefix: "p-", First: 10})
	require.NoError(t, err)
	require.Len(t, minted, 3)
	assert.Equal(t, "p-12", minted[2].Subject)
	assert.Equal(t, int64(90), minted[2].ExpiresIn)
	shown := resourceOf(t, f.Server, minted[2].AccessToken)
	assert.WithinRange(t, shown.ExpiresAt, before.Add(90*time.Second), time.Now().Add(90*time.Second))
	shown.ExpiresAt = time.Time{}
	assert.Equal(t, resource{Subject: "p-12", Grant: "g3", Generation: 1, Scope: "read write"}, shown)
	assert.Equal(t, http.StatusOK, f.present(t, minted[2].RefreshToken).Status)

	expired, err := a.Mint(t.Context(), MintRequest{Count: 1, AccessTTL: new(time.Duration(0))})
	require.NoError(t, err)
	assert.Zero(t, expired[0].ExpiresIn)
	assert.Equal(t, http.StatusUnauthorized, fetchResource(t, f.Server, expired[0].AccessToken).Status)
	assert.Equal(t, http.StatusOK, f.present(t, expired[0].RefreshToken).Status, "only the access token has expired")

	for _, req := range []MintRequest{
		{},
		{Count: -1},
		{Count: maxMint + 1},
		{Count: 1, Client: "nobody"},
		{Count: 1, Scope: `a"b`},
		{Count: 1, Scope: "a  b"},
		{Count: 1, AccessTTL: new(-time.Second)},
	} {
		_, err := a.Mint(t.Context(), req)
		assertRefused(t, err, http.StatusBadRequest)
	}
}

func assertRefused(t *testing.T, err error, status int) {
	t.Helper()
	refused, ok := errors.AsType[*AdminError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, status, refused.Status)
	assert.NotEmpty(t, refused.Message)
}

func TestMintManyIsQuickEnoughToTest(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	minted, err := s.Mint(MintRequest{Count: 100_000})
	require.NoError(t, err)
	tokens := make(map[string]bool, 2*len(minted))
	for _, m := range minted {
		tokens[m.AccessToken], tokens[m.RefreshToken] = true, true
	}
	assert.Len(t, tokens, 200_000, "no token twice")
	assert.Equal(t, "g100000", minted[99_999].Grant)
}

func TestAdminGrants(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	a := admin(t, f)
	m := mintOne(t, f.Server)
	mintOne(t, f.Server)
	require.NoError(t, a.Revoke(t.Context(), m.Grant))
	require.NoError(t, a.Revoke(t.Context(), m.Grant), "once more changes nothing")
	assert.Equal(t, "invalid_grant", f.present(t, m.RefreshToken).Error)
	assert.Equal(t, http.StatusUnauthorized, fetchResource(t, f.Server, m.AccessToken).Status)

	states, err := a.Grants(t.Context())
	require.NoError(t, err)
	require.Len(t, states, 2)
	one, err := a.Grant(t.Context(), m.Grant)
	require.NoError(t, err)
	assert.Equal(t, states[0], one)
	assert.NotZero(t, one.DiedAt)
	one.DiedAt = 0
	assert.Equal(t, GrantState{Grant: "g1", Subject: "user-0", Client: "demo", Generation: 1, Death: deathUser}, one)
	assert.True(t, states[1].Alive)
	assert.Equal(t, int64(1), f.Summary().GrantsDead)

	for _, id := range []string{"g0", "g3", "g01", "x1", "g1x", "g99999999999"} {
		_, err := a.Grant(t.Context(), id)
		assertRefused(t, err, http.StatusNotFound)
		assertRefused(t, a.Revoke(t.Context(), id), http.StatusNotFound)
	}
}

func TestAdminLedger(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	a := admin(t, f)
	m, other := mintOne(t, f.Server), mintOne(t, f.Server)
	next := f.present(t, m.RefreshToken)
	f.present(t, other.RefreshToken)
	f.present(t, next.RefreshToken)
	f.present(t, "rt_unknown")

	all, err := a.Ledger(t.Context(), LedgerQuery{})
	require.NoError(t, err)
	if diff := cmp.Diff(f.Ledger(LedgerQuery{}), all); diff != "" {
		t.Errorf("over HTTP (-in process, +over HTTP):\n%s", diff)
	}
	require.Len(t, all, 4)
	assert.Empty(t, all[3].Grant)
	assert.Equal(t, OutcomeUnknown, all[3].Outcome)

	mine, err := a.Ledger(t.Context(), LedgerQuery{Grant: m.Grant, After: 1})
	require.NoError(t, err)
	assert.Equal(t, []Entry{all[2]}, mine)
	for _, q := range []LedgerQuery{{Grant: "odd"}, {Grant: "g9"}, {After: 4}, {After: 400}} {
		none, err := a.Ledger(t.Context(), q)
		require.NoError(t, err)
		assert.Empty(t, none)
	}

	sum, err := a.Summary(t.Context())
	require.NoError(t, err)
	assert.Equal(t, f.Summary(), sum)
	assert.Len(t, sum.ByOutcome, 2)
	assert.Equal(t, int64(3), sum.ByOutcome[OutcomeRotated])
	assert.Equal(t, int64(1), sum.ByOutcome[OutcomeUnknown])
	sum.ByOutcome = nil
	assert.Equal(t, Summary{Presentations: 4, Rotations: 3, Grants: 2, MaxConcurrentPerGrant: 1, Violations: []Violation{}}, sum)
}

func TestLedgerLongerThanAChunk(t *testing.T) {
	t.Parallel()
	s := New(Options{NoRotate: true})
	m := mintOne(t, s)
	const calls = 2*chunk + 10
	for range calls {
		direct(t, s, refreshForm(m.RefreshToken))
	}
	entries := s.Ledger(LedgerQuery{After: chunk - 5})
	require.Len(t, entries, calls-(chunk-5))
	for i, e := range entries {
		require.Equal(t, uint64(chunk-5+i+1), e.Seq)
	}
	for e := range s.entries(LedgerQuery{}) {
		assert.Equal(t, uint64(1), e.Seq)
		break // a reader may stop early
	}
}

func TestAdminFaults(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	a := admin(t, f)
	fault := Fault{
		Kind: KindStatus, Rotate: MomentBefore, Delay: 1500 * time.Millisecond, Status: 429, Error: "slow_down",
		Description: "d", RetryAfter: "30", Count: 3, Probability: 0.5, Seed: 1, For: time.Hour, Grant: "g1", Client: "demo",
	}
	id, err := a.AddFault(t.Context(), fault)
	require.NoError(t, err)
	_, err = a.AddFault(t.Context(), Fault{Kind: KindHang})
	require.NoError(t, err)
	states, err := a.Faults(t.Context())
	require.NoError(t, err)
	require.Len(t, states, 2)
	assert.Equal(t, FaultState{ID: id, Fault: fault, Active: true}, states[0])
	require.NoError(t, a.RemoveFault(t.Context(), id))
	assertRefused(t, a.RemoveFault(t.Context(), id), http.StatusNotFound)
	require.NoError(t, a.ClearFaults(t.Context()))
	assert.Empty(t, f.Faults())
	_, err = a.AddFault(t.Context(), Fault{Kind: "odd"})
	assertRefused(t, err, http.StatusBadRequest)
}

func TestAdminClients(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	a := admin(t, f)
	m := mintOne(t, f.Server)
	require.NoError(t, a.SetClientSecret(t.Context(), "demo", "changed"))
	assert.Equal(t, "invalid_client", f.present(t, m.RefreshToken).Error)
	require.NoError(t, a.SetClientSecret(t.Context(), "demo", "demo-secret"))
	assert.Equal(t, http.StatusOK, f.present(t, m.RefreshToken).Status)
	require.NoError(t, a.DisableClient(t.Context(), "demo"))
	assertRefused(t, a.DisableClient(t.Context(), "nobody"), http.StatusNotFound)
	assertRefused(t, a.SetClientSecret(t.Context(), "", "x"), http.StatusBadRequest)
	minted, err := a.Mint(t.Context(), MintRequest{Count: 1})
	require.NoError(t, err, "logins and refreshes are two things")
	assert.Equal(t, "invalid_client", f.present(t, minted[0].RefreshToken).Error)
}

func TestAdminSettings(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	a := admin(t, f)
	was, err := a.Settings(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Options{}.withDefaults().settings(), was)

	now, err := a.Configure(t.Context(), SettingsPatch{
		AccessTTL: new(1500 * time.Millisecond), Rotate: new(false), Reuse: new(ReuseGrace), Grace: new(time.Minute),
		RefreshTTL: new(time.Hour), ClientAuth: new(ClientAuthBasic), Latency: new(time.Duration(0)),
		RotateBeforeLatency: new(true), ExpiresIn: new(ExpiresInString),
	})
	require.NoError(t, err)
	assert.Equal(t, Settings{
		AccessTTL: 1500 * time.Millisecond, Reuse: ReuseGrace, Grace: time.Minute, RefreshTTL: time.Hour,
		ClientAuth: ClientAuthBasic, RotateBeforeLatency: true, ExpiresIn: ExpiresInString,
	}, now)
	answer := f.present(t, mintOne(t, f.Server).RefreshToken)
	assert.Equal(t, `"1"`, string(answer.ExpiresIn))
	assert.Empty(t, answer.RefreshToken)

	for _, p := range []SettingsPatch{
		{AccessTTL: new(-time.Second)},
		{Grace: new(-time.Second)},
		{RefreshTTL: new(-time.Second)},
		{Latency: new(-time.Second)},
		{Reuse: new(Reuse("lenient"))},
		{ClientAuth: new(ClientAuth("mtls"))},
		{ExpiresIn: new(ExpiresIn("never"))},
	} {
		_, err := a.Configure(t.Context(), p)
		assertRefused(t, err, http.StatusBadRequest)
	}
	after, err := a.Settings(t.Context())
	require.NoError(t, err)
	assert.Equal(t, now, after, "a refused change changes nothing")
}

// TestAdminJSON speaks the interface as a shell script would.
func TestAdminJSON(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for _, tc := range []struct {
		method, path, body string
		status             int
		reply              string
	}{
		{"POST", "/admin/grants", `{"count":1,"prefix":"user-","client":"demo","first":0,"access_ttl":"0s"}`, 200, `"grant":"g1"`},
		{"POST", "/admin/grants", `{"count":1,"access_ttl":20}`, 400, `{"error":"invalid: JSON: json: cannot unmarshal number into Go struct field mintJSON.access_ttl`},
		{"POST", "/admin/grants", `{"count":1,"colour":"red"}`, 400, `colour`},
		{"POST", "/admin/grants", `{"count":1}{}`, 400, `follows`},
		{"POST", "/admin/grants", `{`, 400, `JSON`},
		{"POST", "/admin/grants", strings.Repeat(" ", maxAdminBody+1), 413, `too large`},
		{"POST", "/admin/faults", `{"kind":"slow","delay":"12s","rotate":"after","for":"30s"}`, 201, `{"id":"f1"}`},
		{"POST", "/admin/faults", `{"kind":"slow","delay":"soon"}`, 400, `duration`},
		{"GET", "/admin/faults", ``, 200, `[{"id":"f1","fault":{"kind":"slow","rotate":"after","delay":"12s","for":"30s"},"hits":0,"active":true}]`},
		{"DELETE", "/admin/faults", ``, 204, ``},
		{"POST", "/admin/settings", `{"latency":"5ms","rotate":false}`, 200, `"latency":"5ms"`},
		{"POST", "/admin/clients", `{"id":"x","secret":"y"}`, 204, ``},
		{"POST", "/admin/clients/x/disable", ``, 204, ``},
		{"POST", "/admin/grants/g1/revoke", ``, 204, ``},
		{"GET", "/admin/ledger?after=x", ``, 400, `after`},
		{"GET", "/admin/ledger/summary", ``, 200, `"violations":[]`},
		{"GET", "/admin/nothing", ``, 404, ``},
		{"GET", "/healthz", ``, 200, `{"status":"ok"}`},
	} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, strings.NewReader(tc.body)))
		assert.Equal(t, tc.status, w.Code, "%s %s %.80s: %s", tc.method, tc.path, tc.body, w.Body)
		assert.Contains(t, w.Body.String(), tc.reply)
	}
}

func TestAdminKey(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{AdminKey: "k"})
	for key, want := range map[string]int{"": http.StatusUnauthorized, "wrong": http.StatusUnauthorized, "k": 0} {
		a := NewAdminWithKey(f.url(""), key)
		t.Cleanup(a.Close)
		_, err := a.Summary(t.Context())
		if want == 0 {
			require.NoError(t, err)
			continue
		}
		assertRefused(t, err, want)
		require.NoError(t, a.Healthy(t.Context()), "health needs no key")
	}
}

func TestAdminWithoutServer(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/admin/ledger" {
			_, _ = io.WriteString(w, "{\"seq\":1}\n{\"se")
			return
		}
		http.Error(w, "not here", http.StatusTeapot)
	}))
	t.Cleanup(stranger.Close)
	a := NewAdmin(stranger.URL)
	t.Cleanup(a.Close)
	_, err := a.Summary(t.Context())
	assertRefused(t, err, http.StatusTeapot)
	_, err = a.Ledger(t.Context(), LedgerQuery{})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "line 2")

	broken := NewAdmin("http://127.0.0.1:1")
	t.Cleanup(broken.Close)
	require.Error(t, broken.Healthy(t.Context()))
	require.Error(t, NewAdmin("::").Healthy(t.Context()))
	require.NoError(t, admin(t, f).Healthy(t.Context()))
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	mint := MintRequest{Count: 1, AccessTTL: new(time.Minute), Scope: "a"}
	data, err := json.Marshal(mint)
	require.NoError(t, err)
	assert.JSONEq(t, `{"count":1,"scope":"a","access_ttl":"1m0s"}`, string(data))
	data, err = json.Marshal(SettingsPatch{Latency: new(time.Duration(0))})
	require.NoError(t, err)
	assert.JSONEq(t, `{"latency":"0s"}`, string(data))
	data, err = json.Marshal(Fault{Kind: KindHang})
	require.NoError(t, err)
	assert.JSONEq(t, `{"kind":"hang"}`, string(data))
}
