package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

const (
	provider = "acme"
	owner    = "owner-1"
	lasts    = 35 * time.Second
)

// bundle is what a test works with.
type bundle struct {
	*testing.T

	*Harness

	ctx    context.Context //nolint:containedctx // lives as long as its test
	store  *store.Store
	now    credential.Millis
	policy credential.Policy
}

func setup(t *testing.T, h *Harness) *bundle {
	t.Helper()
	b := &bundle{T: t, Harness: h, ctx: t.Context(), policy: credential.Policy{
		RefreshAt: 0.66, Jitter: 0.1, Rotates: credential.RotatesYes, Grace: time.Minute, Times: credential.DefaultTimes(0),
	}}
	b.store = b.open(func(*store.Options) {})
	b.now = b.clock()
	return b
}

// open opens a store with other options.
func (b *bundle) open(change func(*store.Options)) *store.Store {
	b.Helper()
	s, err := b.openOr(change)
	require.NoError(b, err)
	return s
}

func (b *bundle) openOr(change func(*store.Options)) (*store.Store, error) {
	opts := b.Options
	change(&opts)
	return store.New(b.ctx, opts)
}

func (b *bundle) clock() credential.Millis {
	b.Helper()
	now, err := b.store.Now(b.ctx)
	require.NoError(b, err)
	return now
}

// eventually waits until ok answers true.
func (b *bundle) eventually(ok func() bool, what string) {
	b.Helper()
	require.Eventually(b, ok, time.Minute, 2*time.Millisecond, what)
}

// atOnce calls f n times at the same moment, and wants no error of any.
func (b *bundle) atOnce(n int, f func(i int) error) {
	b.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	require.NoError(b, errors.Join(errs...))
}

func newNonce() credential.Nonce {
	var n credential.Nonce
	_, _ = rand.Read(n[:])
	return n
}

func token(name string) credential.Token {
	return credential.Token{
		Access: credential.NewSecret("access-" + name), Refresh: credential.NewSecret("refresh-" + name),
		Type: "Bearer", Scope: "read write",
	}
}

// login is one that was made age ago, of a token that lives for an hour: it is
// due from about 40 minutes on.
func (b *bundle) login(id credential.ID, age time.Duration) credential.Write {
	return credential.Connect(nil, credential.Login{
		ID: id, Provider: provider, Subject: "subject of " + string(id), Labels: map[string]string{"team": "blue"},
		Token: token(string(id)), ExpiresIn: time.Hour,
	}, b.policy, newNonce(), b.now.Add(-age))
}

// due stores a credential that is active and due, and returns it.
func (b *bundle) due(id credential.ID) credential.Held {
	b.Helper()
	b.apply(b.login(id, 50*time.Minute))
	return b.load(id)
}

// fresh stores a credential that is active and not due.
func (b *bundle) fresh(id credential.ID) credential.Held {
	b.Helper()
	b.apply(b.login(id, 0))
	return b.load(id)
}

// apply stores writes that all have to be written.
func (b *bundle) apply(writes ...credential.Write) {
	b.Helper()
	statuses, err := b.store.Apply(b.ctx, writes)
	require.NoError(b, err)
	for i, status := range statuses {
		require.Equal(b, credential.StatusWritten, status, "write %d", i)
	}
}

// status stores one write and returns what became of it.
func (b *bundle) status(w credential.Write) credential.Status {
	b.Helper()
	statuses, err := b.store.Apply(b.ctx, []credential.Write{w})
	require.NoError(b, err)
	require.Len(b, statuses, 1)
	return statuses[0]
}

func (b *bundle) load(id credential.ID) credential.Held {
	b.Helper()
	list, err := b.store.Load(b.ctx, id)
	require.NoError(b, err)
	require.Len(b, list, 1)
	require.NotNil(b, list[0], "%s is not stored", id)
	return *list[0]
}

func ask(id credential.ID) credential.Begin {
	return credential.Begin{ID: id, Nonce: newNonce(), Owner: owner, Lasts: lasts}
}

func (b *bundle) begin(r credential.Begin) credential.Begun {
	b.Helper()
	answers, err := b.store.Begin(b.ctx, []credential.Begin{r})
	require.NoError(b, err)
	require.Len(b, answers, 1)
	require.Equal(b, r.ID, answers[0].ID)
	return answers[0]
}

// begun begins an attempt that has to be granted.
func (b *bundle) begun(id credential.ID) credential.Held {
	b.Helper()
	answer := b.begin(ask(id))
	require.NoError(b, answer.Err)
	require.Equal(b, credential.RefusedNot, answer.Refusal)
	return answer.Held
}

func (b *bundle) install(h credential.Held, t credential.Token) credential.Write {
	return credential.Install(h, *h.Attempt, credential.Received{Token: t, SentAt: b.now, ExpiresIn: time.Hour}, b.policy, credential.BySchedule, b.now)
}

// score is the credential's in the due index; false if it has none.
func (b *bundle) score(id credential.ID) (credential.Millis, bool) {
	b.Helper()
	return b.scoreOf(provider, id)
}

func (b *bundle) scoreOf(provider string, id credential.ID) (credential.Millis, bool) {
	b.Helper()
	scores, err := b.Client.ZRangeByScoreWithScores(b.ctx, b.key(id, "due:"+provider), all()).Result()
	require.NoError(b, err)
	for _, z := range scores {
		if z.Member == string(id) {
			return credential.Millis(z.Score), true
		}
	}
	return 0, false
}

// requireScore compares a score that has to be there.
func (b *bundle) requireScore(want credential.Millis, id credential.ID) {
	b.Helper()
	score, ok := b.score(id)
	require.True(b, ok, "%s is not in the due index", id)
	require.Equal(b, want, score)
}

// setScore moves a credential in the due index, as a claim or an accident does.
func (b *bundle) setScore(id credential.ID, at credential.Millis) {
	b.Helper()
	require.NoError(b, b.Client.ZAdd(b.ctx, b.key(id, "due:"+provider), member(id, at)).Err())
}

// key names a key of the credential's shard.
func (b *bundle) key(id credential.ID, name string) string {
	return fmt.Sprintf("rd:{refresh-%02d}:%s", b.store.ShardOf(id), name)
}

func (b *bundle) credKey(id credential.ID) string { return b.key(id, "cred:"+string(id)) }

// ids makes n IDs.
func ids(n int) []credential.ID {
	list := make([]credential.ID, n)
	for i := range list {
		list[i] = credential.ID(fmt.Sprintf("user-%04d", i))
	}
	return list
}

// opened returns the credentials with an open attempt of the suite's owner.
func (b *bundle) opened() ([]credential.ID, error) {
	owners, err := b.store.OpenOwners(b.ctx)
	return owners[owner], err
}
