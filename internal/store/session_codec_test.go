package store

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// TestRecordsOfBefore: what was stored before records knew sessions, logins and
// pauses is read as it was meant, and written in the form of today.
func TestRecordsOfBefore(t *testing.T) {
	t.Parallel()
	const (
		head = "1 40 d%d acme 16 2 1800002400000 1800003600000 1800003600000 17 09080700000000000000000000000000"
		rest = "09757365722d3437313101047465616d04626c75650774696d656f757480c0e285e36880a0abfef962e8c7e285e36882a0abfef96284c0e285e3" +
			"6880e0998dcc6e80d0bacc816e86c0e285e36888c0e285e3688080c58bc6d1010201020774696d656f757403353034030101020300000000000000" +
			"0000000000000302636f01016402017203"
	)
	table := newEventTable()
	stored, err := hex.DecodeString(rest)
	require.NoError(t, err)
	for i, refreshable := range []bool{false, true} {
		want := credential.Record{
			ID: "alice", Provider: "acme", Subject: "user-4711", Labels: map[string]string{"team": "blue"},
			State: credential.StateDegraded, Reason: credential.ReasonTimeout, Since: 1_800_000_000_000, Version: 17, Revision: 40, Generation: 16, Grant: 2,
			CreatedAt: 1_700_000_000_000, UpdatedAt: 1_800_000_000_500, GrantedAt: 1_700_000_000_001, AskedAt: 1_700_000_000_001, IssuedAt: 1_800_000_000_002,
			Lifetime: time.Hour, ExpiresAt: 1_800_003_600_000, RefreshAt: 1_800_002_400_000, LimitAt: 1_900_000_000_000, WarnAt: 1_890_000_000_000,
			Refreshable: refreshable, HasRefresh: refreshable, Failures: 1, Rotations: credential.Rotated{Seen: true, Kept: 1},
			LastAttempt: credential.Attempts{
				SucceededAt: 1_800_000_000_003, FailedAt: 1_800_000_000_004, Failure: credential.ReasonTimeout, Detail: "504",
			},
			Rejected: 3, Spent: []credential.MAC{{1, 2, 3}},
			LastEvents: lastEvents(credential.EventConnected, credential.EventDegraded, credential.EventRefreshed),
			LastWrite:  credential.Nonce{9, 8, 7},
		}
		h := fmt.Sprintf(head, i)
		got, err := table.decodeRecord("key", "alice", h, string(stored))
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
		againH, againR, err := table.appendRecord(nil, nil, got)
		require.NoError(t, err)
		assert.Equal(t, h, string(againH), "the head of what is no session is as it was")
		assert.Equal(t, append(stored, byte(3*i)), againR)
	}
}

// TestRecordOfASession pins the form of today: stored records outlive versions.
func TestRecordOfASession(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	rec := credential.Record{
		ID: "alice", Provider: "air", State: credential.StateActive, Revision: 2, Version: 1, Generation: 1, Grant: 1,
		IssuedAt: 1_800_000_000_000, Lifetime: 15 * time.Minute, ExpiresAt: 1_800_000_900_000, RefreshAt: 1_800_000_600_000,
		LimitAt: 1_800_086_400_000, WarnAt: 1_800_080_000_000, OnceAt: 1_800_000_300_000, Refreshable: true, HasLogin: true,
		Session: credential.Session{
			Idle: 15 * time.Minute, ExtendAfter: 10 * time.Minute, WarnBefore: 2 * time.Minute, CountdownAt: 1_800_000_780_000,
		},
		Presence: credential.PresenceActive, Learned: credential.Learned{Early: 1, Age: time.Minute},
	}
	const words = "1 2 a1 air 1 1 1800000300000 1800000780000 1800000900000 1 00000000000000000000000000000000" +
		" 1800000000000 900000 1800086400000 1800080000000 1800000300000 "
	head := func(change func(*credential.Record)) string {
		changed := rec
		change(&changed)
		h, err := appendHead(nil, changed)
		require.NoError(t, err)
		return string(h)
	}
	assert.Equal(t, words+"600000 120000", head(func(*credential.Record) {}))
	assert.Equal(t, words+"-1 120000", head(func(r *credential.Record) { r.Session.ExtendAfter = 0 }))
	assert.Equal(t, words+"600000 -1", head(func(r *credential.Record) { r.Session.WarnBefore, r.Session.CountdownAt = 0, 1_800_000_780_000 }))
	assert.Equal(t, strings.Replace(words, " a1 ", " a0 ", 1)+"600000 120000", head(func(r *credential.Record) { r.Paused = true }))
	assert.Equal(t, strings.Replace(words, " a1 ", " a0 ", 1)+"-1 120000", head(func(r *credential.Record) { r.Refreshable = false }))
	asleep := head(func(r *credential.Record) { r.Presence = credential.PresenceBackground })
	assert.True(t, strings.HasSuffix(asleep, " -1 -2"), asleep)
	for _, over := range []string{
		head(func(r *credential.Record) { r.Session.Ended = true }),
		head(func(r *credential.Record) { r.State = credential.StateExpired }),
		head(func(r *credential.Record) { r.State = credential.StatePending }),
	} {
		assert.True(t, strings.HasSuffix(over, "000 0"), over)
	}
	token := head(func(r *credential.Record) { r.Session = credential.Session{} })
	assert.True(t, strings.HasSuffix(token, " 1 00000000000000000000000000000000"), token)

	_, r, err := table.appendRecord(nil, nil, rec)
	require.NoError(t, err)
	const before = "0000000000000080c0e285e36880b095d8e368809088d2e368000080a0f1c2b1340000000000000000"
	const ways = "e503" + // refreshable, a login, a session, once, learned; active
		"80a0f1c2b134" + "80c0cbacf622" + "80c0f588fe06" + "c0dbc186e368" + // the session
		"c08f8786e368" + "80dfab86e368" + // once, and what the head does not show then
		"02" + "80e0ba84bf03" + "00" // learned
	assert.Equal(t, before+ways, hex.EncodeToString(r))
	got, err := table.decodeRecord("key", "alice", head(func(*credential.Record) {}), string(r))
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(rec, got))
}

