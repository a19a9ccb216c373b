package service

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// Redis comes back without what was done with keys and subscriptions last: what
// was acknowledged holds, at whichever process it was, and of two words the later.
func TestKeysAndSubscriptionsThatRedisLosesComeBack(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec", Args: []string{"--auto-aof-rewrite-percentage", "0"}})
	h := newHouse(t, newProvider(t, providerOptions{}), server.URL())
	receiver, ctx := newHook(t), t.Context()
	first, second := h.start(), h.start()
	for _, i := range []*instance{first, second} {
		i.awaitGate(t)
	}
	h.login(first.api, 1)
	const subs = "/v1/subscriptions"
	every := []string{"*"}
	subscribe := func(at *instance, name string) {
		t.Helper()
		require.NoError(t, at.Call(ctx, http.MethodPost, subs, map[string]any{"name": name, "url": receiver.url, "types": every}, nil))
	}
	unsubscribe := func(at *instance, name string) {
		t.Helper()
		require.NoError(t, at.Call(ctx, http.MethodDelete, subs+"/"+name, nil, nil))
	}
	revoke := func(at *instance, key *front) {
		t.Helper()
		require.NoError(t, at.Call(ctx, http.MethodDelete, "/v1/keys/"+key.id, nil, nil))
	}
	status := func(at *instance, key *front) int {
		_, err := newAPI(t, at.Base, key.Key).Token(ctx, credentialID(0), 0)
		return statusOf(err)
	}
	key := func(at *instance) *front { return newFront(t, at.api, at.api, "nobody") }

	leaked := key(first)
	subscribe(first, "changed")
	subscribe(first, "ended")
	require.Equal(t, http.StatusNotFound, status(first, leaked), "it works: what is another's does not exist for it")

	// What follows is acknowledged, and vanishes from Redis.
	tail, err := harness.NewTail(server.Dir())
	require.NoError(t, err)
	size, err := tail.Size()
	require.NoError(t, err)
	revoke(first, leaked)
	made, brief := key(first), key(first)
	revoke(second, brief)
	subscribe(first, "made")
	subscribe(first, "brief")
	unsubscribe(second, "brief")
	unsubscribe(second, "ended")
	require.NoError(t, first.Call(ctx, http.MethodPut, subs+"/changed", map[string]any{"url": receiver.url, "types": every, "enabled": false}, nil))
	require.NoError(t, server.Kill())
	lost, err := tail.Cut(size)
	require.NoError(t, err)
	assert.Positive(t, lost, "bytes of acknowledged changes vanish")
	require.NoError(t, server.Restart(ctx))

	for _, i := range []*instance{first, second} {
		i.says(t, `"message":"redis is another run`)
		i.awaitGate(t)
	}
	for _, i := range []*instance{first, second} {
		for _, row := range []struct {
			what   string
			key    *front
			status int
		}{
			{"revoked", leaked, http.StatusUnauthorized},
			{"made at one process and revoked at the other", brief, http.StatusUnauthorized},
			{"made", made, http.StatusNotFound},
		} {
			eventually(t, patience, func() (bool, string) {
				found := status(i, row.key)
				return found == row.status, fmt.Sprintf("the key that was %s is answered %d", row.what, found)
			})
		}
		eventually(t, patience, func() (bool, string) {
			var list struct {
				Subscriptions []struct {
					Name  string `json:"name"`
					State string `json:"state"`
				} `json:"subscriptions"`
			}
			err := i.Call(ctx, http.MethodGet, subs, nil, &list)
			found := fmt.Sprint(list.Subscriptions)
			return err == nil && found == "[{changed off} {made active}]", fmt.Sprintf("subscriptions: %s: %v", found, err)
		})
	}
}

// Redis is back without its last writes, and nobody has noticed: a key or a
// subscription that it lacks just then is not told to be none, for it comes back.
func TestWhatRedisLacksForAMomentCanBeRevokedAndRemoved(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec", Args: []string{"--auto-aof-rewrite-percentage", "0"}})
	h := newHouse(t, newProvider(t, providerOptions{}), server.URL())
	at, ctx := h.start(), t.Context()
	at.awaitGate(t)
	receiver := newHook(t)

	tail, err := harness.NewTail(server.Dir())
	require.NoError(t, err)
	size, err := tail.Size()
	require.NoError(t, err)
	key := newFront(t, at.api, at.api, "nobody")
	require.NoError(t, at.Call(ctx, http.MethodPost, "/v1/subscriptions", map[string]any{"name": "late", "url": receiver.url, "types": []string{"*"}}, nil))
	require.NoError(t, server.Kill())
	lost, err := tail.Cut(size)
	require.NoError(t, err)
	assert.Positive(t, lost, "bytes of acknowledged changes vanish")
	require.NoError(t, server.Restart(ctx))

	paths := []string{"/v1/keys/" + key.id, "/v1/subscriptions/late"}
	answers := make([]int, len(paths))
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var callers sync.WaitGroup
	for i, path := range paths {
		callers.Go(func() {
			for ok := false; !ok && soon.Err() == nil; ok = answers[i] != http.StatusServiceUnavailable {
				answers[i] = statusOf(at.Call(soon, http.MethodDelete, path, nil, nil))
			}
		})
	}
	callers.Wait()
	assert.Equal(t, []int{http.StatusOK, http.StatusOK}, answers)
	at.says(t, `"message":"redis is another run`)
	at.awaitGate(t)
	for _, path := range paths {
		assert.Equal(t, http.StatusNotFound, statusOf(at.Call(ctx, http.MethodDelete, path, nil, nil)), "%s came back", path)
	}
}
