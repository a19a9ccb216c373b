package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A hold keeps back calls, and nothing of what time brings.
func TestWhatAHoldKeepsBack(t *testing.T) {
	t.Parallel()
	due := time.Now().UTC()
	over, until, end := due.Add(-time.Minute), due.Add(time.Minute), due.Add(time.Hour)
	held := pauses{providers: map[string]providerInfo{"acme": {Hold: &holdInfo{Until: until}}}}
	for name, row := range map[string]struct {
		one  record
		kept bool
		due  time.Time
	}{
		"a refresh":            {one: record{Callable: true, DueAt: &due, ExpiresAt: &end}, kept: true, due: until},
		"a login":              {one: record{Callable: true, DueAt: &due}, kept: true, due: until},
		"a refresh after it":   {one: record{Callable: true, DueAt: &end, ExpiresAt: &end}, due: end},
		"an expiry":            {one: record{Callable: true, DueAt: &due, ExpiresAt: &due}, due: due},
		"a token for good":     {one: record{DueAt: &due, ExpiresAt: &end}, due: due},
		"a session's login":    {one: record{State: statePending, Callable: true, Session: new(struct{}), DueAt: &due}, kept: true, due: until},
		"a session once more":  {one: record{Callable: true, Session: new(struct{}), DueAt: &due, ExpiresAt: &over}, kept: true, due: until},
		"an extension or so":   {one: record{Callable: true, Session: new(struct{}), DueAt: &due, ExpiresAt: &end}, kept: true, due: due},
		"one of somebody else": {one: record{Provider: "other", Callable: true, DueAt: &due, ExpiresAt: &end}, due: due},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if row.one.Provider == "" {
				row.one.Provider = "acme"
			}
			assert.Equal(t, row.kept, held.hold(row.one) != nil)
			assert.Equal(t, row.due, *held.due(row.one))
		})
	}
}

// What the notes say is not said a second time, as the failure of a login that was not
// made for it.
func TestWhyALoginWaitsIsSaidOnce(t *testing.T) {
	t.Parallel()
	due := time.Now().UTC()
	held := pauses{providers: map[string]providerInfo{
		"held": {Hold: &holdInfo{Until: due.Add(time.Minute), Reason: reasonRateLimited, Detail: "HTTP 429"}}, "paused": {Paused: true}, "refused": {},
	}}
	refused := held.providers["refused"]
	refused.Breaker.Open, refused.Breaker.Reason = true, reasonClientMisconfigured
	held.providers["refused"] = refused
	for name, row := range map[string]struct {
		failed failure
		why    string
	}{
		"held":    {failure{Reason: reasonRateLimited}, "provider held until " + due.Add(time.Minute).Format(time.RFC3339) + " (rate_limited, HTTP 429)"},
		"paused":  {failure{Reason: reasonPaused}, "provider paused"},
		"refused": {failure{Reason: reasonClientMisconfigured}, "provider refuses the client (client_misconfigured)"},
		"free":    {failure{Reason: reasonRateLimited}, reasonRateLimited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := record{Provider: name, State: statePending, HasLogin: true, Callable: true, DueAt: &due, Failure: &row.failed}
			assert.Equal(t, row.why, strings.Join(held.why(one), ", "))
			one.Failure = &failure{Reason: "network"}
			assert.Contains(t, held.why(one), "network")
		})
	}
}

func TestARefusedClient(t *testing.T) {
	t.Parallel()
	held := pauses{providers: map[string]providerInfo{"acme": {}, "other": {}}}
	one := record{Provider: "acme", Callable: true}
	assert.Empty(t, held.notes(one))
	acme := held.providers["acme"]
	acme.Breaker.Open, acme.Breaker.Reason = true, "invalid_client"
	held.providers["acme"] = acme
	assert.Equal(t, []string{"provider refuses the client (invalid_client)"}, held.notes(one))
	assert.Empty(t, held.notes(record{Provider: "acme"}), "it is not called anyway")
	assert.Empty(t, held.notes(record{Provider: "other", Callable: true}))
}