// TestRecordThatCountsActs pins the form of the count, which was one of repetitions
// before: what was stored then is read as it is now. A record without one has no byte
// more.
func TestRecordThatCountsActs(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	rec := credential.Record{ID: "alice", Provider: "air", State: credential.StateActive, Revision: 2, Grant: 1, HasLogin: true}
	h, without, err := table.appendRecord(nil, nil, rec)
	require.NoError(t, err)
	rec.Acts = 300
	_, with, err := table.appendRecord(nil, nil, rec)
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(without[:len(without)-1])+"8420"+"ac02", hex.EncodeToString(with))
	assert.Equal(t, byte(flagHasLogin), without[len(without)-1])
	got, err := table.decodeRecord("key", "alice", string(h), string(with))
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(rec, got))
}

// TestRecordOfASilentLogin: the moment of the owner's last login takes room only where
// refreshd has logged in since. What was stored before that moment was kept has the one
// of the last login at all.
func TestRecordOfASilentLogin(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	rec := credential.Record{
		ID: "alice", Provider: "air", State: credential.StateActive, Revision: 2, Grant: 1, HasLogin: true,
		GrantedAt: 1_800_000_000_000, AskedAt: 1_800_000_000_000,
	}
	h, without, err := table.appendRecord(nil, nil, rec)
	require.NoError(t, err)
	got, err := table.decodeRecord("key", "alice", string(h), string(without))
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(rec, got))
	assert.Equal(t, byte(flagHasLogin), without[len(without)-1])
	rec.AskedAt -= 90_000
	_, with, err := table.appendRecord(nil, nil, rec)
	require.NoError(t, err)
	got, err = table.decodeRecord("key", "alice", string(h), string(with))
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(rec, got))
	assert.Greater(t, len(with), len(without))
}

// TestTouchesAddUp: a record that was read with its last touch is as one that
// heard of every touch.
func TestTouchesAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rec := credential.Record{
			State: credential.StateActive, IssuedAt: 1_000_000, ExpiresAt: 1_900_000, Refreshable: rapid.Bool().Draw(t, "refreshable"),
			Presence: rapid.SampledFrom(credential.Presences()).Draw(t, "presence"),
			LimitAt:  rapid.SampledFrom([]credential.Millis{0, 1_900_000, 1_920_000, 3_000_000}).Draw(t, "limit"),
			Session: credential.Session{
				Idle: 900 * time.Second, ExtendAfter: 600 * time.Second, WarnBefore: 60 * time.Second,
				CountdownAt: rapid.SampledFrom([]credential.Millis{0, 1_840_000, 1_870_000}).Draw(t, "countdown"),
			},
		}
		want, last := rec, credential.Millis(0)
		at := rec.IssuedAt
		for range rapid.IntRange(1, 8).Draw(t, "touches") {
			at += credential.Millis(rapid.IntRange(1, 1_000_000).Draw(t, "later"))
			if at < want.ExpiresAt { // as the script checks
				want, last = want.Touched(at), at
			}
		}
		if last == 0 {
			return
		}
		got, err := withTouch("key", rec, fmt.Sprint(last))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestTouchRefusals(t *testing.T) {
	t.Parallel()
	rec := credential.Record{
		State: credential.StateActive, IssuedAt: 1_000_000, ExpiresAt: 1_900_000, Session: credential.Session{Idle: 900 * time.Second},
	}
	for name, change := range map[string]func(*credential.Record){
		"known":      func(r *credential.Record) { r.IssuedAt = 1_200_000 },
		"ended":      func(r *credential.Record) { r.Session.Ended = true },
		"expired":    func(r *credential.Record) { r.State = credential.StateExpired },
		"terminal":   func(r *credential.Record) { r.State = credential.StateReauthRequired },
		"no session": func(r *credential.Record) { r.Session = credential.Session{} },
	} {
		changed := rec
		change(&changed)
		got, err := withTouch("key", changed, "1200000")
		require.NoError(t, err, name)
		assert.Equal(t, changed, got, name)
	}
	_, err := withTouch("rd:key", rec, "garbage")
	corrupt := new(CorruptError)
	require.ErrorAs(t, err, &corrupt)
	assert.Equal(t, "t", corrupt.Field)
	assert.NotContains(t, err.Error(), "garbage")
}

func TestUnknownPresenceIsNotStored(t *testing.T) {
	t.Parallel()
	_, _, err := newEventTable().appendRecord(nil, nil, credential.Record{
		Provider: "acme", State: credential.StateActive, Revision: 1, Presence: "elsewhere",
	})
	require.ErrorIs(t, err, errPresence)
}
