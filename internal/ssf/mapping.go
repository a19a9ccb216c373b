package ssf

import (
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

// The types of security events that are sent.
//
//nolint:gosec // names, not credentials
const (
	// CAEP 1.0, sections 3.1, 3.2, 3.3 and 3.6.
	uriSessionRevoked     = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	uriTokenClaimsChange  = "https://schemas.openid.net/secevent/caep/event-type/token-claims-change"
	uriCredentialChange   = "https://schemas.openid.net/secevent/caep/event-type/credential-change"
	uriSessionEstablished = "https://schemas.openid.net/secevent/caep/event-type/session-established"
	// RISC 1.0, sections 2.1 and 2.7.
	uriChangeRequired = "https://schemas.openid.net/secevent/risc/event-type/account-credential-change-required"
	uriCompromise     = "https://schemas.openid.net/secevent/risc/event-type/credential-compromise"
	// SSF 1.0, section 8.1.4.1.
	uriVerification = "https://schemas.openid.net/secevent/ssf/event-type/verification"
)

// credentialType names in credential_type what refreshd keeps. CAEP 1.0 section
// 3.3.1 lists kinds of login secrets, and lets both sides agree on others.
const credentialType = "oauth2-token" //nolint:gosec // a name, not a credential

// uriOf returns the type of the security event that stands for an event, "" for
// what is no security event: that a provider is away, that a token will soon
// expire or has, while it is still refreshed, and what concerns operators.
func uriOf(kind credential.EventType) string {
	switch kind {
	case credential.EventConnected, credential.EventReauthorized:
		return uriSessionEstablished
	case credential.EventLoggedOut:
		return uriSessionRevoked
	case credential.EventRefreshed, credential.EventDeleted:
		return uriCredentialChange
	case credential.EventClaimsChanged, credential.EventUserDataChanged:
		return uriTokenClaimsChange
	case credential.EventReauthRequired:
		return uriChangeRequired
	case credential.EventReuseSuspected:
		return uriCompromise
	case credential.EventStreamVerification:
		return uriVerification
	case credential.EventDegraded, credential.EventRecovered, credential.EventExpired, credential.EventExpiring,
		credential.EventSessionExpiring, credential.EventSessionExtended,
		credential.EventProviderOutage, credential.EventProviderRecovered,
		credential.EventClientMisconfigured, credential.EventClientRecovered,
		credential.EventSubscriptionDisabled, credential.EventSubscriptionLagging, credential.EventStreamReset:
	}
	return ""
}

// Select returns the event types that become security events and that one of
// the globs matches; no globs are all. None means that nothing would ever be
// sent.
func Select(globs []string) []string {
	asked := event.Filter{Types: globs}
	var list []string
	for _, kind := range credential.EventTypes() {
		if uriOf(kind) != "" && kind != credential.EventStreamVerification && asked.WantsType(kind) {
			list = append(list, string(kind))
		}
	}
	return list
}

// payload is what is said under the type of a security event. Which members
// there may be depends on the type.
type payload struct {
	Timestamp      int64             `json:"event_timestamp,omitempty"`   // seconds (CAEP 1.0, section 2)
	Initiator      string            `json:"initiating_entity,omitempty"` // admin, user, policy or system
	ReasonAdmin    map[string]string `json:"reason_admin,omitempty"`      // by language
	CredentialType string            `json:"credential_type,omitempty"`
	ChangeType     string            `json:"change_type,omitempty"`
	Claims         *changed          `json:"claims,omitempty"`
	State          string            `json:"state,omitempty"` // that the receiver gave for a verification
}

// changed are the claims of a token-claims-change: at least one, with its new
// value (CAEP 1.0, section 3.2.1). The scope or the user data that have changed
// are no part of an event, so it says when that was (updated_at: OpenID Connect
// Core 1.0, section 5.1), and the end of the new token's life.
type changed struct {
	UpdatedAt int64 `json:"updated_at"`
	ExpiresAt int64 `json:"exp,omitempty"`
}

// payloadOf says what is said of an event.
func payloadOf(entry credential.LogEntry) payload {
	e := entry.Event
	at := seconds(entry.At)
	switch uriOf(e.Type) {
	case uriChangeRequired, uriVerification: // RISC 1.0, section 2.1: nothing of its own
		return payload{}
	case uriCompromise:
		return payload{Timestamp: at, CredentialType: credentialType}
	}
	p := payload{Timestamp: at, Initiator: initiator(e.InitiatedBy)}
	if e.Reason != credential.ReasonNone {
		p.ReasonAdmin = map[string]string{"en": string(e.Reason)}
	}
	switch e.Type {
	case credential.EventRefreshed:
		p.CredentialType, p.ChangeType = credentialType, "update"
	case credential.EventDeleted:
		p.CredentialType, p.ChangeType = credentialType, "delete"
	case credential.EventClaimsChanged, credential.EventUserDataChanged:
		p.Claims = &changed{UpdatedAt: at, ExpiresAt: seconds(e.ExpiresAt)}
	default:
	}
	return p
}

// initiator tells in CAEP's words who set an event off (CAEP 1.0, section 2).
// The owner is a program that administers the credential.
func initiator(by credential.Initiator) string {
	switch by {
	case credential.ByUser:
		return "user"
	case credential.ByOwner:
		return "admin"
	case credential.BySchedule, credential.ByDemand, credential.ByProvider:
	}
	return "system"
}

func seconds(m credential.Millis) int64 { return int64(m) / 1000 }
