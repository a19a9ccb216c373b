package examples

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
)

func TestGraphQL(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "graph", backends.Options{Kind: backends.KindGraphQL, Idle: hour}, nil)
	e.open()
	e.signIn()
	key := e.key("graph-app", "--scope", "token:read", "--scope", "credential:write", "--prefix", "graph:")
	program := build(t, "examples/graphql")
	run := func(stdin string) string {
		out, err := e.run(program, key, stdin, "--refreshd", e.Base, "--credential", e.id, "--api", e.url+"/graphql")
		require.NoError(t, err, out)
		return out
	}
	assert.Equal(t, "Alice, user uid-1\n", run(""))

	// The session ends before its time: refreshd signs in with the password that
	// it keeps, and the query is sent again.
	e.backend.End(user)
	before := len(e.backend.Calls(backends.CallLogin, user))
	assert.Equal(t, "Alice, user uid-1\n", run(""))
	assert.Len(t, e.backend.Calls(backends.CallLogin, user), before+1)

	// Her password is another: she is asked.
	e.backend.SetUser(user, "battery staple", profile)
	e.backend.End(user)
	assert.Regexp(t, `^graph:alice needs its user \((reauth_required|fresh_rejected)\); password of alice: \nAlice, user uid-1\n$`, run("battery staple\n"))
}
