package refresh

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
)

// slowDisk is a provider whose reply is handed on after what happens meanwhile.
type slowDisk struct {
	*fakeProvider

	meanwhile func()
}

func (p slowDisk) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	in.Keep = func(found credential.Found) error {
		p.meanwhile()
		in.Hand(found)
		return nil
	}
	_ = p.fakeProvider.Exchange(ctx, in)
	return credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}
}

// A token that is handed on long after the attempt's deadline is installed.
// Nobody judges the attempt while its owner is heard, or holds its journal on the
// same machine; elsewhere it comes to be in doubt, after the quarantine, and is
// settled by the token all the same.
func TestATokenIsHandedOnAfterTheDeadline(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ heard, elsewhere, doubt bool }{
		"its owner is heard, elsewhere":          {heard: true, elsewhere: true},
		"its owner is not heard, on its machine": {},
		"its owner is not heard, elsewhere":      {elsewhere: true, doubt: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			where := func(*Options) {}
			if row.elsewhere {
				where = b.elsewhere()
			}
			slow, other := b.node("slow"), b.node("other", where)
			b.put(slow, "alice")
			b.due()
			target := b.target()
			target.Exchanger = slowDisk{b.provider, func() {
				begun := b.held(slow, "alice").Attempt
				for range 11 * 15 { // the quarantine, and more
					b.clock.advance(4 * time.Second)
					if row.heard {
						require.NoError(t, slow.tick(t.Context()))
					}
					require.NoError(t, other.tick(t.Context()))
				}
				h := b.held(other, "alice")
				require.NotNil(t, h.Attempt)
				assert.Less(t, begun.Deadline, b.clock.Now())
				assert.Equal(t, row.doubt, h.Attempt.Doubt)
				b.batch(other, "alice")
			}}
			slow.SetTargets(t.Context(), []Target{target})
			b.batch(slow, "alice")
			h := b.held(other, "alice")
			assert.EqualValues(t, 2, h.Record.Generation)
			assert.Nil(t, h.Attempt)
			assert.Equal(t, 1, b.provider.calls())
		})
	}
}

// overWire is an authorization server behind a real connection, of which the
// reader is held up with a reply in its hands until the call's time is over.
type overWire struct {
	*fakeProvider

	server *oauth2.Provider
	closed <-chan struct{} // the connection was closed: the call is given up
}

func (p overWire) Exchange(ctx context.Context, in credential.Presentation) credential.Outcome {
	returned := make(chan struct{})
	hand := in.Hand
	in.Hand = func(found credential.Found) {
		<-p.closed
		select {
		case <-returned:
		case <-time.After(100 * time.Millisecond): // for an exchange that does not wait
		}
		hand(found)
	}
	in.Keep = func(credential.Found) error {
		panic("the call was given up: nobody else has the reply")
	}
	o := p.server.Exchange(ctx, in, "")
	close(returned)
	return o
}

// However long whoever reads a reply needs to hand its token on, what became of
// the attempt is not decided before: the token is installed, and the spent one
// never presented again.
func TestNoTokenIsHandedOnTooLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	closed := make(chan struct{})
	end := sync.OnceFunc(func() { close(closed) })
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"` + mark + `at","refresh_token":"` + mark + `rt","token_type":"Bearer","expires_in":3600}`))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			end()
		}
	}
	server.Start()
	defer server.Close()
	provider, err := oauth2.New(oauth2.Options{Name: acme, TokenURL: server.URL, ClientID: "client", ClientAuth: oauth2.AuthNone, Timeout: time.Second})
	require.NoError(t, err)
	defer provider.Close()

	b.due()
	target := b.target()
	target.Exchanger = overWire{b.provider, provider, closed}
	n.SetTargets(t.Context(), []Target{target})
	b.batch(n, "alice")
	h := b.held(n, "alice")
	assert.EqualValues(t, 2, h.Record.Generation)
	assert.Nil(t, h.Attempt, "nothing is in doubt")
	assert.Len(t, n.inJournal().Keeps, 1)
	require.NoError(t, n.tick(t.Context()))
	assert.Empty(t, n.inJournal().Keeps, "it is not needed any more")
	assert.Equal(t, mark+"rt", b.held(n, "alice").Token.Refresh.Reveal())
}
