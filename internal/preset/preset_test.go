package preset_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2/endpoints"

	"github.com/refreshd/refreshd/internal/preset"
)

// settings reads a preset's YAML; what the keys mean is tested where they are
// taken over.
func settings(t *testing.T, text string) map[string]any {
	t.Helper()
	var got map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &got))
	return got
}

func TestPresetsAreWhole(t *testing.T) {
	t.Parallel()
	names := preset.Names()
	assert.True(t, slices.IsSorted(names))
	assert.Len(t, slices.Compact(slices.Clone(names)), len(names))
	for _, p := range preset.All() {
		assert.Regexp(t, `^[a-z0-9]+$`, p.Name)
		assert.NotEmpty(t, p.Title, p.Name)
		assert.Contains(t, []string{"oauth2", "http"}, p.Kind, p.Name)
		docs, err := url.Parse(p.Docs)
		require.NoError(t, err, p.Name)
		assert.Equal(t, "https", docs.Scheme, p.Name)
		for _, note := range p.Notes {
			assert.Regexp(t, `^[A-Z].*\.$|^[a-z_]+ .*\.$`, note, p.Name)
		}

		got := settings(t, p.Settings)
		_, hasURL := got["token_url"]
		assert.Equal(t, p.Kind == "oauth2" && p.Issuer == "", hasURL, "%s: its addresses are known, or found through an issuer", p.Name)
		assert.Equal(t, p.Kind == "http", got["refresh"] != nil, p.Name)
		for _, key := range p.Unverified {
			first, _, _ := strings.Cut(strings.ReplaceAll(key, "[", "."), ".")
			assert.Contains(t, got, first, "%s: %s is not among its settings", p.Name, key)
		}
	}
}

func TestPartsStandInTheAddresses(t *testing.T) {
	t.Parallel()
	placeholder := regexp.MustCompile(`//[^/"\s]*\{|/\{[a-z]+\}`)
	for _, p := range preset.All() {
		if p.Part.Name == "" {
			assert.NotRegexp(t, placeholder, p.Settings, p.Name)
			continue
		}
		assert.Contains(t, p.Settings, "{"+p.Part.Name+"}", p.Name)
		assert.NotEmpty(t, p.Part.Example, p.Name)
		filled := p.With("part.example")
		assert.NotRegexp(t, placeholder, filled, p.Name)
		assert.Contains(t, filled, "part.example", p.Name)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, name := range preset.Names() {
		p, ok := preset.Find(name)
		require.True(t, ok, name)
		assert.Equal(t, name, p.Name)
	}
	for _, name := range []string{"", "Google", "facebook", "instagram"} {
		_, ok := preset.Find(name)
		assert.False(t, ok, name)
	}
}

// TestAddressesAreThoseOfTheCatalogue compares with the addresses that package
// endpoints has.
func TestAddressesAreThoseOfTheCatalogue(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"google": endpoints.Google.TokenURL, "github": endpoints.GitHub.TokenURL, "slack": endpoints.Slack.TokenURL,
		"zoom": endpoints.Zoom.TokenURL, "linkedin": endpoints.LinkedIn.TokenURL, "bitbucket": endpoints.Bitbucket.TokenURL,
		"discord": endpoints.Discord.TokenURL, "dropbox": endpoints.Dropbox.TokenURL, "gitlab": endpoints.GitLab.TokenURL,
		"spotify": endpoints.Spotify.TokenURL, "twitch": endpoints.Twitch.TokenURL,
		"microsoft": endpoints.AzureAD("part.example").TokenURL, "shopify": endpoints.Shopify("part.example").TokenURL,
	} {
		p, ok := preset.Find(name)
		require.True(t, ok, name)
		assert.Equal(t, want, settings(t, p.With("part.example"))["token_url"], name)
	}
}
