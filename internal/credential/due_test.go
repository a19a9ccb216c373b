package credential_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// dueCase is a record, and the moments at which something falls due.
type dueCase struct {
	record credential.Record
	open   *credential.Attempt
	next   credential.Millis // 0: never
	work   credential.Work   // what is due then, and not a millisecond before
}

func dueCases() map[string]dueCase {
	rec := func(state credential.State, refreshable bool, expires, refresh, warn credential.Millis) credential.Record {
		return credential.Record{State: state, Refreshable: refreshable, ExpiresAt: expires, RefreshAt: refresh, WarnAt: warn}
	}
	waiting := &credential.Attempt{Deadline: noon + 35*second}
	doubt := &credential.Attempt{Deadline: noon - second, Doubt: true, RecoverAt: noon + 50*second}
	refresh, advance := credential.Work{Refresh: true}, credential.Work{Advance: true}
	return map[string]dueCase{
		"active, refresh first":            {rec(credential.StateActive, true, noon+hour, noon+minute, 0), nil, noon + minute, refresh},
		"active, expiry first":             {rec(credential.StateActive, true, noon+minute, noon+hour, 0), nil, noon + minute, advance},
		"active, warning first":            {rec(credential.StateActive, true, noon+hour, noon+hour, noon+second), nil, noon + second, advance},
		"active, all at once":              {rec(credential.StateActive, true, noon, noon, noon), nil, noon, credential.Work{Refresh: true, Advance: true}},
		"active, no refresh token":         {rec(credential.StateActive, false, noon+hour, noon+minute, 0), nil, noon + hour, advance},
		"active, nothing planned":          {rec(credential.StateActive, true, noon+hour, 0, 0), nil, noon + hour, advance},
		"degraded":                         {rec(credential.StateDegraded, true, noon+hour, noon+minute, 0), nil, noon + minute, refresh},
		"degraded, expiry":                 {rec(credential.StateDegraded, true, noon+minute, noon+hour, 0), nil, noon + minute, advance},
		"pending":                          {rec(credential.StatePending, true, 0, noon+second, 0), nil, noon + second, refresh},
		"pending, nothing to present":      {rec(credential.StatePending, false, 0, noon+second, 0), nil, 0, credential.Work{}},
		"expired, its expiry is past":      {rec(credential.StateExpired, true, noon-hour, noon+minute, 0), nil, noon + minute, refresh},
		"expired, warning":                 {rec(credential.StateExpired, true, noon-hour, noon+hour, noon+minute), nil, noon + minute, advance},
		"expired, nothing to present":      {rec(credential.StateExpired, false, noon-hour, noon+minute, 0), nil, 0, credential.Work{}},
		"reauth_required":                  {rec(credential.StateReauthRequired, true, noon, noon, noon), nil, 0, credential.Work{}},
		"reauth_required, attempt":         {rec(credential.StateReauthRequired, true, noon, noon, noon), waiting, 0, credential.Work{}},
		"logged_out":                       {rec(credential.StateLoggedOut, true, noon, noon, noon), doubt, 0, credential.Work{}},
		"deleted":                          {rec(credential.StateDeleted, true, noon, noon, noon), nil, 0, credential.Work{}},
		"open, deadline":                   {rec(credential.StateActive, true, noon+hour, noon-minute, 0), waiting, noon + 35*second, credential.Work{Question: true}},
		"open, expiry before its deadline": {rec(credential.StateActive, true, noon+second, noon-minute, 0), waiting, noon + second, advance},
		"open, expired":                    {rec(credential.StateExpired, true, noon-hour, noon-minute, 0), waiting, noon + 35*second, credential.Work{Question: true}},
		"doubt":                            {rec(credential.StateDegraded, true, noon+hour, noon-minute, 0), doubt, noon + 50*second, credential.Work{Recover: true}},
		"doubt, expiry first":              {rec(credential.StateDegraded, true, noon+second, noon-minute, 0), doubt, noon + second, advance},
		"doubt, nothing to present":        {rec(credential.StateDegraded, false, noon+hour, noon-minute, 0), doubt, noon + hour, advance},
		"doubt, expired, nothing to do":    {rec(credential.StateExpired, false, noon-hour, noon-minute, 0), doubt, 0, credential.Work{}},
	}
}

func TestDueBoundaries(t *testing.T) {
	t.Parallel()
	for name, c := range dueCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.next, credential.NextDue(c.record, c.open), "next due")
			if c.next == 0 {
				assert.True(t, credential.Due(c.record, c.open, noon+1000*hour).None())
				return
			}
			assert.True(t, credential.Due(c.record, c.open, c.next-1).None(), "a millisecond too early")
			assert.Equal(t, c.work, credential.Due(c.record, c.open, c.next), "on time")
			assert.Equal(t, c.work, credential.Due(c.record, c.open, c.next+1), "a millisecond later")
		})
	}
}

// checkNextDue checks that NextDue is the first moment at which Due has an
// answer, or 0 where there is none.
func checkNextDue(t failer, r credential.Record, open *credential.Attempt) {
	t.Helper()
	next := credential.NextDue(r, open)
	if next == 0 {
		if work := credential.Due(r, open, 1<<60); !work.None() {
			t.Errorf("nothing is next, and still %+v is due at the end of time: %+v, open %+v", work, r, open)
		}
		return
	}
	if work := credential.Due(r, open, next-1); !work.None() {
		t.Errorf("%+v is due before %d: %+v, open %+v", work, next, r, open)
	}
	if credential.Due(r, open, next).None() {
		t.Errorf("nothing is due at %d: %+v, open %+v", next, r, open)
	}
}

