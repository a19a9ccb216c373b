package app

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/seal"
)

const noon = credential.Millis(1_700_000_000_000)

func openJournal(t *testing.T, dir, owner string, keys *seal.Keyset) *sealedJournal {
	t.Helper()
	j, err := journal.Create(dir, owner, journal.Options{SegmentSize: 1 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, j.Close()) })
	return &sealedJournal{journal: j, dir: dir, owner: owner, keys: keys}
}

func nonce(n byte) credential.Nonce { return credential.Nonce{n, 1, 2, 3} }

func intent(n byte, id credential.ID) refresh.Intent {
	return refresh.Intent{Nonce: nonce(n), ID: id, Generation: uint64(n) + 7, Grant: uint64(n) + 3, At: noon.Add(time.Duration(n) * time.Second)}
}

// story is what a process leaves that dies in the middle of everything.
type story struct {
	intents []refresh.Intent // the first two without a reply
	kept    []refresh.Kept
	changes []refresh.Change
	secrets []string
}

func newStory() story {
	secrets := []string{
		"at_canary-one", "rt_canary-one", "at_canary-two", "at_canary-three<&>\u2028", "rt_canary-\xff\xfe-three", "at_canary-four", "rt_canary-four",
		"user_canary", "password_canary-\xff",
	}
	secret := func(n int) credential.Secret { return credential.NewSecret(secrets[n]) }
	return story{
		secrets: secrets,
		intents: []refresh.Intent{intent(1, "user:one"), intent(2, "user:two"), intent(3, "user:three"), intent(4, "user:four"), intent(5, "user:five"), intent(9, "user:nine")},
		kept: []refresh.Kept{
			{Intent: intent(3, "user:three"), Found: credential.Found{
				Token:     credential.Token{Access: secret(0), Refresh: secret(1), Type: "Bearer", Scope: "read write"},
				ExpiresIn: "3600", RefreshExpiresIn: "86400", Complete: true,
			}, Method: credential.MethodLogin},
			{Intent: intent(4, "user:four"), Found: credential.Found{Token: credential.Token{Access: secret(2)}}}, // cut off
			{Intent: intent(5, "user:five"), Found: credential.Found{Token: credential.Token{Access: secret(3), Refresh: secret(4)}}},
			{Intent: intent(9, "user:nine"), Ended: credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonLostRotation, Detail: "400 invalid_grant"}},
		},
		changes: []refresh.Change{
			{
				Nonce: nonce(6), ID: "user:six", Kind: refresh.ChangePut, Grant: 2, At: noon,
				Login: &credential.Login{
					ID: "user:six", Provider: "acme", Subject: "uid-6", Labels: map[string]string{"team": "red"},
					Token:     credential.Token{Access: secret(5), Refresh: secret(6), Type: "Bearer", Scope: "read"},
					ExpiresIn: time.Hour, ExpiresAt: noon.Add(time.Hour), RefreshExpiresIn: 24 * time.Hour,
					SignIn:   credential.SignIn{Username: secret(7), Password: secret(8)},
					UserData: credential.UserData(`{"plan":"pro"}`), AskedAt: noon.Add(-time.Second),
				},
			},
			{Nonce: nonce(7), ID: "user:seven", Kind: refresh.ChangeLogout, Grant: 5, At: noon},
			{Nonce: nonce(8), ID: "user:eight", Kind: refresh.ChangeDelete, Grant: 1, At: noon},
		},
	}
}

// tell writes the story into the journal of a process named dead and ends that.
func (s story) tell(t *testing.T, dir string, keys *seal.Keyset) {
	t.Helper()
	j := openJournal(t, dir, "dead", keys)
	require.NoError(t, j.Intend(t.Context(), s.intents))
	for _, kept := range s.kept {
		require.NoError(t, j.Keep(kept)())
	}
	for _, change := range s.changes {
		require.NoError(t, j.Note(t.Context(), change))
	}
	require.NoError(t, j.journal.Close()) // gives up the lock, as death does
}

func TestJournalOfTheDeadIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	dir, keys, want := filepath.Join(t.TempDir(), "journal"), newKeyset(t), newStory()
	want.tell(t, dir, keys)
	me := openJournal(t, dir, "alive", keys)

	found, err := me.Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	dead := found[0]
	assert.Equal(t, "dead", dead.Owner)
	assert.False(t, dead.Damaged)
	assert.Equal(t, want.intents[:2], dead.Intents, "those without a reply")
	assert.Equal(t, want.kept, dead.Kept, "to the last byte")
	assert.Equal(t, want.changes, dead.Changes)

	again, err := me.Adopt(t.Context())
	require.NoError(t, err)
	assert.Empty(t, again, "it is locked")
	require.NoError(t, dead.Release())
	found, err = me.Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1, "released, it is there for the next")
	require.NoError(t, found[0].Remove())
	found, err = me.Adopt(t.Context())
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestJournalHoldsNothingReadable(t *testing.T) {
	t.Parallel()
	dir, s := filepath.Join(t.TempDir(), "journal"), newStory()
	s.tell(t, dir, newKeyset(t))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file.Name()))
		require.NoError(t, err)
		for _, secret := range s.secrets {
			without(t, string(data), secret, hex.EncodeToString([]byte(secret)), base64.RawStdEncoding.EncodeToString([]byte(secret)))
		}
		without(t, string(data), "canary", "uid-6", `"red"`)
	}
}

func TestDroppedRecordsAreGone(t *testing.T) {
	t.Parallel()
	dir, keys, s := filepath.Join(t.TempDir(), "journal"), newKeyset(t), newStory()
	j := openJournal(t, dir, "dead", keys)
	require.NoError(t, j.Intend(t.Context(), s.intents))
	require.NoError(t, j.Keep(s.kept[0])())
	require.NoError(t, j.Note(t.Context(), s.changes[0]))
	j.Drop(s.kept[0].Nonce, s.changes[0].Nonce, s.intents[0].Nonce)
	require.NoError(t, j.journal.Close())

	found, err := openJournal(t, dir, "alive", keys).Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Empty(t, found[0].Kept)
	assert.Empty(t, found[0].Changes)
	assert.Equal(t, []refresh.Intent{s.intents[1], s.intents[3], s.intents[4], s.intents[5]}, found[0].Intents)
	require.NoError(t, found[0].Release())
}

func TestJournalOfAnotherKeysetIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir, keys, s := filepath.Join(t.TempDir(), "journal"), newKeyset(t), newStory()
	s.tell(t, dir, keys)
	stranger := openJournal(t, dir, "stranger", newKeyset(t))
	found, err := stranger.Adopt(t.Context())
	assert.Empty(t, found)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	require.ErrorContains(t, err, filepath.Join(dir, "dead.wal"))
	unread, single := errors.AsType[*journal.UnreadError](err)
	require.True(t, single, "it is about that journal alone")
	assert.Contains(t, unread.Unread(), "dead")
	without(t, err.Error(), s.secrets...)

	found, err = openJournal(t, dir, "friend", keys).Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1, "somebody with the right keyset can have it")
	assert.Equal(t, s.kept, found[0].Kept)
	require.NoError(t, found[0].Release())
}

// What was sealed for one credential cannot be passed off as another's.
func TestKeptReplyIsBoundToItsCredential(t *testing.T) {
	t.Parallel()
	keys, s := newKeyset(t), newStory()
	dir := filepath.Join(t.TempDir(), "journal")
	s.tell(t, dir, keys)
	list, err := journal.Adopt(dir, "alive")
	require.NoError(t, err)
	require.Len(t, list, 1)
	reader := &sealedJournal{dir: dir, owner: "alive", keys: keys}
	dead := list[0]
	keep := dead.Keeps[0]
	for name, change := range map[string]func(*journal.Keep){
		"credential": func(k *journal.Keep) { k.ID = "user:mallory" },
		"generation": func(k *journal.Keep) { k.Generation++ },
		"grant":      func(k *journal.Keep) { k.Grant++ },
	} {
		dead.Keeps[0] = keep
		change(&dead.Keeps[0])
		_, err := reader.open(dead)
		require.ErrorIs(t, err, seal.ErrCannotOpen, name)
	}
	dead.Keeps[0] = keep
	_, err = reader.open(dead)
	require.NoError(t, err)
	require.NoError(t, dead.Release())
}

func TestUnknownFormIsRefusedWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	keys := newKeyset(t)
	ad := seal.AD("user:one", fieldKept, 1, 1)
	sealed, err := keys.Seal([]byte(`["rt_canary"]`), ad)
	require.NoError(t, err)
	err = (&sealedJournal{keys: keys}).unseal(sealed, ad, new(foundForm))
	require.ErrorContains(t, err, "cannot be read by this version")
	assert.NotContains(t, err.Error(), "canary")
}

