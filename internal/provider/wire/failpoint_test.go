//go:build failpoints

package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/failpoint/failpointtest"
)

// What is injected is taken for what a network would do there: it decides
// whether the refresh token counts as sent.
func TestFailpoints(t *testing.T) {
	t.Parallel()
	failing := func(class credential.Class) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			s := newServer(t, func(p *peer) {
				p.request()
				p.gone()
			})
			failed := fail(t, newClient(t, Options{}), post(s.url(), "a=b"))
			assert.Equal(t, class, failed.Outcome.Class)
			require.ErrorIs(t, failed, failpoint.ErrInjected)
			if class == credential.ClassNotSent {
				assert.Empty(t, s.seen())
			}
		}
	}
	failpointtest.Each(t, map[string]failpointtest.Row{
		"Dialled": {Rules: "wire.dialled=fail", Do: failing(credential.ClassNotSent)},
		"Write":   {Rules: "wire.write=fail", Do: failing(credential.ClassNotSent)},
		"Written": {Rules: "wire.written=fail", Do: failing(credential.ClassAmbiguous)},
		"Headers": {Rules: "wire.headers=fail", Do: func(t *testing.T) {
			t.Helper()
			s := newServer(t, func(p *peer) {
				p.request()
				p.say(goodReply)
			})
			assert.Equal(t, got{200, "", true}, call(t, newClient(t, Options{}), post(s.url(), "a=b")))
		}},
	})
}
