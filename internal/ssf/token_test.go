package ssf

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

const at = 1_800_000_000

func someStream() Stream { return Stream{Name: "signals", Audience: someAudience} }

// Each event becomes what docs/signals.md says, or nothing.
func TestTokens(t *testing.T) {
	t.Parallel()
	const caep, risc = "https://schemas.openid.net/secevent/caep/event-type/", "https://schemas.openid.net/secevent/risc/event-type/"
	usual := func(more map[string]any) map[string]any {
		p := map[string]any{"event_timestamp": float64(at), "initiating_entity": "system", "reason_admin": map[string]any{"en": "rejected"}}
		maps.Copy(p, more)
		return p
	}
	type securityEvent struct {
		uri     string
		payload map[string]any
	}
	want := map[credential.EventType]securityEvent{ //nolint:exhaustive // what is missing becomes nothing
		credential.EventConnected:      {caep + "session-established", usual(nil)},
		credential.EventReauthorized:   {caep + "session-established", usual(nil)},
		credential.EventLoggedOut:      {caep + "session-revoked", usual(nil)},
		credential.EventRefreshed:      {caep + "credential-change", usual(map[string]any{"credential_type": "oauth2-token", "change_type": "update"})},
		credential.EventDeleted:        {caep + "credential-change", usual(map[string]any{"credential_type": "oauth2-token", "change_type": "delete"})},
		credential.EventClaimsChanged:  {caep + "token-claims-change", usual(map[string]any{"claims": map[string]any{"updated_at": float64(at), "exp": float64(at + 3600)}})},
		credential.EventReauthRequired: {risc + "account-credential-change-required", map[string]any{}},
		credential.EventReuseSuspected: {risc + "credential-compromise", map[string]any{"event_timestamp": float64(at), "credential_type": "oauth2-token"}},
		credential.EventStreamVerification: {
			"https://schemas.openid.net/secevent/ssf/event-type/verification", map[string]any{},
		},
	}
	want[credential.EventUserDataChanged] = want[credential.EventClaimsChanged]
	c := newClock()
	ring := NewRing(new(memoryKeys), c.read)
	tokens := transmitter(ring, c)
	for _, kind := range credential.EventTypes() {
		e := eventtest.Sample()
		e.Type, e.Reason = kind, credential.ReasonRejected
		token, err := tokens.Token(t.Context(), credential.LogEntry{Position: "1-1", Event: e, At: at * 1000}, someStream())
		row, mapped := want[kind]
		if !mapped {
			require.ErrorIs(t, err, ErrNoSecurityEvent, kind)
			continue
		}
		require.NoError(t, err, kind)
		got := received(t, published(t, ring), token)
		assert.Equal(t, map[string]any{row.uri: row.payload}, got["events"], kind)
		assert.Equal(t, e.EventID(), got["jti"], "the same however often it is made")
		assert.InDelta(t, at, got["toe"], 0)
		subject := map[string]any{"format": "iss_sub", "iss": "https://github.example", "sub": "u-7"}
		if kind == credential.EventStreamVerification {
			subject = map[string]any{"format": "opaque", "id": "signals"}
		}
		assert.Empty(t, cmp.Diff(subject, got["sub_id"]), kind)
	}
}

// A user is named by their issuer only where both are known.
func TestSubjects(t *testing.T) {
	t.Parallel()
	c := newClock()
	ring := NewRing(new(memoryKeys), c.read)
	for name, change := range map[string]func(*credential.Event){
		"no issuer": func(e *credential.Event) { e.Provider = "shop" },
		"no user":   func(e *credential.Event) { e.Subject = "" },
	} {
		e := eventtest.Sample()
		change(&e)
		token, err := transmitter(ring, c).Token(t.Context(), credential.LogEntry{Event: e, At: at * 1000}, someStream())
		require.NoError(t, err, name)
		got := received(t, published(t, ring), token)
		assert.Equal(t, map[string]any{"format": "opaque", "id": "github:alice"}, got["sub_id"], name)
	}
}

func TestInitiators(t *testing.T) {
	t.Parallel()
	for by, want := range map[credential.Initiator]string{
		credential.ByUser: "user", credential.ByOwner: "admin", credential.BySchedule: "system",
		credential.ByDemand: "system", credential.ByProvider: "system",
	} {
		assert.Equal(t, want, initiator(by), by)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"credential.refreshed", "credential.reauth_required"}, Select([]string{"credential.re*d", "session.*", "provider.*"})[1:3],
		"of those asked for, what becomes a security event")
	assert.Empty(t, Select([]string{"session.*", "provider.*", "stream.*"}))
	assert.Len(t, Select(nil), 9)
	for _, kind := range Select(nil) {
		assert.NotEmpty(t, uriOf(credential.EventType(kind)))
	}
}

// A verification carries the state that the receiver gave.
func TestVerification(t *testing.T) {
	t.Parallel()
	c := newClock()
	ring := NewRing(new(memoryKeys), c.read)
	token, err := transmitter(ring, c).Verification(t.Context(), someStream(), "v-1", "VGhpcyBpcw==")
	require.NoError(t, err)
	got := received(t, published(t, ring), token)
	assert.Equal(t, "v-1", got["jti"])
	assert.Equal(t, map[string]any{"format": "opaque", "id": "signals"}, got["sub_id"])
	assert.Equal(t, map[string]any{uriVerification: map[string]any{"state": "VGhpcyBpcw=="}}, got["events"])
	assert.NotContains(t, got, "toe")
	assert.InDelta(t, float64(c.wall().Unix()), got["iat"], 0)
}

// Nothing can be signed without keys, and the error tells why.
func TestTokenWithoutKeys(t *testing.T) {
	t.Parallel()
	c := newClock()
	keys := &memoryKeys{away: true}
	_, err := transmitter(NewRing(keys, c.read), c).Token(t.Context(), credential.LogEntry{Event: eventtest.Sample()}, someStream())
	require.ErrorIs(t, err, errAway)
}

func BenchmarkToken(b *testing.B) {
	c := newClock()
	tokens := transmitter(NewRing(new(memoryKeys), c.read), c)
	entry := credential.LogEntry{Event: eventtest.Sample(), At: credential.At(time.Unix(at, 0))}
	for b.Loop() {
		if _, err := tokens.Token(b.Context(), entry, someStream()); err != nil {
			b.Fatal(err)
		}
	}
}
