package examples

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/test/harness"
)

func TestREST(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "shop", backends.Options{Kind: backends.KindBearer, Life: hour, Refreshes: true}, nil)
	e.open()
	key := e.key("shop-app", "--scope", "token:read", "--scope", "credential:write", "--prefix", "shop:")
	program := build(t, "examples/rest")
	run := func(stdin string) (string, error) {
		return e.run(program, key, stdin, "--refreshd", e.Base, "--credential", e.id, "--api", e.url+"/me")
	}

	out, err := run("")
	require.Error(t, err, "nobody has signed in")
	assert.Contains(t, out, "welcome page: nobody has signed in yet\n")

	e.signIn()
	out, err = run("")
	require.NoError(t, err, out)
	assert.Equal(t, "home page of Alice, user uid-1\n"+
		"GET /me: 200 OK\n"+
		`{"id":"uid-1","profile":{"name":"Alice"}}`+"\n", out)

	// Everything that she had is ended, her password is another: she is asked.
	e.backend.SetUser(user, "battery staple", profile)
	e.backend.End(user)
	out, err = run("battery staple\n")
	require.NoError(t, err, out)
	assert.Contains(t, out, "GET /me: 401 Unauthorized\nshop:alice needs its user (reauth_required); password of alice: \nGET /me: 200 OK\n")

	// The token dies before its time: another one is fetched behind the scene.
	e.backend.EndTokens(user)
	before := len(e.backend.Calls(backends.CallRefresh, user))
	out, err = run("")
	require.NoError(t, err, out)
	readme := "home page of Alice, user uid-1\n" +
		"GET /me: 401 Unauthorized\n" +
		"GET /me: 200 OK\n" +
		`{"id":"uid-1","profile":{"name":"Alice"}}` + "\n"
	assert.Equal(t, readme, out)
	assert.Contains(t, read(t, "README.md"), readme, "what it prints stands there")
	assert.Len(t, e.backend.Calls(backends.CallRefresh, user), before+1)

	require.NoError(t, e.Call(t.Context(), http.MethodPost, harness.CredentialPath(e.id)+"/logout", nil, nil))
	out, err = run("not her password\n")
	require.Error(t, err)
	assert.Contains(t, out, "login page: logged_out\n")
	assert.Contains(t, out, "login_refused")
}
