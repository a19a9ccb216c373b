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
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitempty"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype,omitempty"`
	Data            *Data     `json:"data,omitempty"`
}

// Data is what an event tells of its credential, or of a subscription: then it
// has no credential, provider, state and version. What each field means is
// told where the HTTP API describes it.
type Data struct {
	Credential      string            `json:"credential,omitempty"`
	Provider        string            `json:"provider,omitempty"`
	User            string            `json:"user,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	State           string            `json:"state,omitempty"`
	PreviousState   string            `json:"previous_state,omitempty"`
	Reason          string            `json:"reason,omitempty"`
	InitiatedBy     string            `json:"initiated_by"`
	Version         uint64            `json:"version,omitempty"`
	PreviousVersion uint64            `json:"previous_version"`
	ExpiresAt       *time.Time        `json:"expires_at,omitempty"`

	Subscription      string     `json:"subscription,omitempty"`
	Since             *time.Time `json:"since,omitempty"`
	OldestUndelivered *time.Time `json:"oldest_undelivered,omitempty"`
	UndeliveredEvent  string     `json:"undelivered_event,omitempty"`
}

// Expand turns a stored event into what a subscriber with that filter sees.
func Expand(entry credential.LogEntry, source string, filter Filter) CloudEvent {
	e := entry.Event
	data := &Data{
		Credential: string(e.ID), Provider: e.Provider, User: e.Subject, Labels: e.Labels,
		State: string(e.State), PreviousState: string(e.PreviousState), Reason: string(e.Reason),
		InitiatedBy: string(e.InitiatedBy), Version: e.Version, PreviousVersion: e.Previous(filter.WantsType),
		ExpiresAt:    momentOf(e.ExpiresAt),
		Subscription: e.Notice.Subscription, Since: momentOf(e.Notice.Since), OldestUndelivered: momentOf(e.Notice.Oldest),
		UndeliveredEvent: e.Notice.Event,
	}
	return CloudEvent{
		SpecVersion: "1.0", ID: e.EventID(), Source: source, Type: string(e.Type), Subject: string(e.ID),
		Time: entry.At.Time(), DataContentType: "application/json", Data: data,
	}
}

func momentOf(at credential.Millis) *time.Time {
	if at == 0 {
		return nil
	}
	return new(at.Time())
}

// Encode returns the event's JSON, in one line.
func (e CloudEvent) Encode() ([]byte, error) { return json.Marshal(e) }
