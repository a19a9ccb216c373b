package practice

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Settings are those options that can change while the server runs. A call
// that has begun keeps the settings it began with. Durations are strings such
// as "1.5s" in JSON.
type Settings struct {
	AccessTTL           time.Duration `json:"access_ttl"` // 0: issued tokens have already expired
	Rotate              bool          `json:"rotate"`
	Reuse               Reuse         `json:"reuse"`
	Grace               time.Duration `json:"grace"`
	RefreshTTL          time.Duration `json:"refresh_ttl"`
	ClientAuth          ClientAuth    `json:"client_auth"`
	Latency             time.Duration `json:"latency"`
	RotateBeforeLatency bool          `json:"rotate_before_latency"`
	ExpiresIn           ExpiresIn     `json:"expires_in"`
}

// SettingsPatch changes the settings that it names and leaves the others.
type SettingsPatch struct {
	AccessTTL           *time.Duration `json:"access_ttl,omitempty"`
	Rotate              *bool          `json:"rotate,omitempty"`
	Reuse               *Reuse         `json:"reuse,omitempty"`
	Grace               *time.Duration `json:"grace,omitempty"`
	RefreshTTL          *time.Duration `json:"refresh_ttl,omitempty"`
	ClientAuth          *ClientAuth    `json:"client_auth,omitempty"`
	Latency             *time.Duration `json:"latency,omitempty"`
	RotateBeforeLatency *bool          `json:"rotate_before_latency,omitempty"`
	ExpiresIn           *ExpiresIn     `json:"expires_in,omitempty"`
}

func (s Settings) validate() error {
	var errs []error
	bad := func(key, value, allowed string) {
		errs = append(errs, fmt.Errorf("%w: %s is %q; allowed: %s", ErrInvalid, key, value, allowed))
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"access_ttl", s.AccessTTL},
		{"grace", s.Grace},
		{"refresh_ttl", s.RefreshTTL},
		{"latency", s.Latency},
	} {
		if d.value < 0 {
			bad(d.key, d.value.String(), "0 and above")
		}
	}
	switch s.Reuse {
	case ReuseStrict, ReuseGrace, ReuseOff:
	default:
		bad("reuse", string(s.Reuse), "strict, grace, off")
	}
	switch s.ClientAuth {
	case ClientAuthBasic, ClientAuthPost, ClientAuthNone, ClientAuthAny:
	default:
		bad("client_auth", string(s.ClientAuth), "basic, post, none, any")
	}
	switch s.ExpiresIn {
	case ExpiresInNormal, ExpiresInMissing, ExpiresInString:
	default:
		bad("expires_in", string(s.ExpiresIn), "normal, missing, string")
	}
	return errors.Join(errs...)
}

func (s Settings) patched(p SettingsPatch) Settings {
	set(&s.AccessTTL, p.AccessTTL)
	set(&s.Rotate, p.Rotate)
	set(&s.Reuse, p.Reuse)
	set(&s.Grace, p.Grace)
	set(&s.RefreshTTL, p.RefreshTTL)
	set(&s.ClientAuth, p.ClientAuth)
	set(&s.Latency, p.Latency)
	set(&s.RotateBeforeLatency, p.RotateBeforeLatency)
	set(&s.ExpiresIn, p.ExpiresIn)
	return s
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

type plainSettings Settings

type settingsJSON struct {
	*plainSettings
	AccessTTL  jsonDuration `json:"access_ttl"`
	Grace      jsonDuration `json:"grace"`
	RefreshTTL jsonDuration `json:"refresh_ttl"`
	Latency    jsonDuration `json:"latency"`
}

// MarshalJSON writes durations as strings.
func (s Settings) MarshalJSON() ([]byte, error) {
	return json.Marshal(settingsJSON{
		plainSettings: (*plainSettings)(&s),
		AccessTTL:     jsonDuration(s.AccessTTL),
		Grace:         jsonDuration(s.Grace),
		RefreshTTL:    jsonDuration(s.RefreshTTL),
		Latency:       jsonDuration(s.Latency),
	})
}

// UnmarshalJSON reads what MarshalJSON writes; unknown keys are refused.
func (s *Settings) UnmarshalJSON(data []byte) error {
	var w settingsJSON
	w.plainSettings = (*plainSettings)(s)
	if err := decodeStrict(data, &w); err != nil {
		return err
	}
	s.AccessTTL = time.Duration(w.AccessTTL)
	s.Grace = time.Duration(w.Grace)
	s.RefreshTTL = time.Duration(w.RefreshTTL)
	s.Latency = time.Duration(w.Latency)
	return nil
}

type plainPatch SettingsPatch

type patchJSON struct {
	*plainPatch
	AccessTTL  *jsonDuration `json:"access_ttl,omitempty"`
	Grace      *jsonDuration `json:"grace,omitempty"`
	RefreshTTL *jsonDuration `json:"refresh_ttl,omitempty"`
	Latency    *jsonDuration `json:"latency,omitempty"`
}

// MarshalJSON writes durations as strings.
func (p SettingsPatch) MarshalJSON() ([]byte, error) {
	return json.Marshal(patchJSON{
		plainPatch: (*plainPatch)(&p),
		AccessTTL:  (*jsonDuration)(p.AccessTTL),
		Grace:      (*jsonDuration)(p.Grace),
		RefreshTTL: (*jsonDuration)(p.RefreshTTL),
		Latency:    (*jsonDuration)(p.Latency),
	})
}

// UnmarshalJSON reads what MarshalJSON writes; unknown keys are refused.
func (p *SettingsPatch) UnmarshalJSON(data []byte) error {
	var w patchJSON
	w.plainPatch = (*plainPatch)(p)
	if err := decodeStrict(data, &w); err != nil {
		return err
	}
	p.AccessTTL = (*time.Duration)(w.AccessTTL)
	p.Grace = (*time.Duration)(w.Grace)
	p.RefreshTTL = (*time.Duration)(w.RefreshTTL)
	p.Latency = (*time.Duration)(w.Latency)
	return nil
}
