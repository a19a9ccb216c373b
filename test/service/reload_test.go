package service

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
)

// SIGHUP loads the configuration again: a bad file keeps the old one and says
// why, a good one takes effect.
func TestReload(t *testing.T) {
	t.Parallel()
	const count = 3
	tr := newTrouble(t, practice.Options{AccessTTL: 6 * time.Second}, count)
	good := tr.acme()["token_url"]

	for n, row := range []struct {
		name string
		set  func()
		says string
	}{
		{"an unknown key", func() { tr.acme()["colour"] = "red" }, `colour`},
		{"a schedule under the floor", func() { tr.acme()["fetch"] = "*/16 * * * *" }, `gap of 12m`},
		{"a secret that is not there", func() { tr.acme()["client_secret"] = map[string]any{"file": "./no.secret"} }, `no\.secret`},
	} {
		kept := maps.Clone(tr.acme())
		row.set()
		tr.save()
		tr.hangUp(t)
		tr.says(t, `"level":"error".*`+row.says+`.*"message":"the configuration was not loaded again, the old one stays in force"`)
		tr.config["providers"] = map[string]any{providerName: kept}
		require.Equal(t, good, tr.acme()["token_url"])
		// It goes on with the old one.
		generation := tr.get(t, credentialID(n)).Generation
		eventually(t, patience, func() (bool, string) {
			return tr.get(t, credentialID(n)).Generation > generation, row.name + ": not refreshed"
		})
	}
	assert.Zero(t, tr.provider.Summary().ClientErrors)

	// A good one: the same users at another address of the provider, and a
	// provider more.
	second := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 6 * time.Second}})
	tr.writeSecret("second.secret", second.secret)
	tr.config["providers"].(map[string]any)["second"] = map[string]any{ //nolint:errcheck,forcetypeassert // set above
		"kind": "oauth2", "token_url": second.url + "/token", "client_id": clientID,
		"client_secret": map[string]any{"file": "./second.secret"},
	}
	tr.save()
	tr.hangUp(t)
	tr.says(t, `"message":"the configuration was loaded again"`)
	minted, err := second.Mint(practice.MintRequest{Count: 1})
	require.NoError(t, err)
	body := login(minted[0], minted[0].ExpiresIn)
	body["provider"] = "second"
	require.NoError(t, tr.Call(t.Context(), "PUT", harness.CredentialPath("second:user"), body, nil))
	eventually(t, patience, func() (bool, string) {
		r := tr.get(t, "second:user")
		return r.Generation > 1, fmt.Sprintf("%s, generation %d", r.State, r.Generation)
	})
	tr.awaitState(t, "active", count+1)
	assert.Empty(t, tr.provider.Summary().Violations)
}
