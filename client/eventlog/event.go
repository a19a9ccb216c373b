package eventlog

import "time"

// Event is an event as refreshd delivers it everywhere: a CloudEvent 1.0. Its
// JSON is, byte for byte, what a webhook for all types would receive. Drop
// duplicates by Source and ID. It never holds a token or a part of one.
type Event struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitempty"` // the credential's ID; "" where it is about none
	Time            time.Time `json:"time"`              // of its commit, by the clock of Redis
	DataContentType string    `json:"datacontenttype"`
	Data            Data      `json:"data"`
}

// Data is what an event tells of its credential, or of a subscription: then it
// has no credential, provider, state and version.
type Data struct {
	Credential      string            `json:"credential,omitempty"`
	Provider        string            `json:"provider,omitempty"`
	User            string            `json:"user,omitempty"` // the user's UID at the provider
	Labels          map[string]string `json:"labels,omitempty"`
	State           string            `json:"state,omitempty"`          // after the change
	PreviousState   string            `json:"previous_state,omitempty"` // "" for the first version
	Reason          string            `json:"reason,omitempty"`
	InitiatedBy     string            `json:"initiated_by"`         // schedule, demand, owner, user or provider
	Version         uint64            `json:"version,omitempty"`    // grows by one with every event of the credential
	PreviousVersion uint64            `json:"previous_version"`     // of the credential's last event before this one; 0 if there was none
	ExpiresAt       *time.Time        `json:"expires_at,omitempty"` // of the access token, or a session's idle deadline

	Subscription      string     `json:"subscription,omitempty"`
	Since             *time.Time `json:"since,omitempty"`              // when it was disabled, or was seen to lag
	OldestUndelivered *time.Time `json:"oldest_undelivered,omitempty"` // when the oldest event was committed that it is still owed
	UndeliveredEvent  string     `json:"undelivered_event,omitempty"`  // ID of the event that could not be delivered
}
