package api

import (
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// ManagedBy says where a subscription is changed.
type ManagedBy string

// The places.
const (
	ManagedByAPI    ManagedBy = "api"
	ManagedByConfig ManagedBy = "config"
)

// SubscriptionSettings say who is told of what, and how.
type SubscriptionSettings struct {
	Name      string
	URL       string
	Format    string
	Types     []string
	Providers []string
	Prefix    string
	Labels    map[string]string
	Retry     []time.Duration
	Enabled   bool
}

// Subscription is a subscription and how it does.
type Subscription struct {
	SubscriptionSettings

	Delivery  string // push or poll, and
	Audience  string // whom its tokens are for; of format caep alone
	ManagedBy ManagedBy
	Version   uint64 // 0 where it stands in the configuration
	CreatedAt credential.Millis
	UpdatedAt credential.Millis
	// PreviousUntil is when the secret before the current one ceases to sign;
	// the zero moment if there is none that does.
	PreviousUntil time.Time
	Progress      SubscriptionProgress
}

// SubscriptionProgress is how the deliveries of a subscription do.
type SubscriptionProgress struct {
	State   string // active, waiting, disabled, off or deleted
	Reason  string
	Detail  string
	Since   credential.Millis // of the state, where it is not active
	RetryAt credential.Millis // next delivery, while the endpoint is left alone
	Lag     time.Duration     // age of the oldest event that is not delivered
}

// VerificationResult is what came of a delivery that was made to see whether
// it arrives.
type VerificationResult struct {
	Event  string // ID
	Result string
	Status int
	Error  string
	Took   time.Duration
}

// Delivery is one delivery that was made.
type Delivery struct {
	Event, Type   string
	Credential    credential.ID
	Lane, Attempt int
	At            credential.Millis
	Took          time.Duration
	Result        string
	Status        int
	Error         string
}

// SubscriptionInfo is a subscription as the API shows it. Its secrets are
// never shown again.
type SubscriptionInfo struct {
	Name      string            `json:"name" example:"ui"`
	URL       string            `json:"url,omitempty" doc:"Where events go"`
	Format    string            `json:"format" doc:"How" example:"webhook"`
	Delivery  string            `json:"delivery,omitempty" enum:"push,poll" doc:"Of format caep: whether tokens are posted to its url, or its receiver polls for them"`
	Audience  string            `json:"audience,omitempty" doc:"Of format caep: whom the tokens are for"`
	Types     []string          `json:"types" nullable:"false" doc:"Event types; * stands for any text" example:"[\"credential.*\"]"`
	Providers []string          `json:"providers,omitempty" nullable:"false" doc:"Of these only"`
	Prefix    string            `json:"prefix,omitempty" doc:"Of credentials whose IDs start so only"`
	Labels    map[string]string `json:"labels,omitempty" doc:"Of credentials with all of these only"`
	Retry     []string          `json:"retry,omitempty" nullable:"false" doc:"Waits between deliveries of one event; absent for those of Standard Webhooks" example:"[\"5s\",\"5m0s\"]"`
	Enabled   bool              `json:"enabled" doc:"Its owner wants events delivered"`
	ManagedBy ManagedBy         `json:"managed_by" enum:"api,config" doc:"Where it is changed: through the API, or in config.yaml"`

	State   string     `json:"state" enum:"active,waiting,disabled,off,deleted" doc:"Active; waiting: its receiver fails and is left alone for a while; disabled: it stays so until it is enabled; off: its owner has turned it off. Nothing is skipped in any of them"`
	Reason  string     `json:"reason,omitempty" doc:"Why it is disabled" example:"gone"`
	Detail  string     `json:"detail,omitempty" doc:"What the last delivery came to, for people"`
	Since   *time.Time `json:"since,omitempty" doc:"When it entered that state"`
	RetryAt *time.Time `json:"retry_at,omitempty" doc:"When the next delivery may be made"`
	Lag     float64    `json:"lag_seconds" doc:"Age of the oldest event that is not delivered"`

	PreviousUntil *time.Time `json:"previous_secret_until,omitempty" doc:"Until when the secret before the current one signs beside it"`
	Version       uint64     `json:"version,omitempty" doc:"Grows with every change"`
	CreatedAt     *time.Time `json:"created_at,omitempty"`
	UpdatedAt     *time.Time `json:"updated_at,omitempty"`
}

// NewSubscriptionInfo is a subscription that was just created.
type NewSubscriptionInfo struct {
	SubscriptionInfo

	Secret string `json:"secret,omitempty" doc:"What deliveries are signed with, where it was drawn: shown this once" example:"whsec_…"`
}

func subscriptionInfo(s Subscription) SubscriptionInfo {
	info := SubscriptionInfo{
		Name: s.Name, URL: s.URL, Format: s.Format, Delivery: s.Delivery, Audience: s.Audience, Types: append([]string{}, s.Types...), Providers: s.Providers, Prefix: s.Prefix,
		Labels: s.Labels, Enabled: s.Enabled, ManagedBy: s.ManagedBy,
		State: s.Progress.State, Reason: s.Progress.Reason, Detail: s.Progress.Detail, Since: moment(s.Progress.Since),
		RetryAt: moment(s.Progress.RetryAt), Lag: s.Progress.Lag.Seconds(),
		Version: s.Version, CreatedAt: moment(s.CreatedAt), UpdatedAt: moment(s.UpdatedAt),
	}
	for _, wait := range s.Retry {
		info.Retry = append(info.Retry, wait.String())
	}
	if !s.PreviousUntil.IsZero() {
		info.PreviousUntil = new(s.PreviousUntil.UTC())
	}
	return info
}
