package subscription

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// ErrUnreadable says that what is stored of a subscription is none.
var ErrUnreadable = errors.New("what is stored of a subscription cannot be read")

// stored is the form in which settings are sealed. A field that is new must be
// one that older versions can do without: they run beside newer ones.
type stored struct {
	URL       string            `json:"url"`
	Format    string            `json:"format"`
	Secrets   []storedSecret    `json:"secrets,omitempty"`
	Types     []string          `json:"types"`
	Providers []string          `json:"providers,omitempty"`
	Prefix    string            `json:"prefix,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Retry     []int64           `json:"retry,omitempty"` // ms
	Off       bool              `json:"off,omitempty"`
}

type storedSecret struct {
	Text  string `json:"text"`
	Until int64  `json:"until,omitempty"` // ms
}

// encode returns what is to be sealed.
func encode(s Settings) (credential.Secret, error) {
	form := stored{
		URL: s.URL, Format: s.Format, Types: s.Types, Providers: s.Providers, Prefix: s.Prefix, Labels: s.Labels, Off: !s.Enabled,
	}
	for _, one := range s.Secrets {
		row := storedSecret{Text: one.Secret.Reveal()}
		if !one.Until.IsZero() {
			row.Until = one.Until.UnixMilli()
		}
		form.Secrets = append(form.Secrets, row)
	}
	for _, wait := range s.Retry {
		form.Retry = append(form.Retry, wait.Milliseconds())
	}
	data, err := json.Marshal(form)
	if err != nil {
		return credential.Secret{}, err
	}
	return credential.NewSecret(string(data)), nil
}

// decode reads what encode wrote. Its errors hold none of it.
func decode(name string, content credential.Secret) (Settings, error) {
	var form stored
	if json.Unmarshal([]byte(content.Reveal()), &form) != nil {
		return Settings{}, ErrUnreadable
	}
	s := Settings{
		Name: name, URL: form.URL, Format: form.Format, Types: form.Types, Providers: form.Providers, Prefix: form.Prefix,
		Labels: form.Labels, Enabled: !form.Off,
	}
	for _, row := range form.Secrets {
		one := SigningSecret{Secret: credential.NewSecret(row.Text)}
		if row.Until != 0 {
			one.Until = time.UnixMilli(row.Until)
		}
		s.Secrets = append(s.Secrets, one)
	}
	for _, ms := range form.Retry {
		s.Retry = append(s.Retry, time.Duration(ms)*time.Millisecond)
	}
	return s, nil
}
