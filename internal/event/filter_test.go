package event

import (
	"encoding/json"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		filter Filter
		wants  bool
	}{
		"everything":      {Filter{}, true},
		"its type":        {Filter{Types: []string{"credential.refreshed"}}, true},
		"a glob":          {Filter{Types: []string{"session.*", "credential.*"}}, true},
		"another type":    {Filter{Types: []string{"credential.expired"}}, false},
		"its provider":    {Filter{Providers: []string{"acme", "github"}}, true},
		"another":         {Filter{Providers: []string{"acme"}}, false},
		"its prefix":      {Filter{Prefix: "github:"}, true},
		"another prefix":  {Filter{Prefix: "Github:"}, false},
		"its label":       {Filter{Labels: map[string]string{"team": "blue"}}, true},
		"its subject":     {Filter{Subject: "u-7"}, true},
		"another subject": {Filter{Subject: "u-"}, false},
		"another value":   {Filter{Labels: map[string]string{"team": "red"}}, false},
		"another label":   {Filter{Labels: map[string]string{"team": "blue", "tier": ""}}, false},
		"all but one":     {Filter{Types: []string{"credential.*"}, Providers: []string{"github"}, Prefix: "x"}, false},
		"all of the four": {Filter{Types: []string{"*"}, Providers: []string{"github"}, Prefix: "git", Labels: map[string]string{"team": "blue"}}, true},
	} {
		assert.Equal(t, c.wants, c.filter.Wants(eventtest.Sample()), name)
		assert.False(t, c.filter.Wants(credential.Event{}), "an entry that cannot be read, by %s", name)
		require.NoError(t, c.filter.Check(), name)
	}
	require.Error(t, Filter{Types: []string{"credential.refresh"}}.Check(), "misspelled")

	operators := eventtest.Sample()
	operators.ID, operators.Type, operators.Subject = credential.ClientID("github"), credential.EventClientMisconfigured, ""
	assert.True(t, Filter{}.Wants(operators))
	assert.False(t, Filter{Subject: "u-7"}.Wants(operators), "it is no subject's")
	require.Error(t, Filter{Types: []string{"credential.["}}.Check())
}

// What subscribers get is a CloudEvent by its own SDK.
func TestCloudEvent(t *testing.T) {
	t.Parallel()
	data, err := Expand(credential.LogEntry{Position: "1-1", Event: eventtest.Sample(), At: 1_800_000_000_000}, "urn:refreshd:e", Filter{}).Encode()
	require.NoError(t, err)
	assert.NotContains(t, string(data), "\n")
	var e cloudevents.Event
	require.NoError(t, json.Unmarshal(data, &e))
	require.NoError(t, e.Validate())
	assert.Equal(t, "github:alice/7/9f86d081", e.ID())
	assert.Equal(t, "urn:refreshd:e", e.Source())
	assert.Equal(t, "credential.refreshed", e.Type())
	assert.Equal(t, "github:alice", e.Subject())
	assert.Equal(t, time.UnixMilli(1_800_000_000_000).UTC(), e.Time().UTC())
	var got map[string]any
	require.NoError(t, e.DataAs(&got))
	want := map[string]any{
		"credential": "github:alice", "provider": "github", "user": "u-7", "labels": map[string]any{"team": "blue"},
		"state": "active", "previous_state": "degraded", "initiated_by": "schedule",
		"version": 7.0, "previous_version": 6.0, "expires_at": "2027-01-15T09:00:00Z",
	}
	assert.Empty(t, cmp.Diff(want, got))
}

// The previous version is that of the last event among those asked for.
func TestPreviousVersionUnderAFilter(t *testing.T) {
	t.Parallel()
	for glob, want := range map[string]uint64{
		"credential.*": 6, "credential.refreshed": 4, "credential.re*": 4, "credential.connected": 1, "session.*": 0,
	} {
		e := Expand(credential.LogEntry{Event: eventtest.Sample()}, "urn:x", Filter{Types: []string{glob}})
		assert.Equal(t, want, e.Data.PreviousVersion, glob)
	}
	gone := eventtest.Sample()
	gone.ExpiresAt = 0
	assert.Nil(t, Expand(credential.LogEntry{Event: gone}, "urn:x", Filter{}).Data.ExpiresAt)
}

// An event about a subscription has its own fields, and none of a credential's.
func TestEventAboutASubscription(t *testing.T) {
	t.Parallel()
	notice := credential.Event{
		Type: credential.EventSubscriptionDisabled, InitiatedBy: credential.BySchedule, Reason: credential.ReasonGone, Nonce: credential.Nonce{1},
		Notice: credential.Notice{Subscription: "ui", Since: 1_800_000_001_000, Oldest: 1_800_000_000_000, Event: "github:alice/7/9f86d081"},
	}
	assert.True(t, Filter{Types: []string{"subscription.*"}}.Wants(notice))
	assert.False(t, Filter{Prefix: "s"}.Wants(notice), "who may see some credentials only does not see it")
	data, err := Expand(credential.LogEntry{Position: "1-1", Event: notice, At: 1_800_000_001_000}, "urn:refreshd:e", Filter{}).Encode()
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"specversion": "1.0", "id": "01000000000000000000000000", "source": "urn:refreshd:e", "type": "subscription.disabled",
		"time": "2027-01-15T08:00:01Z", "datacontenttype": "application/json",
		"data": {"subscription": "ui", "reason": "gone", "since": "2027-01-15T08:00:01Z", "oldest_undelivered": "2027-01-15T08:00:00Z",
			"undelivered_event": "github:alice/7/9f86d081", "initiated_by": "schedule", "previous_version": 0}}`, string(data))
}
