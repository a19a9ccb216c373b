//go:build unix

package oauth2_test

import (
	"bytes"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
	"github.com/refreshd/refreshd/internal/provider/providertest"
)

// When many replies come at once only a few are taken from the network and not
// kept yet; in the end all are kept.
func TestFewRepliesAreUnkept(t *testing.T) {
	t.Parallel()
	slots := max(16, 4*runtime.GOMAXPROCS(0))
	calls := 4 * slots
	var arrived sync.WaitGroup
	arrived.Add(calls)
	s := providertest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Done()
		arrived.Wait() // all are answered at once
		say(http.StatusOK, `{"access_token":"AT","expires_in":60,"refresh_token":"RT"}`)(w, r)
	})
	p := newProvider(t, oauth2.Options{TokenURL: s.URL, MaxConns: calls})
	keeping, kept := make(chan struct{}), make(chan struct{})
	open := sync.OnceFunc(func() { close(kept) })
	var mu sync.Mutex
	now, most := 0, 0
	add := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		now += n
		most = max(most, now)
	}
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	t.Cleanup(open)
	for range calls {
		all.Go(func() {
			out := p.Exchange(t.Context(), presenting(credential.NewSecret("RT-old"), func(credential.Found) error {
				add(1)
				keeping <- struct{}{}
				<-kept
				add(-1)
				return nil
			}), "")
			assert.Equal(t, credential.ClassOK, out.Class, out.Detail)
		})
	}
	for n := range calls {
		<-keeping
		if n >= slots-1 {
			kept <- struct{}{} // only then is there room for the next
		}
	}
	open()
	all.Wait()
	assert.Equal(t, slots, most)
}

// Where keeping stalls, the replies that wait are read all the same after a
// while, and the operator hears of it, though not of each.
func TestStalledKeepingLosesNoReply(t *testing.T) {
	t.Parallel()
	slots := max(16, 4*runtime.GOMAXPROCS(0))
	calls := slots + 3
	s := providertest.NewServer(t, say(http.StatusOK, `{"access_token":"AT","expires_in":60,"refresh_token":"RT"}`))
	var said bytes.Buffer
	p := newProvider(t, oauth2.Options{TokenURL: s.URL, MaxConns: calls, Log: zerolog.New(zerolog.SyncWriter(&said))})
	var keeping, all sync.WaitGroup
	keeping.Add(calls)
	for range calls {
		all.Go(func() {
			out := p.Exchange(t.Context(), presenting(credential.NewSecret("RT-old"), func(credential.Found) error {
				keeping.Done()
				keeping.Wait()
				return nil
			}), "")
			assert.Equal(t, credential.ClassOK, out.Class, out.Detail)
		})
	}
	all.Wait()
	assert.Equal(t, 2, strings.Count(said.String(), "\n"), said.String())
	assert.Contains(t, said.String(), `"provider":"acme","replies":2,`)
}
