package event

import (
	"encoding/json"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// CloudEvent is an event as subscribers see it: CloudEvents 1.0 in its JSON
// format. A consumer drops duplicates by source and id. It never holds a token
// or a part of one.
type CloudEvent struct {
	SpecVersion     string    `json:"specversion" enum:"1.0" doc:"Version of CloudEvents"`
	ID              string    `json:"id" doc:"Credential, version and the first 8 hex digits of its commit's nonce; the same however often the event is delivered" example:"github:alice/7/9f86d081"`
	Source          string    `json:"source" doc:"The event log that the event stands in"`
	Type            string    `json:"type" doc:"What happened" example:"credential.refreshed"`
	Subject         string    `json:"subject,omitempty" doc:"The credential's ID" example:"github:alice"`
	Time            time.Time `json:"time" doc:"When it was committed, by the store's clock"`
	DataContentType string    `json:"datacontenttype,omitempty"`
	Data            *Data     `json:"data,omitempty"`
}

// Data is what an event tells of its credential.
type Data struct {
	Credential      string            `json:"credential" doc:"The credential's ID"`
	Provider        string            `json:"provider"`
	User            string            `json:"user,omitempty" doc:"The user's UID at the provider"`
	Labels          map[string]string `json:"labels,omitempty"`
	State           string            `json:"state" doc:"State after the change"`
	PreviousState   string            `json:"previous_state,omitempty" doc:"State before it; absent for a credential's first version"`
	Reason          string            `json:"reason,omitempty"`
	InitiatedBy     string            `json:"initiated_by" enum:"schedule,demand,owner,user,provider"`
	Version         uint64            `json:"version" doc:"Grows by one with every event of this credential"`
	PreviousVersion uint64            `json:"previous_version" doc:"Version of this credential's last event among those asked for; 0 if there was none"`
	ExpiresAt       *time.Time        `json:"expires_at,omitempty" doc:"End of the access token's life"`
}

// Expand turns a stored event into what a subscriber with that filter sees.
func Expand(entry credential.LogEntry, source string, filter Filter) CloudEvent {
	e := entry.Event
	data := &Data{
		Credential: string(e.ID), Provider: e.Provider, User: e.Subject, Labels: e.Labels,
		State: string(e.State), PreviousState: string(e.PreviousState), Reason: string(e.Reason),
		InitiatedBy: string(e.InitiatedBy), Version: e.Version, PreviousVersion: e.Previous(filter.WantsType),
	}
	if e.ExpiresAt != 0 {
		data.ExpiresAt = new(e.ExpiresAt.Time())
	}
	return CloudEvent{
		SpecVersion: "1.0", ID: e.EventID(), Source: source, Type: string(e.Type), Subject: string(e.ID),
		Time: entry.At.Time(), DataContentType: "application/json", Data: data,
	}
}

// Encode returns the event's JSON, in one line.
func (e CloudEvent) Encode() ([]byte, error) { return json.Marshal(e) }
