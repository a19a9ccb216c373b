package config

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/internal/subscription"
)

// Config is a whole, checked configuration. Relative paths in it are resolved
// against the folder of the file.
type Config struct {
	Listen        string              `yaml:"listen"`
	DataDir       string              `path:"yes" yaml:"data_dir"`
	Redis         Redis               `yaml:"redis"`
	Keyset        Keyset              `yaml:"keyset"`
	Schedule      Schedule            `yaml:"schedule"`
	Providers     map[string]Provider `yaml:"providers"`
	Subscriptions []Subscription      `yaml:"subscriptions"`
	SSF           SSF                 `yaml:"ssf"`
	Recovery      Recovery            `yaml:"recovery"`
	Events        Events              `yaml:"events"`
	OfflineReads  OfflineReads        `yaml:"offline_reads"`
	MetricsListen string              `yaml:"metrics_listen"` // "" is on Listen
	Network       Network             `yaml:"network"`
	CORS          CORS                `yaml:"cors"`
	Log           Log                 `yaml:"log"`
	TLS           TLS                 `yaml:"tls"`

	_ unsupported `remedy:"set http under each provider" yaml:"http"`

	// Warnings are for the operator: what works, and is not as it should be.
	Warnings []string `yaml:"-"`

	files []string
}

// Redis says where the store is.
type Redis struct {
	URL    credential.Secret `secret:"url" yaml:"url"` // empty for the embedded one; may hold a password
	Shards int               `yaml:"shards"`
}

// Keyset names the file with the keys for what is stored.
type Keyset struct {
	File string `path:"yes" yaml:"file"`
}

// Schedule says when credentials are looked at and refreshed.
type Schedule struct {
	Fetch     schedule.Schedule `yaml:"fetch"`      // unless a provider has its own
	RefreshAt float64           `yaml:"refresh_at"` // part of an access token's life
	Jitter    float64           `yaml:"jitter"`     // part of that life, either way
	// MinInterval is how long after a token was issued its refresh is planned at the
	// earliest.
	MinInterval time.Duration `yaml:"min_interval"`
}

// Provider is one authorization server, of kind oauth2, or one backend of one's
// own, of kind http.
type Provider struct {
	Kind   string `supported:"oauth2 http" yaml:"kind"`
	Preset Preset `yaml:"preset"`

	// Of kind oauth2.
	Issuer       string            `yaml:"issuer"`
	TokenURL     string            `yaml:"token_url"`
	RevokeURL    string            `yaml:"revoke_url"`
	ClientID     string            `yaml:"client_id"`
	ClientSecret credential.Secret `yaml:"client_secret"`
	ClientAuth   string            `supported:"basic post none" yaml:"client_auth"`

	// Of kind http.
	Login   HTTPCall `yaml:"login"`
	Refresh HTTPCall `yaml:"refresh"`
	Logout  HTTPCall `yaml:"logout"`
	Send    Send     `yaml:"send"`
	Session Session  `yaml:"session"`

	// Of both.
	Verify          HTTPCall          `yaml:"verify"`    // is the access token still taken?
	UserData        HTTPCall          `yaml:"user_data"` // what is told of the user, where the login does not tell it
	Rotation        Rotation          `yaml:"rotation"`
	Limits          Limits            `yaml:"limits"`
	Fetch           schedule.Schedule `yaml:"fetch"`
	Errors          []ErrorRule       `yaml:"errors"`
	DefaultLifetime time.Duration     `yaml:"default_lifetime"` // 0 leaves it to credential.FallbackLifetime
	Timeout         time.Duration     `yaml:"timeout"`
	RefreshToken    RefreshToken      `yaml:"refresh_token"`
	HTTP            HTTP              `yaml:"http"`

	_ unsupported `remedy:"get the first token elsewhere and store it with refreshd put" yaml:"authorize_url"`
	_ unsupported `remedy:"get the first token elsewhere and store it with refreshd put" yaml:"device_url"`
	_ unsupported `remedy:"use client_auth basic or post with a client_secret" yaml:"private_key"`
}

// Secrets lists every value that prints as <secret>, in a fixed order: whoever
// has to know whether the settings have changed needs to compare these as well.
func (p *Provider) Secrets() []credential.Secret {
	secrets := []credential.Secret{p.ClientSecret, p.HTTP.Proxy}
	for _, call := range []HTTPCall{p.Login, p.Refresh, p.Logout, p.Session.Extend, p.Verify, p.UserData} {
		r := call.Request
		for _, values := range []map[string]credential.Secret{r.Query, r.Headers, r.Form} {
			for _, name := range slices.Sorted(maps.Keys(values)) {
				secrets = append(secrets, values[name])
			}
		}
	}
	return secrets
}

