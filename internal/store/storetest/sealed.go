package storetest

import (
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func signIn(name string) credential.SignIn {
	return credential.SignIn{Username: credential.NewSecret("user-" + name), Password: credential.NewSecret("password-" + name)}
}

// withLogin stores a token beside what a login needs and what is known of the
// user, due.
func (b *bundle) withLogin(id credential.ID) credential.Held {
	b.Helper()
	p := b.policy
	p.CanLogin = true
	b.apply(credential.Connect(nil, credential.Login{
		ID: id, Provider: provider, Token: token(string(id)), ExpiresIn: time.Hour,
		SignIn: signIn(string(id)), UserData: credential.UserData(`{"name":"` + string(id) + `"}`),
	}, p, newNonce(), b.now.Add(-50*time.Minute)))
	return b.load(id)
}

func (b *bundle) requireLogin(name string, h credential.Held) {
	b.Helper()
	require.True(b, h.SignIn.Username.Equal(signIn(name).Username))
	require.True(b, h.SignIn.Password.Equal(signIn(name).Password))
	require.Equal(b, `{"name":"`+name+`"}`, string(h.UserData))
}

// fields returns which of the record's fields are there and not empty.
func (b *bundle) fields(id credential.ID) string {
	b.Helper()
	all, err := b.Client.HGetAll(b.ctx, b.credKey(id)).Result()
	require.NoError(b, err)
	names := []string{"s", "a", "l", "u", "t", "o"}
	return strings.Join(slices.DeleteFunc(names, func(name string) bool { return all[name] == "" }), "")
}

func sealedLogins(b *bundle) {
	h := b.withLogin("alice")
	assert.True(b, h.Record.HasLogin)
	b.requireLogin("alice", h)
	begun := b.begun("alice")
	b.requireLogin("alice", begun)
	refused := b.begin(ask("alice"))
	assert.Equal(b, credential.RefusedOpen, refused.Refusal)
	assert.True(b, refused.Held.SignIn.IsZero(), "who is refused gets none")
	assert.Nil(b, refused.Held.UserData)
	for _, read := range []credential.Held{b.records("alice"), b.walk(provider)["alice"]} {
		assert.True(b, read.SignIn.IsZero(), "it is not opened")
		assert.Nil(b, read.UserData)
		assert.True(b, read.Record.HasLogin)
	}

	b.apply(b.install(begun, token("second")))
	b.requireLogin("alice", b.load("alice")) // a write that does not name them leaves them, generations later

	change := func(change func(*credential.Write)) credential.Held {
		w, ok := credential.SetPaused(b.load("alice"), !b.load("alice").Record.Paused, newNonce(), b.now)
		require.True(b, ok)
		change(&w)
		b.apply(w)
		return b.load("alice")
	}
	data, other := credential.UserData(`{"name":"bob"}`), signIn("bob")
	h = change(func(w *credential.Write) { w.SignIn, w.UserData = &other, &data })
	b.requireLogin("bob", h)
	h = change(func(w *credential.Write) { w.UserData = new(credential.UserData) })
	assert.Nil(b, h.UserData)
	assert.True(b, h.SignIn.Password.Equal(other.Password))
	h = change(func(w *credential.Write) { w.SignIn, w.UserData = new(credential.SignIn), &data })
	assert.True(b, h.SignIn.IsZero())
	assert.Equal(b, data, h.UserData)
	assert.Equal(b, "su", b.fields("alice"))
	h = change(func(w *credential.Write) { w.Record.Grant++; w.SignIn, w.Token = &other, &h.Token })
	assert.True(b, h.SignIn.Username.Equal(other.Username))
	assert.Nil(b, h.UserData, "what belongs to a login goes with it")
	assert.Equal(b, "sl", b.fields("alice"))
}

func sealedErased(b *bundle) {
	b.apply(credential.Logout(b.withLogin("out"), newNonce(), b.now))
	b.apply(credential.Delete(b.withLogin("gone"), newNonce(), b.now))
	w := b.install(b.begunLogin("erased"), token("x"))
	w.Erase = true
	b.apply(w)
	for _, id := range []credential.ID{"out", "gone", "erased"} {
		assert.Empty(b, b.fields(id), id)
		h := b.load(id)
		assert.True(b, h.SignIn.IsZero(), id)
		assert.Nil(b, h.UserData, id)
	}
	again := b.withLogin("again")
	b.apply(credential.Connect(&again, credential.Login{ID: "again", Provider: provider, Token: token("x"), ExpiresIn: time.Hour}, b.policy, newNonce(), b.now))
	assert.Equal(b, "s", b.fields("again"), "a login replaces what the one before it left")
}

func (b *bundle) begunLogin(id credential.ID) credential.Held {
	b.Helper()
	b.withLogin(id)
	return b.begun(id)
}

// sealedBound: what is sealed cannot be passed off as another's, another
// field's or another login's.
func sealedBound(b *bundle) {
	b.withLogin("alice")
	b.withLogin("bob")
	key := b.credKey("alice")
	for _, tt := range []struct {
		field string
		from  credential.ID
		of    string
	}{
		{"l", "bob", "l"},
		{"u", "bob", "u"},
		{"l", "alice", "u"},
		{"u", "alice", "l"},
		{"u", "alice", "s"},
	} {
		own, err := b.Client.HGet(b.ctx, key, tt.field).Result()
		require.NoError(b, err)
		foreign, err := b.Client.HGet(b.ctx, b.credKey(tt.from), tt.of).Result()
		require.NoError(b, err)
		require.NoError(b, b.Client.HSet(b.ctx, key, tt.field, foreign).Err())
		_, err = b.store.Load(b.ctx, "alice")
		corrupt := new(store.CorruptError)
		require.ErrorAs(b, err, &corrupt, "%+v", tt)
		assert.Equal(b, tt.field, corrupt.Field)
		answer := b.begin(ask("alice"))
		require.ErrorAs(b, answer.Err, &corrupt)
		assert.Nil(b, b.records("alice").Attempt, "nothing is begun, and what need not be opened is read")
		require.NoError(b, b.Client.HSet(b.ctx, key, tt.field, own).Err())
	}
	b.requireLogin("alice", b.load("alice"))
}

// sealedClient: the pause of a whole provider is kept in its client's
// pseudo-record.
func sealedClient(b *bundle) {
	id := credential.ClientID(provider)
	w := credential.Trip(nil, provider, "alice", credential.Outcome{Class: credential.ClassOperator}, newNonce(), b.now)
	w.Record.Paused, w.Record.State = true, credential.StateActive
	b.apply(w)
	h := b.load(id)
	assert.Equal(b, w.Record, h.Record)
	assert.True(b, h.Record.Paused)
	on, ok := credential.SetPaused(h, false, newNonce(), b.now)
	require.True(b, ok)
	b.apply(on)
	assert.False(b, b.records(id).Record.Paused)
	off, ok := credential.SetPaused(b.load(id), true, newNonce(), b.now)
	require.True(b, ok)
	b.apply(off)
	assert.True(b, b.records(id).Record.Paused)
	assert.Empty(b, b.walk(""), "it is nobody's credential")
}
