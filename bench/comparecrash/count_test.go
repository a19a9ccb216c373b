package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
)

// Five credentials: one is well, and one of each kind of loss.
func TestCount(t *testing.T) {
	t.Parallel()
	killed := time.Unix(1_800_000_000, 0)
	at := func(d time.Duration) int64 { return killed.Add(d).UnixNano() }
	answered := func(subject string, received, replied time.Duration, delivered bool) practice.Entry {
		return practice.Entry{Subject: subject, Received: at(received), RotatedAt: at(received), RepliedAt: at(replied), Delivered: delivered}
	}
	lost := practice.Entry{Subject: "undelivered", Received: at(-time.Second), RotatedAt: at(-time.Second)}
	c := count(evidence{
		credentials: 5,
		entries: []practice.Entry{
			answered("well", -time.Second, -400*time.Millisecond, true),
			lost,
			answered("dying", -time.Second, -40*time.Millisecond, true),
			answered("unexcused", -300*time.Millisecond, -60*time.Millisecond, true),
			answered("unexcused", time.Second, 2*time.Second, true), // after the kill
			answered("reauth", -time.Second, -500*time.Millisecond, true),
		},
		grants: []practice.GrantState{
			{Subject: "well", Alive: true},
			{Subject: "undelivered"},
			{Subject: "dying"},
			{Subject: "unexcused", Alive: true},
			{Subject: "reauth", Alive: true},
		},
		summary: practice.Summary{Presentations: 6, Rotations: 6, GenerationsPresentedTwice: 2, Undelivered: 1},
		held: []holding{
			{subject: "well", fresh: true},
			{subject: "undelivered", fresh: true}, // it has not noticed
			{subject: "dying", reauth: true},
			{subject: "unexcused", fresh: true}, // with a token that is not accepted
			{subject: "reauth"},                 // neither fresh nor given up
		},
		accepted: map[string]bool{"well": true, "undelivered": true, "reauth": true},
		kill:     moment{killed: true, before: killed, after: killed.Add(time.Millisecond)},
	})
	assert.Equal(t, counts{
		Credentials: 5, Peak: 3, InAir: 1, Sent: 6, Rotations: 6, Twice: 2, Revoked: 2, Undelivered: 1,
		Lost: 4, LostReply: 1, LostDying: 1, LostUnexcused: 2, Unsettled: 1,
	}, c)
}

func TestNothingIsInTheAirAtNoKill(t *testing.T) {
	t.Parallel()
	e := practice.Entry{Received: 1, RepliedAt: 3}
	at := time.Unix(0, 2)
	assert.True(t, moment{killed: true, before: at, after: at}.inAir(e))
	assert.False(t, moment{before: at}.inAir(e))
	assert.False(t, moment{before: at}.takes(e))
}

func TestSpread(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "-", spread(nil, ""))
	assert.Equal(t, "3", spread([]float64{3, 3, 3}, ""))
	assert.Equal(t, "2 (1-9)", spread([]float64{9, 1, 2}, ""))
	assert.Equal(t, "2.5 (1-4)", spread([]float64{1, 2, 3, 4}, ""))
	assert.Equal(t, "10.0 s (9.5-12.0)", spread([]float64{10, 9.5, 12}, " s"))
}

func TestTable(t *testing.T) {
	t.Parallel()
	columns := []column{
		{"strict", "plain", []counts{{Credentials: 10, Lost: 3, Rest: 10.25}, {Credentials: 10, Lost: 5, Rest: 12}}},
		{"strict", "refreshd", []counts{{Credentials: 10, Rest: 2}, {Credentials: 10, Rest: 2}}},
	}
	const slow = `                                               strict     strict
                                                plain   refreshd
credentials                                        10         10
in the air at the same time                         0          0
refreshes sent                                      0          0
rotations                                           0          0
refresh tokens presented twice                      0          0
families revoked                                    0          0
answers not delivered                               0          0
credentials lost                              4 (3-5)          0
  their answer was not delivered                    0          0
  neither: lost by the subject                      0          0
left undecided                                      0          0
at rest again after                11.1 s (10.2-12.0)      2.0 s
`
	assert.Equal(t, slow, table(scenarioSlow, columns))
	assert.Contains(t, table(scenarioKill, columns), "in the air at the kill")
}

func TestKillsAreDrawnFromTheSeed(t *testing.T) {
	t.Parallel()
	drawn := map[int64]bool{}
	for seed := range uint64(50) {
		p := plan{credentials: 1000, seed: seed}
		k := p.answersBeforeKill()
		assert.Equal(t, k, p.answersBeforeKill(), "the same for all subjects")
		assert.GreaterOrEqual(t, k, int64(200))
		assert.Less(t, k, int64(800))
		drawn[k] = true
	}
	assert.Greater(t, len(drawn), 10)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	flags := raw{providers: "strict,grace", scenarios: "kill,slow", locks: "10s,45s"}
	good := settings{credentials: 1000, rounds: 3, latency: time.Second, slowLatency: slowLatency}
	require.NoError(t, good.read(flags))
	require.NoError(t, good.check())
	assert.Equal(t, []practice.Reuse{practice.ReuseStrict, practice.ReuseGrace}, good.providers)
	assert.Len(t, good.contenders(), 3)
	for name, change := range map[string]func(*settings, *raw){
		"--provider":     func(_ *settings, r *raw) { r.providers = "strict,lax" },
		"--scenario":     func(_ *settings, r *raw) { r.scenarios = "" },
		"--lock-ttl":     func(_ *settings, r *raw) { r.locks = "10s,1ms" },
		"--credentials":  func(s *settings, _ *raw) { s.credentials = 9 },
		"--rounds":       func(s *settings, _ *raw) { s.rounds = 0 },
		"--latency":      func(s *settings, _ *raw) { s.latency = 0 },
		"--slow-latency": func(s *settings, _ *raw) { s.slowLatency = 16 * time.Second },
	} {
		bad, badFlags := settings{credentials: 1000, rounds: 3, latency: time.Second, slowLatency: slowLatency}, flags
		change(&bad, &badFlags)
		readErr := bad.read(badFlags)
		if readErr == nil {
			readErr = bad.check()
		}
		assert.ErrorContains(t, readErr, name)
	}
}
