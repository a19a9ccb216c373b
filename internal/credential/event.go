package credential

import "fmt"

// EventType names what happened. Types are part of the API; the short code of
// each is what the event log stores.
type EventType string

// The event types that belong to a version of a credential, or of the
// pseudo-record of a provider's client.
const (
	EventConnected       EventType = "credential.connected"
	EventReauthorized    EventType = "credential.reauthorized"
	EventRefreshed       EventType = "credential.refreshed"
	EventDegraded        EventType = "credential.degraded"
	EventRecovered       EventType = "credential.recovered"
	EventExpired         EventType = "credential.expired"
	EventExpiring        EventType = "credential.expiring"
	EventReauthRequired  EventType = "credential.reauth_required"
	EventReuseSuspected  EventType = "credential.reuse_suspected"
	EventClaimsChanged   EventType = "credential.claims_changed"
	EventUserDataChanged EventType = "credential.user_data_changed"
	EventLoggedOut       EventType = "credential.logged_out"
	EventDeleted         EventType = "credential.deleted"
	EventSessionExpiring EventType = "session.expiring"
	EventSessionExtended EventType = "session.extended"

	EventProviderOutage      EventType = "provider.outage"
	EventProviderRecovered   EventType = "provider.recovered"
	EventClientMisconfigured EventType = "client.misconfigured"
	EventClientRecovered     EventType = "client.recovered"

	EventSubscriptionDisabled EventType = "subscription.disabled"
	EventSubscriptionLagging  EventType = "subscription.lagging"
	EventStreamReset          EventType = "stream.reset"
	EventStreamVerification   EventType = "stream.verification"
)

// eventCode is one row of the table that maps types to stored codes. Codes
// are stored: never reuse one.
type eventCode struct {
	code string
	kind EventType
}

func eventCodes() [23]eventCode {
	return [...]eventCode{
		{"co", EventConnected},
		{"ra", EventReauthorized},
		{"r", EventRefreshed},
		{"d", EventDegraded},
		{"rc", EventRecovered},
		{"x", EventExpired},
		{"xg", EventExpiring},
		{"rr", EventReauthRequired},
		{"rs", EventReuseSuspected},
		{"cc", EventClaimsChanged},
		{"uc", EventUserDataChanged},
		{"lo", EventLoggedOut},
		{"de", EventDeleted},
		{"sx", EventSessionExpiring},
		{"se", EventSessionExtended},
		{"po", EventProviderOutage},
		{"pr", EventProviderRecovered},
		{"cm", EventClientMisconfigured},
		{"cr", EventClientRecovered},
		{"sd", EventSubscriptionDisabled},
		{"sl", EventSubscriptionLagging},
		{"st", EventStreamReset},
		{"sv", EventStreamVerification},
	}
}

// EventTypes lists every type.
func EventTypes() []EventType {
	codes := eventCodes()
	types := make([]EventType, len(codes))
	for i, row := range codes {
		types[i] = row.kind
	}
	return types
}

// Code returns the short code that the event log stores for t, or "" for a
// type that does not exist.
func (t EventType) Code() string {
	for _, row := range eventCodes() {
		if row.kind == t {
			return row.code
		}
	}
	return ""
}

// EventTypeOf returns the type of a stored code.
func EventTypeOf(code string) (EventType, error) {
	for _, row := range eventCodes() {
		if row.code == code {
			return row.kind, nil
		}
	}
	return "", fmt.Errorf("unknown event code %q", code)
}

// Event is one version of one credential: what changed, as of its commit. It
// holds no token and no piece of one. One that is about a subscription belongs
// to no credential and no version.
type Event struct {
	Type          EventType
	ID            ID        // the credential; "" where there is none
	Version       uint64    // that this event stands for; 0 where it stands for none
	State         State     // after the change
	PreviousState State     // before it; "" for the first version
	Reason        Reason    // why
	InitiatedBy   Initiator // who set it off
	Nonce         Nonce     // of the commit; its first 4 bytes are part of the event's ID, or it is that ID
	ExpiresAt     Millis    // of the access token after the change; 0 if there is none

	Provider string
	Subject  string
	Labels   map[string]string

	// Last holds, for each type, the version of this credential's last event
	// of that type before this one. A reader who asked for some types only
	// finds the previous version among those without reading back.
	Last map[EventType]uint64

	// Notice is set where the event is about a subscription.
	Notice Notice
}

// EventID returns the ID that a subscriber sees: credential, version and the
// first 8 hex digits of the commit's nonce. A commit that is repeated keeps
// its nonce, hence its event's ID. That of an event that belongs to no version
// is a ULID, which is its nonce.
func (e Event) EventID() string {
	if e.Version == 0 {
		return e.Nonce.ulid()
	}
	return fmt.Sprintf("%s/%d/%s", e.ID, e.Version, e.Nonce.Short())
}

// Previous returns the version of this credential's last event before e among
// the types for which wanted answers true; 0 if there was none.
func (e Event) Previous(wanted func(EventType) bool) uint64 {
	var last uint64
	for kind, version := range e.Last {
		if version > last && wanted(kind) {
			last = version
		}
	}
	return last
}

// LogEntry is one event as it stands in a shard's event log.
type LogEntry struct {
	Position string // in that shard's log: a Redis stream ID, "<ms>-<n>"
	Event    Event
	At       Millis // of its commit, by the store's clock
}