// Preset names what is known of a provider, see package preset. Tenant and
// Domain stand in its addresses, where only the operator knows them.
type Preset struct {
	Name   string `yaml:"name"`
	Tenant string `yaml:"tenant"`
	Domain string `yaml:"domain"`
}

// UnmarshalText takes the name alone.
func (p *Preset) UnmarshalText(text []byte) error {
	p.Name = string(text)
	return nil
}

// Rotation says what is known about new refresh tokens.
type Rotation struct {
	Rotates credential.Rotates `oneof:"auto yes no" yaml:"rotates"`
	Grace   time.Duration      `yaml:"grace"` // how long the previous one still works
}

// Limits bound what a provider is asked, over all replicas.
type Limits struct {
	Concurrency int     `yaml:"concurrency"`
	PerSecond   float64 `yaml:"per_second"`
}

// ErrorRule sorts a provider's error reply. Conditions that are not set match
// anything; Description may hold * for any text.
type ErrorRule struct {
	Status      int              `yaml:"status"`
	Error       string           `yaml:"error"`
	Description string           `yaml:"description"`
	Class       credential.Class `oneof:"permanent transient rate_limited ambiguous operator" yaml:"class"`
}

// RefreshToken says when refresh tokens die by themselves; 0 is unknown.
type RefreshToken struct {
	Idle     time.Duration `yaml:"idle"`
	Absolute time.Duration `yaml:"absolute"`
}

// HTTP says how a provider is reached.
type HTTP struct {
	Proxy  credential.Secret `secret:"url" yaml:"proxy"` // may hold a password
	CAFile string            `path:"yes" yaml:"ca_file"`
}

// Subscription is one receiver of events.
type Subscription struct {
	Name      string              `yaml:"name"`
	URL       string              `yaml:"url"`
	Format    string              `supported:"webhook caep jetstream kafka" yaml:"format"`
	Secret    credential.Secret   `yaml:"secret"`    // whsec_…, as Standard Webhooks has it
	Secrets   []credential.Secret `yaml:"secrets"`   // previous ones, which sign beside it while receivers change over
	Types     []string            `yaml:"types"`     // event types; "credential.*" and "*" match several
	Providers []string            `yaml:"providers"` // empty is all
	Prefix    string              `yaml:"prefix"`    // of the credential's ID
	Labels    map[string]string   `yaml:"labels"`    // all must be there with that value
	Retry     []time.Duration     `yaml:"retry"`     // waits between deliveries of one event; empty is what Standard Webhooks recommends
	Enabled   bool                `yaml:"enabled"`

	// Of format caep.
	Delivery string            `oneof:"push poll" yaml:"delivery"`
	Bearer   credential.Secret `yaml:"bearer"`   // that tokens are pushed with
	Audience string            `yaml:"audience"` // of the tokens

	// Of formats jetstream and kafka.
	Subject     string   `yaml:"subject"`                // of jetstream; {provider}, {type} and {credential} are filled in
	Credentials string   `path:"yes" yaml:"credentials"` // of jetstream: a file with a user's JWT and seed
	Brokers     []string `yaml:"brokers"`                // of kafka: host:port of some of them
	Topic       string   `yaml:"topic"`                  // of kafka
	TLS         SinkTLS  `yaml:"tls"`
	SASL        SASL     `yaml:"sasl"` // of kafka
}

// SSF says who signs Security Event Tokens.
type SSF struct {
	Issuer string `yaml:"issuer"` // https://host under which the API is reached; empty where none are sent
}

// Settings returns it as whoever delivers takes it.
func (s *Subscription) Settings() subscription.Settings {
	secrets := []subscription.SigningSecret{{Secret: s.Secret}}
	for _, previous := range s.Secrets {
		secrets = append(secrets, subscription.SigningSecret{Secret: previous})
	}
	return subscription.Settings{
		Name: s.Name, URL: s.URL, Format: s.Format, Secrets: secrets, Types: s.Types, Providers: s.Providers,
		Prefix: s.Prefix, Labels: s.Labels, Retry: s.Retry, Enabled: s.Enabled,
	}
}

