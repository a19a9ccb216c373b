package ssf

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

const (
	someIssuer   = "https://refreshd.example"
	someAudience = "https://receiver.example"
)

var errAway = errors.New("connection refused")

// memoryKeys keeps keys as the store does.
type memoryKeys struct {
	mu       sync.Mutex
	text     []byte
	revision uint64
	away     bool
	reads    int
}

func (k *memoryKeys) SigningKeys(context.Context) ([]byte, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	if k.away {
		return nil, 0, errAway
	}
	return k.text, k.revision, nil
}

func (k *memoryKeys) SaveSigningKeys(_ context.Context, text []byte, revision uint64) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return false, errAway
	}
	if revision != k.revision {
		return false, nil
	}
	k.text, k.revision = text, revision+1
	return true, nil
}

func (k *memoryKeys) leave(away bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = away
}

// clock is the store's, moved by the test.
type clock struct {
	mu  sync.Mutex
	now credential.Millis
}

func newClock() *clock { return &clock{now: 1_800_000_000_000} }

func (c *clock) read() credential.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *clock) wall() time.Time { return c.read().Time() }

// transmitter signs with the ring's keys, for a provider with an issuer and
// others without.
func transmitter(ring *Ring, c *clock) *Transmitter {
	return New(Options{
		Issuer: func() string { return someIssuer }, Ring: ring, Now: c.wall,
		IssuerOf: func(provider string) string {
			if provider == "github" {
				return "https://github.example"
			}
			return ""
		},
	})
}

// published is the set of keys as receivers get it.
func published(t *testing.T, ring *Ring) jose.JSONWebKeySet {
	t.Helper()
	keys, err := ring.Published(t.Context())
	require.NoError(t, err)
	var set jose.JSONWebKeySet
	for _, key := range keys {
		x, y, err := key.Coordinates()
		require.NoError(t, err)
		text, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": key.ID, "use": "sig", "alg": "ES256"})
		require.NoError(t, err)
		var one jose.JSONWebKey
		require.NoError(t, one.UnmarshalJSON(text))
		require.True(t, one.Valid())
		require.True(t, one.IsPublic())
		set.Keys = append(set.Keys, one)
	}
	return set
}

// received checks a token as a receiver of CAEP has to, and returns its claims.
//
//   - RFC 8417, section 2.3, and SSF 1.0, section 4.1.6: typ is secevent+jwt.
//   - RFC 8417, section 2.2: iss, iat, jti and events are there.
//   - SSF 1.0, sections 4.1.1 to 4.1.3: sub_id names the subject, there is no
//     sub and no exp.
//   - SSF 1.0, section 4.1.8: aud is the receiver.
//   - RFC 9493, section 3: a subject identifier has what its format wants, and
//     nothing else.
func received(t *testing.T, set jose.JSONWebKeySet, token string) map[string]any {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	require.Len(t, signed.Signatures, 1)
	header := signed.Signatures[0].Protected
	require.Equal(t, "secevent+jwt", header.ExtraHeaders[jose.HeaderType])
	keys := set.Key(header.KeyID)
	require.Len(t, keys, 1, "the key is published")
	body, err := signed.Verify(keys[0])
	require.NoError(t, err)
	var c map[string]any
	require.NoError(t, json.Unmarshal(body, &c))
	for _, name := range []string{"sub", "exp", "nbf"} {
		require.NotContains(t, c, name)
	}
	require.Equal(t, someIssuer, c["iss"])
	require.Equal(t, someAudience, c["aud"])
	require.NotEmpty(t, c["jti"])
	require.Positive(t, c["iat"])
	subject, ok := c["sub_id"].(map[string]any)
	require.True(t, ok)
	switch subject["format"] {
	case "iss_sub":
		require.Len(t, subject, 3)
		require.NotEmpty(t, subject["iss"])
		require.NotEmpty(t, subject["sub"])
	case "opaque":
		require.Len(t, subject, 2)
		require.NotEmpty(t, subject["id"])
	default:
		t.Fatalf("format %v", subject["format"])
	}
	events, ok := c["events"].(map[string]any)
	require.True(t, ok)
	require.Len(t, events, 1)
	for uri := range events {
		require.True(t, strings.HasPrefix(uri, "https://schemas.openid.net/secevent/"), uri)
	}
	return c
}

// storePlaces keeps places in a real store.
type storePlaces struct{ store *store.Store }

func (p storePlaces) Place(ctx context.Context, subscription string) (Progress, error) {
	at, err := p.store.PollPlace(ctx, subscription)
	progress := Progress{Last: at.Cursors, Answered: at.Answered, Revision: at.Revision}
	if at.VerifyID != "" {
		progress.Pending = &PendingVerification{ID: at.VerifyID, State: at.VerifyState}
	}
	return progress, err
}

func (p storePlaces) SavePlace(ctx context.Context, subscription string, progress Progress) (bool, error) {
	at := store.PollPlace{Cursors: progress.Last, Answered: progress.Answered, Revision: progress.Revision}
	if progress.Pending != nil {
		at.VerifyID, at.VerifyState = progress.Pending.ID, progress.Pending.State
	}
	return p.store.SavePollPlace(ctx, subscription, at)
}
