package storetest

import (
	"errors"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

func metaStart(b *bundle) {
	assert.NotEmpty(b, b.store.Epoch())
	again := b.open(func(o *store.Options) { o.Owner = "owner-2" })
	assert.Equal(b, b.store.Epoch(), again.Epoch())
	assert.Equal(b, b.Options.Shards, again.Shards())
}

func metaShards(b *bundle) {
	_, err := b.openOr(func(o *store.Options) { o.Shards++ })
	shards := new(store.ShardsError)
	require.ErrorAs(b, err, &shards)
	assert.Equal(b, store.ShardsError{Stored: b.Options.Shards, Configured: b.Options.Shards + 1}, *shards)
}

func metaSchema(b *bundle) {
	require.NoError(b, b.Client.HSet(b.ctx, "rd:meta", "schema", 2).Err())
	_, err := b.openOr(func(*store.Options) {})
	schema := new(store.SchemaError)
	require.ErrorAs(b, err, &schema)
	assert.Equal(b, store.SchemaError{Key: "rd:meta", Found: 2, Known: 1}, *schema)
}

var errOtherKeyset = errors.New("sealed with another keyset")

// otherKeyset is one that cannot open what the harness's sealed.
type otherKeyset struct {
	store.Keyset
}

func (otherKeyset) Verify([]byte) error { return errOtherKeyset }
func (otherKeyset) Fingerprint() string { return "0123456789abcdef" }

// rotatedKeyset is the harness's with a new primary key.
type rotatedKeyset struct {
	store.Keyset
}

func (rotatedKeyset) Fingerprint() string { return "fedcba9876543210" }

func metaKeyset(b *bundle) {
	_, err := b.openOr(func(o *store.Options) { o.Keyset = otherKeyset{o.Keyset} })
	keyset := new(store.KeysetError)
	require.ErrorAs(b, err, &keyset)
	require.ErrorIs(b, err, errOtherKeyset)
	assert.Equal(b, b.Options.Keyset.Fingerprint(), keyset.Stored)
	assert.Equal(b, "0123456789abcdef", keyset.Configured)
	assert.Contains(b, err.Error(), keyset.Stored)
	assert.Contains(b, err.Error(), keyset.Configured)
}

func metaRotation(b *bundle) {
	before, err := b.Client.HGet(b.ctx, "rd:meta", "canary").Result()
	require.NoError(b, err)
	b.open(func(o *store.Options) { o.Keyset = rotatedKeyset{o.Keyset} })
	meta, err := b.Client.HGetAll(b.ctx, "rd:meta").Result()
	require.NoError(b, err)
	assert.Equal(b, "fedcba9876543210", meta["keyset"], "the description follows")
	assert.NotEqual(b, before, meta["canary"])
}

func metaGarbage(b *bundle) {
	for _, field := range []string{"schema", "shards", "epoch"} {
		value, err := b.Client.HGet(b.ctx, "rd:meta", field).Result()
		require.NoError(b, err)
		require.NoError(b, b.Client.HDel(b.ctx, "rd:meta", field).Err())
		_, err = b.openOr(func(*store.Options) {})
		corrupt := new(store.CorruptError)
		require.ErrorAs(b, err, &corrupt, field)
		assert.Equal(b, "rd:meta", corrupt.Key)
		assert.Equal(b, field, corrupt.Field)
		require.NoError(b, b.Client.HSet(b.ctx, "rd:meta", field, value).Err())
	}
	require.NoError(b, b.Client.Del(b.ctx, "rd:meta").Err())
	require.NoError(b, b.Client.Set(b.ctx, "rd:meta", "x", 0).Err())
	_, err := b.openOr(func(*store.Options) {})
	wrong := new(store.WrongTypeError)
	require.ErrorAs(b, err, &wrong)
	assert.Equal(b, store.WrongTypeError{Key: "rd:meta", Got: "string", Want: "hash"}, *wrong)
}

func metaOptions(b *bundle) {
	for name, change := range map[string]func(*store.Options){
		"too many shards":        func(o *store.Options) { o.Shards = store.MaxShards + 1 },
		"fewer than none":        func(o *store.Options) { o.Shards = -1 },
		"no owner":               func(o *store.Options) { o.Owner = "" },
		"an owner with a space":  func(o *store.Options) { o.Owner = "a b" },
		"no run ID in a process": func(o *store.Options) { o.Memory, o.RunID = true, nil },
	} {
		_, err := b.openOr(change)
		require.Error(b, err, name)
	}
}

func runs(b *bundle) {
	run, err := b.store.Run(b.ctx)
	require.NoError(b, err)
	require.NotEmpty(b, run)
	again, err := b.store.Run(b.ctx)
	require.NoError(b, err)
	assert.Equal(b, run, again)
	b.due("alice")
	other := new(store.RunError)

	b.store.Pass("", run)
	_, err = b.store.Begin(b.ctx, []credential.Begin{ask("alice")})
	require.ErrorAs(b, err, &other, "the gate is closed for begins")
	require.ErrorContains(b, err, "this process has just started, or redis was restarted", "the store cannot tell which")
	before := b.load("alice")
	assert.Nil(b, before.Attempt)
	logout := credential.Logout(before, newNonce(), b.now)
	b.store.Pass(run, "")
	_, err = b.store.Apply(b.ctx, []credential.Write{logout})
	require.ErrorAs(b, err, &other, "the gate is closed for writes")
	_, err = b.store.Restore(b.ctx, "", []credential.Write{logout}, true)
	require.ErrorAs(b, err, &other, "nothing is put back into an unknown run")
	assert.Equal(b, before, b.load("alice"))
	if !b.Options.Memory {
		foreign := strings.Repeat("0", 40) + ":" + strings.Repeat("1", 40)
		b.store.Pass(foreign, foreign)
		_, err = b.store.Begin(b.ctx, []credential.Begin{ask("alice")})
		require.ErrorAs(b, err, &other)
		assert.Equal(b, run, other.Found)
		_, err = b.store.Apply(b.ctx, []credential.Write{logout})
		require.ErrorAs(b, err, &other)
		_, err = b.store.Restore(b.ctx, foreign, []credential.Write{logout}, true)
		require.ErrorAs(b, err, &other)
		assert.Equal(b, before, b.load("alice"))
	}
	b.store.Pass(run, run)
	b.begun("alice")
	b.store.Pass("", "")
	statuses, err := b.store.Restore(b.ctx, run, []credential.Write{logout}, true)
	require.NoError(b, err)
	assert.Equal(b, []credential.Status{credential.StatusWritten}, statuses)
	b.store.Pass(run, run)
}
