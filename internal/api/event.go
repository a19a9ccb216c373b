package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/refreshd/refreshd/internal/credential"
)

// CloudEvent is an event as subscribers see it: CloudEvents 1.0 in its JSON
// format. Drop duplicates by source and id.
type CloudEvent struct {
	SpecVersion     string     `json:"specversion" enum:"1.0" doc:"Version of CloudEvents"`
	ID              string     `json:"id" doc:"The same however often the event is delivered" example:"github:alice/7/9f86d081"`
	Source          string     `json:"source" doc:"The event log that the event stands in"`
	Type            string     `json:"type" doc:"What happened" example:"credential.refreshed"`
	Subject         string     `json:"subject,omitempty" doc:"The credential's ID" example:"github:alice"`
	Time            time.Time  `json:"time" doc:"When it was committed, by the store's clock"`
	DataContentType string     `json:"datacontenttype,omitempty"`
	Data            *EventData `json:"data,omitempty" doc:"Absent where the event is about the stream itself"`
}

// EventData is what an event tells of its credential, or of a subscription.
type EventData struct {
	Credential      string            `json:"credential,omitempty" doc:"The credential's ID; absent where the event is about a subscription, as are provider, state and version"`
	Provider        string            `json:"provider,omitempty"`
	User            string            `json:"user,omitempty" doc:"The user's UID at the provider"`
	Labels          map[string]string `json:"labels,omitempty"`
	State           string            `json:"state,omitempty" doc:"State after the change"`
	PreviousState   string            `json:"previous_state,omitempty" doc:"State before it; absent for a credential's first version"`
	Reason          string            `json:"reason,omitempty"`
	InitiatedBy     string            `json:"initiated_by" enum:"schedule,demand,owner,user,provider"`
	Version         uint64            `json:"version,omitempty" doc:"Grows by one with every event of this credential"`
	PreviousVersion uint64            `json:"previous_version" doc:"Version of this credential's last event among those asked for; 0 if there was none"`
	ExpiresAt       *time.Time        `json:"expires_at,omitempty" doc:"End of the access token's life"`

	Subscription      string     `json:"subscription,omitempty" doc:"The subscription that was disabled, or lags behind"`
	Since             *time.Time `json:"since,omitempty" doc:"When it was disabled, or was seen to lag"`
	OldestUndelivered *time.Time `json:"oldest_undelivered,omitempty" doc:"When the oldest event was committed that it is still owed"`
	UndeliveredEvent  string     `json:"undelivered_event,omitempty" doc:"ID of the event that could not be delivered"`
}

// EventPage is a part of the event log.
type EventPage struct {
	Events []CursorEvent `json:"events" nullable:"false"`
	Cursor string        `json:"cursor" doc:"To read on behind what was looked at, whether or not any of it was asked for"`
}

// CursorEvent is an event with the cursor to read on behind it.
type CursorEvent struct {
	Cursor string     `json:"cursor"`
	Event  CloudEvent `json:"event"`
}

// resetEvent says that events are missing before those that follow: the
// subscriber has to look at the present state for itself.
func (a *API) resetEvent(cursor string) (StreamedEvent, error) {
	event := CloudEvent{
		SpecVersion: "1.0", ID: ulid.Make().String(), Source: a.source,
		Type: string(credential.EventStreamReset), Time: a.now().Time(),
	}
	data, err := json.Marshal(event)
	if err != nil {
		return StreamedEvent{}, fmt.Errorf("encode an event: %w", err)
	}
	return StreamedEvent{Cursor: cursor, Type: event.Type, JSON: data}, nil
}