func TestNextDueIsWhenDueAnswers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.Custom(func(t *rapid.T) credential.Millis {
			if rapid.IntRange(0, 3).Draw(t, "set") == 0 {
				return 0
			}
			return noon + credential.Millis(rapid.Int64Range(-3, 3).Draw(t, "offset"))
		})
		r := credential.Record{
			State:       rapid.SampledFrom(append(credential.States(), credential.StateDeleted)).Draw(t, "state"),
			Refreshable: rapid.Bool().Draw(t, "refreshable"),
			ExpiresAt:   moment.Draw(t, "expires"), RefreshAt: moment.Draw(t, "refresh"), WarnAt: moment.Draw(t, "warn"),
			OnceAt: moment.Draw(t, "once"),
		}
		if rapid.Bool().Draw(t, "a session") {
			r.Session.Idle = idle
			r.Session.CountdownAt = moment.Draw(t, "countdown")
			r.Presence = rapid.SampledFrom(credential.Presences()).Draw(t, "presence")
		}
		var open *credential.Attempt
		if rapid.Bool().Draw(t, "open") {
			open = &credential.Attempt{Deadline: moment.Draw(t, "deadline"), Doubt: rapid.Bool().Draw(t, "doubt"), RecoverAt: moment.Draw(t, "recover")}
		}
		checkNextDue(t, r, open)
	})
}

// What is due next may be what time alone brings; only a session's end opens
// another way to a token.
func TestNextCall(t *testing.T) {
	t.Parallel()
	cases := dueCases()
	for name, want := range map[string]credential.Millis{
		"active, refresh first":            noon + minute,
		"active, expiry first":             noon + hour,
		"active, warning first":            noon + hour,
		"active, no refresh token":         noon + hour,
		"active, nothing planned":          noon + hour,
		"degraded, expiry":                 noon + hour,
		"open, expiry before its deadline": noon + 35*second,
		"doubt, expiry first":              noon + 50*second,
		"doubt, nothing to present":        noon + hour,
		"pending, nothing to present":      0,
		"reauth_required":                  0,
		"logged_out":                       0,
	} {
		c, ok := cases[name]
		if assert.True(t, ok, name) {
			assert.Equal(t, want, credential.NextCall(c.record, c.open), name)
		}
	}
	session := credential.Record{State: credential.StateDegraded, Refreshable: true, ExpiresAt: noon + minute, RefreshAt: noon + hour, Session: credential.Session{Idle: time.Hour}}
	assert.Equal(t, noon+minute, credential.NextCall(session, nil), "a login may replace it then")
}

func TestOrderOverdue(t *testing.T) {
	t.Parallel()
	list := []credential.Overdue{
		{"long dead", 0, noon - hour, 0, 0, false},
		{"lives long", 0, noon + hour, 0, 0, false},
		{"pending", 0, 0, 0, 0, false},
		{"in doubt for a while", 0, noon + hour, noon - 20_000, 0, false},
		{"just dead", 0, noon, 0, 0, false},
		{"twin a", 1, noon + minute, 0, 0, false},
		{"grace is over", 2, noon + minute, noon - 30_001, 0, false},
		{"dies next", 0, noon + 1, 0, 0, false},
		{"grace ends now", 0, noon - hour, noon - 30_000, 0, false},
		{"died last", 0, noon - 1, 0, 0, false},
		{"twin b", 3, noon + minute, 0, 0, false},
	}
	credential.OrderOverdue(list, 30*time.Second, noon)
	var got []credential.ID
	for _, entry := range list {
		got = append(got, entry.ID)
	}
	assert.Equal(t, []credential.ID{"grace ends now", "in doubt for a while", "dies next", "twin a", "grace is over", "twin b", "lives long", "pending", "long dead", "died last", "just dead"}, got)
	credential.OrderOverdue(nil, time.Minute, noon)
}

// Twins stand in the order of the index, which is that of their scores.
func TestOrderOverdueOfTwins(t *testing.T) {
	t.Parallel()
	var list []credential.Overdue
	for i := range 1000 {
		list = append(list, credential.Overdue{ID: credential.ID(fmt.Sprintf("%04d", i)), Due: credential.Millis(2000 - i/2), ExpiresAt: noon + credential.Millis(i%3)*minute})
	}
	credential.OrderOverdue(list, 0, noon+1)
	assert.True(t, slices.IsSortedFunc(list, func(a, b credential.Overdue) int {
		deadA, deadB := a.ExpiresAt <= noon+1, b.ExpiresAt <= noon+1
		return cmp.Or(cmp.Compare(count(deadA), count(deadB)), cmp.Compare(a.ExpiresAt, b.ExpiresAt), cmp.Compare(a.Due, b.Due), cmp.Compare(a.ID, b.ID))
	}))
}

func TestValidAt(t *testing.T) {
	t.Parallel()
	for _, state := range append(credential.States(), credential.StateDeleted, "") {
		r := credential.Record{State: state, ExpiresAt: noon}
		served := state == credential.StateActive || state == credential.StateDegraded
		assert.Equal(t, served, r.ValidAt(noon-1, 0), state)
		assert.False(t, r.ValidAt(noon, 0), state)
		assert.False(t, r.ValidAt(noon+1, 0), state)
		assert.Equal(t, served, r.ValidAt(noon-minute-1, 60_000_000_000), state)
		assert.False(t, r.ValidAt(noon-minute, 60_000_000_000), state)
		assert.False(t, r.ValidAt(noon+second, -3_600_000_000_000), "%s: no asking makes a dead token live", state)
	}
	assert.False(t, credential.Record{State: credential.StateActive}.ValidAt(noon, 0))
}
