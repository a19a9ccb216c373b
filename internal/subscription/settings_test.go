package subscription

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	assert.Empty(t, settings("ui").Check(rules()))
	many := make([]string, 65)
	for i := range many {
		many[i] = "*"
	}
	for field, change := range map[string]func(*Settings){
		"url":    func(s *Settings) { s.URL = "" },
		"secret": func(s *Settings) { s.Secrets = nil },
		"secrets[0]": func(s *Settings) {
			s.Secrets = append(s.Secrets, SigningSecret{Secret: credential.NewSecret("whsec_AAAA")})
		},
		"secrets": func(s *Settings) {
			s.Secrets = append(s.Secrets, s.Secrets[0], s.Secrets[0], s.Secrets[0], s.Secrets[0])
		},
		"types":        func(s *Settings) { s.Types = many },
		"types[1]":     func(s *Settings) { s.Types = []string{"*", "creden*"} },
		"providers[1]": func(s *Settings) { s.Providers = []string{"acme", "other"} },
		"prefix":       func(s *Settings) { s.Prefix = "{a}" },
		"labels":       func(s *Settings) { s.Labels = map[string]string{"": "x"} },
		"labels.a":     func(s *Settings) { s.Labels = map[string]string{"a": "x\n"} },
		"retry[0]":     func(s *Settings) { s.Retry = []time.Duration{time.Millisecond} },
		"retry[1]":     func(s *Settings) { s.Retry = []time.Duration{time.Second, 169 * time.Hour} },
		"retry":        func(s *Settings) { s.Retry = slicesOf(time.Second, 33) },
	} {
		s := settings("ui")
		change(&s)
		found := s.Check(rules())
		if assert.Len(t, found, 1, field) {
			assert.Equal(t, field, found[0].Field)
			assert.NotContains(t, found[0].Text, "AAAA")
		}
	}
	s := settings("ui")
	s.URL = "http://127.0.0.1:8080/"
	assert.Len(t, s.Check(rules()), 1)
	r := rules()
	r.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	assert.Empty(t, s.Check(r))
	s.URL = "https://hooks.example/" + strings.Repeat("x", maxURL)
	assert.Len(t, s.Check(rules()), 1)
	for name, ok := range map[string]bool{"a": true, "0-": true, strings.Repeat("a", 32): true, "": false, "-a": false, "A": false, "a_b": false, strings.Repeat("a", 33): false, "#a": false} {
		assert.Equal(t, ok, CheckName(name) == nil, name)
	}
	invalid := &InvalidError{Problems: []Problem{{"url", "no"}, {"types", "none"}}}
	assert.Equal(t, "url: no; types: none", invalid.Error())
}

func slicesOf(d time.Duration, n int) []time.Duration {
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = d
	}
	return list
}

// Old secrets sign until they end, and a rotation never makes one live longer.
func TestRotated(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	first := settings("ui")
	assert.Zero(t, first.PreviousUntil(now))
	two := NewSecret()
	second := first.Rotated(two, now, 24*time.Hour)
	assert.Len(t, first.Secrets, 1, "the old settings stay")
	require.Len(t, second.Secrets, 2)
	assert.True(t, second.Secrets[0].Secret.Equal(two))
	assert.Zero(t, second.Secrets[0].Until)
	assert.Equal(t, now.Add(24*time.Hour), second.PreviousUntil(now))
	assert.Zero(t, second.PreviousUntil(now.Add(24*time.Hour)))

	third := second.Rotated(NewSecret(), now.Add(time.Hour), 48*time.Hour)
	require.Len(t, third.Secrets, 3)
	assert.Equal(t, now.Add(49*time.Hour), third.Secrets[1].Until)
	assert.Equal(t, now.Add(24*time.Hour), third.Secrets[2].Until)
	assert.Len(t, third.Rotated(NewSecret(), now.Add(25*time.Hour), time.Minute).Secrets, 3, "what has ended is forgotten")
	assert.Len(t, third.Rotated(NewSecret(), now, 0).Secrets, 1, "without an overlap no old one signs, however long it was to")
	again := second.Rotated(two, now, time.Hour)
	assert.Len(t, again.Secrets, 2, "one secret stands there once")
	s := first
	for range 10 {
		s = s.Rotated(NewSecret(), now, time.Hour)
	}
	problems := s.Check(rules())
	require.Len(t, problems, 1, "none that a receiver may hold is dropped in silence")
	assert.Equal(t, "overlap", problems[0].Field)
	assert.Contains(t, problems[0].Text, "10 secrets would sign beside the new one, and 3 are the most; the first of them ends at "+now.Add(time.Hour).UTC().Format(time.RFC3339))
	assert.Empty(t, s.Rotated(NewSecret(), now, 0).Check(rules()))
}

func TestNewSecrets(t *testing.T) {
	t.Parallel()
	one, two := NewSecret(), NewSecret()
	require.NoError(t, CheckSecret(one))
	assert.False(t, one.Equal(two))
	for size, ok := range map[int]bool{23: false, 24: true, 64: true, 65: false} {
		text := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, size))
		assert.Equal(t, ok, CheckSecret(credential.NewSecret(text)) == nil, size)
	}
}

// What is sealed comes back as it was.
func TestCodecKeepsEverything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("aZ0 \"\\{}äx")))
		texts := rapid.SliceOfN(text, 1, 3)
		s := Settings{
			Name: "ui", URL: text.Draw(t, "url"), Format: FormatWebhook, Types: texts.Draw(t, "types"), Providers: texts.Draw(t, "providers"),
			Prefix: text.Draw(t, "prefix"), Labels: map[string]string{text.Draw(t, "label"): "v"}, Enabled: rapid.Bool().Draw(t, "enabled"),
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "secrets") {
			one := SigningSecret{Secret: credential.NewSecret(fmt.Sprint("canary", i))}
			if i > 0 {
				one.Until = time.UnixMilli(rapid.Int64Range(1, 1<<45).Draw(t, "until"))
			}
			s.Secrets = append(s.Secrets, one)
		}
		for _, ms := range rapid.SliceOfN(rapid.Int64Range(10, 1<<30), 0, 3).Draw(t, "retry") {
			s.Retry = append(s.Retry, time.Duration(ms)*time.Millisecond)
		}
		content, err := encode(s)
		require.NoError(t, err)
		got, err := decode("ui", content)
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.NotContains(t, fmt.Sprint(content), "canary")
	})
	_, err := decode("ui", credential.NewSecret("no JSON"))
	require.ErrorIs(t, err, ErrUnreadable)
}
