package examples

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

func TestWebhook(t *testing.T) {
	t.Parallel()
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(rand.Text()+rand.Text()))
	example := testproc.Start(t, testproc.Options{
		Path: build(t, "examples/webhook"), Args: []string{"--listen", "127.0.0.1:0"}, Env: []string{"HOOK_SECRET=" + secret},
		Ready: regexp.MustCompile(`listening on (http://\S+/hooks/auth)`),
	})
	e := newEstate(t, "shop", backends.Options{Kind: backends.KindBearer, Life: hour, Refreshes: true}, nil)
	e.Config["subscriptions"] = []any{map[string]any{
		"name": "app", "url": example.ReadyMatch()[1], "types": []string{"credential.*"}, "secret": map[string]any{"file": "./hook.secret"},
	}}
	e.WriteSecret("hook.secret", secret)
	e.open()
	e.signIn()
	says(t, example, `shop:alice: credential\.connected, now active`)

	e.backend.SetUser(user, "battery staple", profile)
	e.backend.End(user)
	refused := e.Refresh(t.Context(), e.id)
	require.Error(t, refused)
	says(t, example, `shop:alice: user uid-1 has to sign in again \(\w+\)`)
	e.backend.SetUser(user, password, profile)
	e.signIn()
	says(t, example, `shop:alice: user uid-1 is back`)
	require.NoError(t, e.Call(t.Context(), http.MethodPost, harness.CredentialPath(e.id)+"/logout", nil, nil))
	says(t, example, `shop:alice: user uid-1 has left`)
	state, err := example.Stop()
	require.NoError(t, err)
	require.Zero(t, state.ExitCode())
}
