package chaos

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// callLimit bounds a call to a replica, but for its stream of events.
const callLimit = 5 * time.Second

// put stores a login. The end of its access token is told as a moment: it may be
// asked for a while until somebody answers.
func put(ctx context.Context, api *harness.API, provider, id string, m practice.Minted, expires time.Time) (harness.Record, error) {
	var r harness.Record
	err := api.Call(ctx, http.MethodPut, harness.CredentialPath(id), map[string]any{
		"provider": provider, "subject": m.Subject,
		"token": map[string]any{"access_token": m.AccessToken, "refresh_token": m.RefreshToken, "expires_at": expires},
	}, &r)
	return r, err
}

// providerOf is the provider that an event or a record is about: credentials
// are named after it, and what concerns its client is named "client:" and it.
func providerOf(id string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(id, "client:"), ":")
	return name
}

// subscriber is one that remembers what came.
type subscriber interface {
	Seen() []oracle.Event
	Last(credential string) uint64
	Faults() []string
}

// behind counts the credentials whose newest version did not come yet.
func behind(s subscriber, all map[string]harness.Record) int {
	n := 0
	for id, r := range all {
		if s.Last(id) < r.Version {
			n++
		}
	}
	return n
}

// readEvery is how often each replica is asked for a token.
const readEvery = 25 * time.Millisecond

// reader asks one replica for tokens, as a program does that keeps none.
type reader struct {
	at        *replica
	ids       []string
	providers map[string]*provider

	mu    sync.Mutex
	reads []oracle.Read
}

func (r *reader) read(ctx context.Context) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		api, run := r.at.reach()
		if api == nil {
			continue
		}
		one, got := api.Read(ctx, run, r.ids[rand.IntN(len(r.ids))])
		if got.AccessToken != "" {
			one.Looked = time.Now()
			one.Ends = r.providers[providerOf(one.ID)].Ends(got.AccessToken)
		}
		r.mu.Lock()
		r.reads = append(r.reads, one)
		r.mu.Unlock()
	}
}

func (r *reader) all() []oracle.Read {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]oracle.Read(nil), r.reads...)
}
