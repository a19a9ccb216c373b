package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// An EventType names what happened. A service that is newer than this package
// may send types that have no constant here: pass over what you do not know.
type EventType string

// What happens to a credential. Each is one version of it.
const (
	EventConnected       EventType = "credential.connected"         // stored for the first time
	EventReauthorized    EventType = "credential.reauthorized"      // logged in again
	EventRefreshed       EventType = "credential.refreshed"         // it has a new token
	EventDegraded        EventType = "credential.degraded"          // its token is valid, and refreshes fail
	EventRecovered       EventType = "credential.recovered"         // refreshes succeed again
	EventExpired         EventType = "credential.expired"           // its token is past its expiry
	EventExpiring        EventType = "credential.expiring"          // the end of its refresh token comes near
	EventReauthRequired  EventType = "credential.reauth_required"   // only the user can mend it
	EventReuseSuspected  EventType = "credential.reuse_suspected"   // somebody else may have used its refresh token
	EventClaimsChanged   EventType = "credential.claims_changed"    // its scope or its user is another
	EventUserDataChanged EventType = "credential.user_data_changed" // what is told of its user is another
	EventLoggedOut       EventType = "credential.logged_out"        // its owner ended it
	EventDeleted         EventType = "credential.deleted"           // it is gone
	EventSessionExpiring EventType = "session.expiring"             // an active user's session is about to end, at ExpiresAt
	EventSessionExtended EventType = "session.extended"             // refreshd has kept a session alive
)

// What happens to a provider as a whole, for its operators.
const (
	EventProviderOutage      EventType = "provider.outage"
	EventProviderRecovered   EventType = "provider.recovered"
	EventClientMisconfigured EventType = "client.misconfigured" // the provider refuses the operator's own settings
	EventClientRecovered     EventType = "client.recovered"
)

// What happens to subscriptions and streams. These belong to no version.
const (
	EventSubscriptionDisabled EventType = "subscription.disabled"
	EventSubscriptionLagging  EventType = "subscription.lagging"
	EventStreamReset          EventType = "stream.reset"        // events are missing before those that follow
	EventStreamVerification   EventType = "stream.verification" // asked for, to see that events arrive
)

// An Event says that something about a credential changed. It is a CloudEvent
// 1.0; its JSON is what refreshd sends to streams, webhooks and queues alike,
// and [json.Unmarshal] reads it from wherever it comes. It never holds a token
// or a part of one.
//
// Delivery is at least once: the same event may come again, with the same
// Source and ID. Within a credential events are in the order of their Version.
type Event struct {
	ID     string    // the same however often the event is delivered
	Source string    // the event log that it stands in; another one after that was lost or restored
	Type   EventType // what happened
	Time   time.Time // when it was committed, by the service's clock

	Credential    string            // the credential's ID; "" where the event is about none
	Provider      string            // its provider's name
	User          string            // the user's UID at the provider
	Labels        map[string]string // its owner's own
	State         State             // after the change
	PreviousState State             // before it; "" for the first version
	Reason        string            // why, such as invalid_grant
	InitiatedBy   string            // who set it off: schedule, demand, owner, user or provider
	ExpiresAt     time.Time         // end of the access token's life, or a session's idle deadline; zero if there is none

	// Version grows by one with every event of the credential. 0 where the
	// event belongs to no version.
	Version uint64
	// PreviousVersion is that of the credential's last event before this one,
	// among those that the filter lets through. 0 if there was none.
	PreviousVersion uint64

	// Data is what the event carries, as it was sent: for types and members
	// that this package does not know.
	Data json.RawMessage

	// Cursor is the place behind the event in the stream that [Client.Watch]
	// read it from, to go on from there later. It is no part of the JSON.
	Cursor string
}

// IsReset reports whether events are missing between those that came before
// this one and those that follow: the log was trimmed, restored or begun anew.
// What is known of credentials has to be read again, as [Client.State] does.
func (e Event) IsReset() bool { return e.Type == EventStreamReset }

// cloudEvent is an event's JSON (CloudEvents 1.0, JSON format section 3).
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            EventType       `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time,omitzero"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
}

// eventData is what an event tells of its credential.
type eventData struct {
	Credential      string            `json:"credential"`
	Provider        string            `json:"provider"`
	User            string            `json:"user,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	State           State             `json:"state"`
	PreviousState   State             `json:"previous_state,omitempty"`
	Reason          string            `json:"reason,omitempty"`
	InitiatedBy     string            `json:"initiated_by"`
	Version         uint64            `json:"version"`
	PreviousVersion uint64            `json:"previous_version"`
	ExpiresAt       time.Time         `json:"expires_at,omitzero"`
}

// UnmarshalJSON reads a CloudEvent. Members that it does not know are passed
// over.
func (e *Event) UnmarshalJSON(text []byte) error {
	var in cloudEvent
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	switch {
	case !strings.HasPrefix(in.SpecVersion, "1."):
		return fmt.Errorf("event: CloudEvents version %.16q is none of 1.x", in.SpecVersion)
	case in.ID == "" || in.Source == "" || in.Type == "":
		return errors.New("event: it has no id, source or type")
	}
	var data eventData
	if len(in.Data) == 0 || string(in.Data) == "null" {
		in.Data = nil
	} else if err := json.Unmarshal(in.Data, &data); err != nil {
		if strings.HasPrefix(string(in.Type), "credential.") || strings.HasPrefix(string(in.Type), "session.") {
			return fmt.Errorf("event of type %.64s: data: %w", in.Type, err)
		}
		data = eventData{} // a type whose data is something else
	}
	*e = Event{ID: in.ID, Source: in.Source, Type: in.Type, Time: in.Time, Credential: in.Subject, Data: in.Data}
	if data.Credential != "" {
		e.Credential = data.Credential
	}
	e.Provider, e.User, e.Labels = data.Provider, data.User, data.Labels
	e.State, e.PreviousState, e.Reason, e.InitiatedBy = data.State, data.PreviousState, data.Reason, data.InitiatedBy
	e.Version, e.PreviousVersion, e.ExpiresAt = data.Version, data.PreviousVersion, data.ExpiresAt
	return nil
}

// MarshalJSON writes a CloudEvent. Data is written as it is where it is set,
// else it is made of the other fields.
func (e Event) MarshalJSON() ([]byte, error) {
	out := cloudEvent{SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Credential, Time: e.Time, Data: e.Data}
	if out.Data == nil && e.Credential != "" {
		data, err := json.Marshal(eventData{
			Credential: e.Credential, Provider: e.Provider, User: e.User, Labels: e.Labels,
			State: e.State, PreviousState: e.PreviousState, Reason: e.Reason, InitiatedBy: e.InitiatedBy,
			Version: e.Version, PreviousVersion: e.PreviousVersion, ExpiresAt: e.ExpiresAt,
		})
		if err != nil {
			return nil, fmt.Errorf("event: %w", err)
		}
		out.Data = data
	}
	if out.Data != nil {
		out.DataContentType = jsonType
	}
	return json.Marshal(out)
}
