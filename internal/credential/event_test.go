package credential_test

import (
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestEventCodes(t *testing.T) {
	t.Parallel()
	types := map[string]credential.EventType{}
	for _, kind := range credential.EventTypes() {
		code := kind.Code()
		require.NotEmpty(t, code, kind)
		require.NotContains(t, types, code, "code of both %s and %s", kind, types[code])
		types[code] = kind
		back, err := credential.EventTypeOf(code)
		require.NoError(t, err)
		assert.Equal(t, kind, back)
	}
	assert.Empty(t, credential.EventType("credential.renewed").Code())
	assert.Empty(t, credential.EventType("").Code())
	for _, bad := range []string{"", "R", "zz", "credential.refreshed"} {
		_, err := credential.EventTypeOf(bad)
		require.Error(t, err, bad)
	}
}

// Codes are stored: a log written by an earlier release is read by this one.
func TestEventCodesAreStable(t *testing.T) {
	t.Parallel()
	want := "co=credential.connected ra=credential.reauthorized r=credential.refreshed d=credential.degraded " +
		"rc=credential.recovered x=credential.expired xg=credential.expiring rr=credential.reauth_required " +
		"rs=credential.reuse_suspected cc=credential.claims_changed uc=credential.user_data_changed " +
		"lo=credential.logged_out de=credential.deleted sx=session.expiring se=session.extended " +
		"po=provider.outage pr=provider.recovered cm=client.misconfigured cr=client.recovered " +
		"sd=subscription.disabled sl=subscription.lagging st=stream.reset sv=stream.verification"
	var got []string
	for _, kind := range credential.EventTypes() {
		got = append(got, kind.Code()+"="+string(kind))
	}
	assert.Equal(t, want, strings.Join(got, " "))
}

func TestEventID(t *testing.T) {
	t.Parallel()
	e := credential.Event{ID: "acct-1", Version: 17, Nonce: nonceOf(3)}
	assert.Equal(t, "acct-1/17/"+nonceOf(3).String()[:8], e.EventID())
}

// The ID of an event that belongs to no version is a ULID, written as the
// public library writes it.
func TestEventIDWithoutAVersion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var n credential.Nonce
		copy(n[:], rapid.SliceOfN(rapid.Byte(), len(n), len(n)).Draw(t, "nonce"))
		e := credential.Event{Type: credential.EventSubscriptionDisabled, Nonce: n}
		if got, want := e.EventID(), ulid.ULID(n).String(); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func TestPrevious(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kinds := credential.EventTypes()
		last := rapid.MapOf(rapid.SampledFrom(kinds), rapid.Uint64Range(1, 50)).Draw(t, "last")
		asked := rapid.MapOf(rapid.SampledFrom(kinds), rapid.Just(true)).Draw(t, "asked")
		var want uint64
		for kind := range asked {
			want = max(want, last[kind])
		}
		e := credential.Event{Last: last}
		if got := e.Previous(func(kind credential.EventType) bool { return asked[kind] }); got != want {
			t.Fatalf("previous is %d, want %d", got, want)
		}
	})
}