func TestProcessWithoutAJournalPresentsNothing(t *testing.T) {
	t.Parallel()
	var j refresh.Journal = noJournal{}
	require.ErrorIs(t, j.Intend(t.Context(), []refresh.Intent{intent(1, "user:one")}), errNoJournal)
	require.ErrorIs(t, j.Keep(refresh.Kept{})(), errNoJournal)
	require.NoError(t, j.Note(t.Context(), refresh.Change{ID: "user:one", Kind: refresh.ChangeLogout}), "Redis alone has it")
	j.Drop(nonce(1))
	dead, err := j.Adopt(t.Context())
	require.NoError(t, err)
	assert.Empty(t, dead)
}

// A write is made again from the journal as it was decided, with all that it
// leads to.
func TestAWriteIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	dir, keys := filepath.Join(t.TempDir(), "journal"), newKeyset(t)
	secret := credential.NewSecret
	policy := credential.Policy{RefreshAt: 0.66, CanLogin: true, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	login := credential.Connect(nil, credential.Login{
		ID: "user:one", Provider: "acme", Token: credential.Token{Access: secret("at_1"), Refresh: secret("rt_1"), Type: "Bearer"}, ExpiresIn: time.Hour,
		SignIn: credential.SignIn{Username: secret("one"), Password: secret("password_canary")}, UserData: credential.UserData(`{"plan":"free"}`),
	}, policy, nonce(1), noon)
	held := login.Result(credential.Held{})
	list := []refresh.Written{{Write: login, After: held}}
	attempt := credential.Attempt{Nonce: nonce(2), Owner: "dead", Generation: 1, Grant: 1, BegunAt: noon}
	held.Attempt = &attempt
	held.Alternates = []credential.Alternate{{Nonce: nonce(3), Generation: 1, Token: credential.Token{Access: secret("at_2"), Refresh: secret("rt_2")}, IssuedAt: noon, Lifetime: time.Hour}}
	for _, write := range []credential.Write{
		credential.Install(held, attempt, credential.Received{Token: credential.Token{Access: secret("at_3"), Refresh: secret("rt_3")}, SentAt: noon, ExpiresIn: time.Hour, UserData: credential.UserData(`{"plan":"pro"}`)}, policy, credential.ByDemand, noon),
		credential.Doubt(held, attempt, policy, noon),
		credential.Logout(held, nonce(5), noon),
	} {
		list = append(list, refresh.Written{Write: write, After: write.Result(held)})
	}
	j := openJournal(t, dir, "dead", keys)
	for i, w := range list {
		require.NoError(t, j.Note(t.Context(), refresh.Change{
			Nonce: nonce(byte(20 + i)), ID: w.Write.Record.ID, Kind: refresh.ChangeWrite, Grant: w.Write.Record.Grant, At: noon, Write: &w,
		}))
	}
	require.NoError(t, j.journal.Close())

	found, err := openJournal(t, dir, "alive", keys).Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Len(t, found[0].Writes, len(list))
	for i, got := range found[0].Writes {
		want := list[i]
		want.Write.Doubted = false // is for whoever stores it first
		assert.Empty(t, cmp.Diff(want.Write, got.Write, cmpopts.EquateEmpty()))
		assert.Equal(t, want.After.Record, got.After.Record)
		assert.Equal(t, want.After.Token, got.After.Token)
		assert.Equal(t, want.After.Attempt, got.After.Attempt)
		assert.Equal(t, want.After.SignIn, got.After.SignIn)
		assert.ElementsMatch(t, want.After.Alternates, got.After.Alternates)
	}
	require.NoError(t, found[0].Release())
}

// Whoever adopts a damaged journal is told which, and that what is missing counts
// as sent.
func TestADamagedJournalIsToldOf(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), newKeyset(t)
	file, err := journal.Create(dir, "dead", journal.Options{SegmentSize: 64 << 10})
	require.NoError(t, err)
	dead := &sealedJournal{journal: file, dir: dir, owner: "dead", keys: keys}
	require.NoError(t, dead.Intend(t.Context(), []refresh.Intent{intent(1, "user:one"), intent(2, "user:two")}))
	require.NoError(t, file.Close())
	path := filepath.Join(dir, "dead.wal")
	require.NoError(t, os.Truncate(path, 150))

	var told bytes.Buffer
	heir := &sealedJournal{dir: dir, owner: "heir", keys: keys, log: zerolog.New(&told)}
	found, err := heir.Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	t.Cleanup(func() { assert.NoError(t, found[0].Release()) })
	assert.True(t, found[0].Damaged)
	assert.Contains(t, told.String(), path)
	assert.Contains(t, told.String(), "somebody has cut it")
}
