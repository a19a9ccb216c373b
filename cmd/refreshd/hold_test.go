package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A hold keeps back calls, and nothing of what time brings.
func TestWhatAHoldKeepsBack(t *testing.T) {
	t.Parallel()
	due := time.Now().UTC()
	until, end := due.Add(time.Minute), due.Add(time.Hour)
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
