package storetest

import (
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

const (
	idle       = 15 * time.Minute
	warnBefore = 2 * time.Minute
)

// sessions is the suite's policy for a backend with sliding sessions.
func (b *bundle) sessions() credential.Policy {
	p := b.policy
	p.CanLogin = true
	p.Sessions = credential.SessionPolicy{
		Idle: idle, Extend: true, WarnBefore: warnBefore, OnActive: credential.ActiveExtend, OnDeath: credential.DeathReauth,
	}
	return p
}

// session stores one that was logged in to age ago, by somebody who asked for
// that presence, and returns it.
func (b *bundle) session(id credential.ID, age time.Duration, presence credential.Presence) credential.Held {
	b.Helper()
	at := b.now.Add(-age)
	w := credential.Connect(nil, credential.Login{
		ID: id, Provider: provider, Token: credential.Token{Access: credential.NewSecret("session-" + string(id))},
	}, b.sessions(), newNonce(), at)
	b.apply(w)
	h := b.load(id)
	if presence != "" {
		w, ok := credential.SetPresence(h, presence, b.sessions(), newNonce(), at)
		require.True(b, ok)
		b.apply(w)
	}
	return b.load(id)
}

// touch touches sessions that have to be alive, and returns the moments.
func (b *bundle) touch(ids ...credential.ID) []credential.Millis {
	b.Helper()
	answers, err := b.store.Touch(b.ctx, ids)
	require.NoError(b, err)
	require.Len(b, answers, len(ids))
	moments := make([]credential.Millis, len(ids))
	for i, id := range ids {
		require.Equal(b, store.TouchTaken, answers[i].Answer, id)
		moments[i] = b.touchedAt(id)
		require.GreaterOrEqual(b, moments[i], b.now)
	}
	return moments
}

// touchedAt is the moment that stands beside the head, 0 if none does.
func (b *bundle) touchedAt(id credential.ID) credential.Millis {
	b.Helper()
	values, err := b.Client.HMGet(b.ctx, b.credKey(id), "t").Result()
	require.NoError(b, err)
	if values[0] == nil {
		return 0
	}
	text, ok := values[0].(string)
	require.True(b, ok)
	ms, err := strconv.ParseInt(text, 10, 64)
	require.NoError(b, err)
	return credential.Millis(ms)
}

// plantTouch puts a touch of an earlier moment beside the head.
func (b *bundle) plantTouch(id credential.ID, at credential.Millis) {
	b.Helper()
	require.NoError(b, b.Client.HSet(b.ctx, b.credKey(id), "t", int64(at)).Err())
}

func (b *bundle) records(id credential.ID) credential.Held {
	b.Helper()
	list, err := b.store.Records(b.ctx, id)
	require.NoError(b, err)
	require.NotNil(b, list[0])
	return *list[0]
}
