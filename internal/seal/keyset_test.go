package seal_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
)

// setup returns a fresh keyset.
func setup(t testing.TB) *seal.Keyset {
	t.Helper()
	k, created, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	require.True(t, created)
	return k
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for _, size := range []int{0, 1, 1200, 1 << 20} {
		plain := bytes.Repeat([]byte{'x'}, size)
		ad := seal.AD("alice", "token", 1, 2)
		sealed, err := k.Seal(plain, ad)
		require.NoError(t, err)
		assert.Len(t, sealed, size+33)
		opened, err := k.Open(sealed, ad)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(plain, opened))
	}
}

func TestSealingTwiceGivesDifferentBytes(t *testing.T) {
	t.Parallel()
	k := setup(t)
	a, err := k.Seal([]byte("plain"), nil)
	require.NoError(t, err)
	b, err := k.Seal([]byte("plain"), nil)
	require.NoError(t, err)
	assert.NotEqual(t, a, b)
}

func TestOpenRefusesOtherAssociatedData(t *testing.T) {
	t.Parallel()
	k := setup(t)
	sealed, err := k.Seal([]byte("plain"), seal.AD("alice", "token", 3, 7))
	require.NoError(t, err)
	var unknown *seal.UnknownKeyError
	for name, ad := range map[string][]byte{
		"id":         seal.AD("alicf", "token", 3, 7),
		"field":      seal.AD("alice", "user", 3, 7),
		"grant":      seal.AD("alice", "token", 4, 7),
		"generation": seal.AD("alice", "token", 3, 6),
		"none":       nil,
	} {
		_, err := k.Open(sealed, ad)
		require.ErrorIs(t, err, seal.ErrCannotOpen, name)
		assert.NotErrorAs(t, err, &unknown, name)
	}
}

func TestOpenRefusesEveryAlteredByte(t *testing.T) {
	t.Parallel()
	k := setup(t)
	ad := seal.AD("alice", "token", 3, 7)
	sealed, err := k.Seal([]byte("a refresh token"), ad)
	require.NoError(t, err)
	for i := range sealed {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			altered := slices.Clone(sealed)
			altered[i] ^= flip
			_, err := k.Open(altered, ad)
			require.ErrorIs(t, err, seal.ErrCannotOpen, "byte %d", i)
		}
		_, err := k.Open(sealed[:i], ad)
		require.ErrorIs(t, err, seal.ErrCannotOpen, "cut to %d bytes", i)
	}
	_, err = k.Open(append(slices.Clone(sealed), 0), ad)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
}

func TestOpenRefusesAnotherKeyset(t *testing.T) {
	t.Parallel()
	k := setup(t)
	sealed, err := k.Seal([]byte("plain"), nil)
	require.NoError(t, err)
	_, err = setup(t).Open(sealed, nil)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	var unknown *seal.UnknownKeyError
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, k.Keys()[0].ID, unknown.ID)
	assert.Equal(t, seal.UseSeal, k.Keys()[0].Use)
}

func TestMAC(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	k, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	again, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)

	m := k.MAC([]byte("a refresh token"))
	assert.Equal(t, m, again.MAC([]byte("a refresh token")), "the same keyset recognises what it hashed")
	assert.NotEqual(t, m, k.MAC([]byte("another refresh token")))
	assert.NotEqual(t, m, setup(t).MAC([]byte("a refresh token")), "another keyset hashes differently")
	assert.Equal(t, []credential.MAC{m}, k.MACs([]byte("a refresh token")))
}

// TestADIsInjective compares two lists of arguments that differ little: the
// same text cut at different places is what an ambiguous encoding confuses.
func TestADIsInjective(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[ab:\x00\x01\x02\x05]{0,6}`)
	number := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64())
	rapid.Check(t, func(t *rapid.T) {
		type args struct {
			id, field         string
			grant, generation uint64
		}
		draw := func(n string) args {
			return args{text.Draw(t, "id"+n), text.Draw(t, "field"+n), number.Draw(t, "grant"+n), number.Draw(t, "generation"+n)}
		}
		a, b := draw("1"), draw("2")
		if rapid.Bool().Draw(t, "same text, cut elsewhere") {
			joined := a.id + a.field
			cut := rapid.IntRange(0, len(joined)).Draw(t, "cut")
			b = args{joined[:cut], joined[cut:], a.grant, a.generation}
		}
		adA := seal.AD(credential.ID(a.id), a.field, a.grant, a.generation)
		adB := seal.AD(credential.ID(b.id), b.field, b.grant, b.generation)
		if (a == b) != bytes.Equal(adA, adB) {
			t.Fatalf("%+v and %+v give %x and %x", a, b, adA, adB)
		}
	})
}

func TestCheckAndVerify(t *testing.T) {
	t.Parallel()
	k := setup(t)
	blob, err := k.Check()
	require.NoError(t, err)
	require.NoError(t, k.Verify(blob))

	other := setup(t)
	err = other.Verify(blob)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	assert.Contains(t, err.Error(), other.Fingerprint(), "the error names the keyset that does not fit")

	sealed, err := k.Seal([]byte("not a check blob"), seal.AD("alice", "token", 1, 1))
	require.NoError(t, err)
	require.ErrorIs(t, k.Verify(sealed), seal.ErrCannotOpen)
}

func TestFingerprints(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	k, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	again, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)

	assert.Regexp(t, `^[0-9a-f]{16}$`, k.Fingerprint())
	assert.Equal(t, k.Fingerprint(), again.Fingerprint())
	assert.Equal(t, k.Keys(), again.Keys())
	assert.NotEqual(t, k.Fingerprint(), setup(t).Fingerprint())

	keys := k.Keys()
	require.Len(t, keys, 2)
	for i, use := range []seal.Use{seal.UseSeal, seal.UseHash} {
		assert.Equal(t, use, keys[i].Use)
		assert.True(t, keys[i].Primary)
		assert.True(t, keys[i].Enabled)
		assert.Regexp(t, `^[0-9a-f]{16}$`, keys[i].Fingerprint)
	}
	assert.NotEqual(t, keys[0].Fingerprint, keys[1].Fingerprint)
}

func TestPrintingShowsTheFingerprintOnly(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.Equal(t, "keyset "+k.Fingerprint(), fmt.Sprintf(verb, k), verb)
	}
	assert.Equal(t, k.Fingerprint(), k.LogValue().String())
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	k := setup(t)
	var wg sync.WaitGroup
	for worker := range uint64(8) {
		wg.Go(func() {
			for i := range uint64(100) {
				ad := seal.AD("alice", "token", worker, i)
				plain := fmt.Appendf(nil, "%d/%d", worker, i)
				sealed, err := k.Seal(plain, ad)
				if err != nil {
					t.Error(err)
					return
				}
				opened, err := k.Open(sealed, ad)
				if err != nil {
					t.Error(err)
					return
				}
				assert.Equal(t, plain, opened)
				assert.Equal(t, k.MAC(plain), k.MACs(plain)[0])
			}
		})
	}
	wg.Wait()
}

func BenchmarkSeal(b *testing.B) {
	k := setup(b)
	plain, ad := make([]byte, 1100), seal.AD("alice@example", "token", 1, 7)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(plain, ad); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := setup(b)
	ad := seal.AD("alice@example", "token", 1, 7)
	sealed, err := k.Seal(make([]byte, 1100), ad)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(sealed, ad); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	k := setup(b)
	token := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		k.MAC(token)
	}
}
