package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/seal"
)

// document is a keyset file as a test takes it apart and rebuilds it.
type document struct {
	Version int        `json:"version"`
	AEAD    tinkKeyset `json:"aead"`
	PRF     tinkKeyset `json:"prf"`
}

type tinkKeyset struct {
	PrimaryKeyID uint32    `json:"primaryKeyId"`
	Key          []tinkKey `json:"key"`
}

type tinkKey struct {
	KeyData struct {
		TypeURL         string `json:"typeUrl"`
		Value           string `json:"value"`
		KeyMaterialType string `json:"keyMaterialType"`
	} `json:"keyData"`
	Status           string `json:"status"`
	KeyID            uint32 `json:"keyId"`
	OutputPrefixType string `json:"outputPrefixType"`
}

// newDocument makes a keyset file and returns its content.
func newDocument(t *testing.T) document {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyset.json")
	_, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var d document
	require.NoError(t, json.Unmarshal(content, &d))
	return d
}

func (d document) write(t *testing.T) (path string) {
	t.Helper()
	content, err := json.Marshal(d)
	require.NoError(t, err)
	path = filepath.Join(t.TempDir(), "keyset.json")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func open(t *testing.T, d document) *seal.Keyset {
	t.Helper()
	k, created, err := seal.Open(d.write(t), seal.Options{})
	require.NoError(t, err)
	require.False(t, created)
	return k
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "folder", "keyset.json")
	k, created, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	assert.True(t, created)

	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	info, err = os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing temporary is left")

	again, created, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	assert.False(t, created)
	assert.Equal(t, k.Fingerprint(), again.Fingerprint())
}

func TestMustExist(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	_, created, err := seal.Open(path, seal.Options{MustExist: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.False(t, created)
	assert.NoFileExists(t, path)
}

func TestConcurrentFirstStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	fingerprints := make([]string, 16)
	creators := make([]bool, len(fingerprints))
	var wg sync.WaitGroup
	for i := range fingerprints {
		wg.Go(func() {
			k, created, err := seal.Open(path, seal.Options{})
			if assert.NoError(t, err) {
				fingerprints[i], creators[i] = k.Fingerprint(), created
			}
		})
	}
	wg.Wait()
	made := 0
	for i := range fingerprints {
		assert.Equal(t, fingerprints[0], fingerprints[i])
		if creators[i] {
			made++
		}
	}
	assert.Equal(t, 1, made)
}

func TestConcurrentFirstStartOfProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "keyset.json")
	program, err := os.Executable()
	require.NoError(t, err)

	// All processes hold the reading end of one pipe and go when it closes.
	start, release, err := os.Pipe()
	require.NoError(t, err)
	outputs := make([]bytes.Buffer, 8)
	commands := make([]*exec.Cmd, len(outputs))
	for i := range commands {
		c := exec.CommandContext(t.Context(), program)
		c.Env = append(os.Environ(), openEnv+"="+path)
		c.Stdin, c.Stdout, c.Stderr = start, &outputs[i], &outputs[i]
		require.NoError(t, c.Start())
		commands[i] = c
	}
	require.NoError(t, start.Close())
	require.NoError(t, release.Close())
	fingerprints, made := map[string]bool{}, 0
	for i, c := range commands {
		require.NoError(t, c.Wait(), outputs[i].String())
		fingerprint, created, _ := strings.Cut(strings.TrimSpace(outputs[i].String()), " ")
		fingerprints[fingerprint] = true
		if created == "true" {
			made++
		}
	}
	assert.Len(t, fingerprints, 1)
	assert.Equal(t, 1, made)
}

func TestReachableByOthersIsRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o640, 0o620, 0o604, 0o602, 0o610, 0o644, 0o666} {
		path := newDocument(t).write(t)
		require.NoError(t, os.Chmod(path, mode))
		_, _, err := seal.Open(path, seal.Options{})
		refusal, ok := errors.AsType[*seal.ModeError](err)
		require.True(t, ok, "%v: %v", mode, err)
		require.ErrorIs(t, err, seal.ErrBadKeyset)
		assert.Equal(t, path, refusal.Path)
		assert.Equal(t, mode, refusal.Mode.Perm())
		assert.Contains(t, err.Error(), path)
		assert.Contains(t, err.Error(), "chmod 600")
	}
}

func TestNotAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, err := seal.Open(dir, seal.Options{})
	require.ErrorIs(t, err, seal.ErrBadKeyset)

	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, _, err = seal.Open(fifo, seal.Options{})
	require.ErrorIs(t, err, seal.ErrBadKeyset)

	_, _, err = seal.Open(filepath.Join(fifo, "keyset.json"), seal.Options{})
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