// Recovery says how long the steps of a refresh may take, and how lost replies
// are dealt with.
type Recovery struct {
	Quarantine time.Duration `yaml:"quarantine"` // in which a silent owner of another machine may come back
	Silence    time.Duration `yaml:"silence"`    // after which an owner's standing heartbeat is questioned
	Send       time.Duration `yaml:"send"`       // from the right to present a token to the first byte sent
	Commit     time.Duration `yaml:"commit"`     // from the reply to the stored token
	Margin     time.Duration `yaml:"margin"`
}

// Times returns the allowances of an attempt at a provider with that timeout.
func (r Recovery) Times(timeout time.Duration) credential.Times {
	return credential.Times{Send: r.Send, Exchange: timeout, Commit: r.Commit, Margin: r.Margin}
}

// Events says how long events can be read.
type Events struct {
	Retention time.Duration `yaml:"retention"`
}

// Network lists addresses that webhooks may reach although they are private.
type Network struct {
	Allow []netip.Prefix `yaml:"allow"`
}

// CORS lists whose pages may call the API from a browser.
type CORS struct {
	Origins []string `yaml:"origins"` // as browsers write them: scheme://host[:port]
}

// Log says what is logged and how.
type Log struct {
	Level  string `oneof:"trace debug info warn error" yaml:"level"`
	Format string `oneof:"json console" yaml:"format"`
}

// TLS is the certificate of the API; both are empty for none.
type TLS struct {
	Cert string `path:"yes" yaml:"cert"`
	Key  string `path:"yes" yaml:"key"`
}

// Default returns what an empty file means.
func Default() *Config {
	return &Config{
		Listen:       "127.0.0.1:7420",
		DataDir:      "data",
		Redis:        Redis{Shards: 1},
		Keyset:       Keyset{File: "data/keyset.json"},
		Schedule:     Schedule{Fetch: defaultFetch(), RefreshAt: 0.66, Jitter: 0.1, MinInterval: 10 * time.Second},
		Providers:    map[string]Provider{},
		Recovery:     defaultRecovery(),
		Events:       Events{Retention: 96 * time.Hour},
		OfflineReads: OfflineUntilExpiry,
		Log:          Log{Level: "info", Format: "json"},
	}
}

func defaultRecovery() Recovery {
	usual := credential.DefaultTimes(0)
	return Recovery{
		Quarantine: 10 * time.Minute, Silence: 5 * time.Second,
		Send: usual.Send, Commit: usual.Commit, Margin: usual.Margin,
	}
}

func defaultFetch() (s schedule.Schedule) {
	if err := s.UnmarshalText([]byte("@every 15m")); err != nil {
		panic(err) // a constant
	}
	return s
}

func (p *Provider) setDefaults() {
	p.ClientAuth = "basic"
	p.Rotation.Rotates = credential.RotatesAuto
	p.Limits = Limits{Concurrency: 16, PerSecond: 50}
	p.Timeout = credential.DefaultTimes(0).Exchange
	p.Session.OnActive, p.Session.OnDeath = credential.ActiveExtend, credential.DeathReauth
}

func (s *Subscription) setDefaults() { s.Format, s.Enabled = subscription.FormatWebhook, true }

// Files lists the files that hold secrets and certificates which the
// configuration refers to, sorted: when one of them changes, it is time to
// load again.
func (c *Config) Files() []string { return slices.Clone(c.files) }

// unsupported marks a key that is reserved: it is refused, with a remedy,
// until a version acts on it.
type unsupported struct{}

// ParseDuration reads a duration as the file has it, such as 90s, 12h or 4d. The
// error shows the text and how to write it.
func ParseDuration(text string) (time.Duration, error) { return schedule.ParseDuration(text) }

// OfflineReads is how long tokens are served from memory while Redis is away.
type OfflineReads time.Duration

// OfflineUntilExpiry serves a token from memory for as long as it is valid.
const OfflineUntilExpiry OfflineReads = -1

// UnmarshalText reads a duration, or the word expiry.
func (o *OfflineReads) UnmarshalText(text []byte) error {
	if string(text) == "expiry" {
		*o = OfflineUntilExpiry
		return nil
	}
	d, err := schedule.ParseDuration(string(text))
	if err != nil {
		return err
	}
	if d < 0 {
		return errors.New("it must not be negative; write 0s, or one like 90s")
	}
	*o = OfflineReads(d)
	return nil
}