// TestBadFilesAreRefusedWithoutTheirContent damages a keyset file in ways that
// decoders like to quote in what they report.
func TestBadFilesAreRefusedWithoutTheirContent(t *testing.T) {
	t.Parallel()
	good := newDocument(t)
	content, err := json.Marshal(good)
	require.NoError(t, err)
	text := string(content)
	key := good.AEAD.Key[0].KeyData.Value
	hashKey := good.PRF.Key[0].KeyData.Value
	replace := func(old, by string) string { return strings.Replace(text, old, by, 1) }

	for name, bad := range map[string]string{
		"empty":                     "",
		"not JSON":                  key,
		"a list":                    "[" + text + "]",
		"cut off":                   text[:len(text)-2],
		"followed by more":          text + key,
		"unknown member":            replace(`"aead"`, `"`+key+`":1,"aead"`),
		"no version":                replace(`"version":1,`, ""),
		"newer version":             replace(`"version":1`, `"version":2`),
		"no aead":                   replace(`"aead"`, `"AE"`),
		"null aead":                 `{"version":1,"aead":null,"prf":{}}`,
		"no prf":                    replace(`"prf"`, `"PR"`),
		"key is a number":           replace(`"`+key+`"`, "12345678901234567890123"),
		"key is not base64":         replace(key, "!"+key),
		"key too short":             replace(key, key[:24]),
		"key ID is text":            replace(`"keyId":`, `"keyId":"`+key+`","x":`),
		"status is unknown":         replace(`"ENABLED"`, `"`+key+`"`),
		"type is unknown":           replace("google.crypto.tink.AesGcmKey", key),
		"a hash key in aead":        strings.Replace(replace("AesGcmKey", "HmacPrfKey"), key, hashKey, 1),
		"a sealing key in prf":      strings.Replace(replace("HmacPrfKey", "AesGcmKey"), hashKey, key, 1),
		"primary is not there":      replace(`"primaryKeyId":`, `"primaryKeyId":1`),
		"primary is disabled":       replace(`"ENABLED"`, `"DISABLED"`),
		"larger than a keyset ever": text + strings.Repeat(" ", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keyset.json")
			require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
			_, created, err := seal.Open(path, seal.Options{})
			require.ErrorIs(t, err, seal.ErrBadKeyset)
			assert.False(t, created)
			assert.Contains(t, err.Error(), path)
			for _, secret := range []string{key, hashKey} {
				for i := range len(secret) - 6 {
					assert.NotContains(t, err.Error(), secret[i:i+6])
				}
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, bad, string(after), "a file that cannot be used is left as it is")
		})
	}
}

// TestSeveralKeys goes through a rotation: both uses get a new primary key and
// keep the old one, which at last is disabled.
func TestSeveralKeys(t *testing.T) {
	t.Parallel()
	first, second := newDocument(t), newDocument(t)
	old, ad := open(t, first), seal.AD("alice", "token", 1, 1)
	sealed, err := old.Seal([]byte("plain"), ad)
	require.NoError(t, err)
	blob, err := old.Check()
	require.NoError(t, err)

	both := document{
		Version: 1,
		AEAD:    tinkKeyset{PrimaryKeyID: second.AEAD.PrimaryKeyID, Key: append(first.AEAD.Key, second.AEAD.Key...)},
		PRF:     tinkKeyset{PrimaryKeyID: second.PRF.PrimaryKeyID, Key: append(first.PRF.Key, second.PRF.Key...)},
	}
	rotated := open(t, both)
	opened, err := rotated.Open(sealed, ad)
	require.NoError(t, err)
	assert.Equal(t, "plain", string(opened))
	require.NoError(t, rotated.Verify(blob))
	assert.Equal(t, old.MAC([]byte("x")), rotated.MACs([]byte("x"))[1], "the old hash is still recognised")
	assert.Equal(t, open(t, second).MAC([]byte("x")), rotated.MAC([]byte("x")), "new hashes use the new key")
	assert.NotEqual(t, old.Fingerprint(), rotated.Fingerprint())
	assert.Equal(t, open(t, second).Fingerprint(), rotated.Fingerprint())
	assert.Len(t, rotated.Keys(), 4)

	newlySealed, err := rotated.Seal([]byte("plain"), ad)
	require.NoError(t, err)
	_, err = old.Open(newlySealed, ad)
	require.ErrorIs(t, err, seal.ErrCannotOpen)

	half := both
	half.PRF = second.PRF
	require.ErrorIs(t, open(t, half).Verify(blob), seal.ErrCannotOpen, "the sealing key alone is not the keyset")

	both.AEAD.Key[0].Status, both.PRF.Key[0].Status = "DISABLED", "DISABLED"
	disabled := open(t, both)
	_, err = disabled.Open(sealed, ad)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	assert.Len(t, disabled.MACs([]byte("x")), 1)
}

func FuzzFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "keyset.json")
	_, _, err := seal.Open(path, seal.Options{})
	require.NoError(f, err)
	file, err := os.Open(path)
	require.NoError(f, err)
	content, err := io.ReadAll(file)
	require.NoError(f, errors.Join(err, file.Close()))
	f.Add(content)
	f.Add([]byte(`{"version":1,"aead":{},"prf":{}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "keyset.json")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		k, _, err := seal.Open(path, seal.Options{})
		if err != nil {
			require.ErrorIs(t, err, seal.ErrBadKeyset)
			return
		}
		blob, err := k.Check()
		require.NoError(t, err)
		require.NoError(t, k.Verify(blob))
	})
}
