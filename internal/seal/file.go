package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

const (
	fileVersion = 1
	fileLimit   = 1 << 20 // a keyset of one key takes 500 bytes
)

// ErrBadKeyset says that a keyset file cannot be used. It is wrapped in errors
// that name the file and what is wrong with it.
var ErrBadKeyset = errors.New("keyset file cannot be used")

// ModeError refuses a keyset file that others may read or write.
type ModeError struct {
	Path string
	Mode fs.FileMode
}

// Error says what to do about it.
func (e *ModeError) Error() string {
	return fmt.Sprintf("keyset file %s has mode %04o, so others than its owner can reach the keys; run: chmod 600 %s", e.Path, e.Mode.Perm(), e.Path)
}

// Is makes a ModeError an [ErrBadKeyset].
func (e *ModeError) Is(target error) bool { return target == ErrBadKeyset }

// Options of [Open].
type Options struct {
	// MustExist refuses to make a new keyset where there is none. Whatever
	// reads or exports what is already stored sets it: a new keyset could
	// open none of that.
	MustExist bool
}

// envelope is the keyset file.
type envelope struct {
	Version int             `json:"version"`
	AEAD    json.RawMessage `json:"aead"` // a Tink keyset in JSON
	PRF     json.RawMessage `json:"prf"`  // another
}

// Open loads the keyset file at path. Where there is none it makes one with
// fresh keys, mode 0600, and reports created; of several processes that do so
// at once one wins and all load the same keyset.
//
// Errors name the file and never hold any of its content. A file that group
// or others may reach is refused with a [*ModeError].
func Open(path string, opts Options) (k *Keyset, created bool, err error) {
	k, err = load(path)
	if err == nil || opts.MustExist || !errors.Is(err, fs.ErrNotExist) {
		return k, false, err
	}
	content, err := generate()
	if err != nil {
		return nil, false, err
	}
	if created, err = writeNew(path, content); err != nil {
		return nil, false, err
	}
	k, err = load(path) // what is there now, whoever wrote it
	return k, created, err
}

func load(path string) (*Keyset, error) {
	r, err := loadRing(path)
	if err != nil {
		return nil, err
	}
	return newKeyset(r), nil
}

func loadRing(path string) (*ring, error) {
	content, _, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	aeads, prfs, err := parse(content)
	if err != nil {
		return nil, unusable(path, err)
	}
	r, err := newRing(aeads, prfs)
	if err != nil {
		return nil, unusable(path, err)
	}
	return r, nil
}

func unusable(path string, err error) error {
	return fmt.Errorf("%w: %s: %w; restore it from a backup, for a new keyset cannot open what this one sealed", ErrBadKeyset, path, err)
}

// readPrivate reads a regular file that only its owner can reach. The checks
// are made on the opened file, so that it cannot be exchanged in between.
func readPrivate(path string) ([]byte, fs.FileInfo, error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, nil, fmt.Errorf("open keyset file: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("inspect keyset file: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%w: %s is not a regular file", ErrBadKeyset, path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, nil, &ModeError{Path: path, Mode: info.Mode()}
	case info.Size() > fileLimit:
		return nil, nil, fmt.Errorf("%w: %s has %d bytes; at most %d are read", ErrBadKeyset, path, info.Size(), fileLimit)
	}
	content, err := io.ReadAll(io.LimitReader(f, fileLimit))
	if err != nil {
		return nil, nil, fmt.Errorf("read keyset file: %w", err)
	}
	return content, info, nil
}

// parse reads the envelope. The decoders' own errors may quote what they could
// not read, so they are replaced.
func parse(content []byte) (aeads, prfs *keyset.Handle, err error) {
	var e envelope
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return nil, nil, errors.New(`not a JSON object {"version":…,"aead":…,"prf":…}`)
	}
	if e.Version != fileVersion {
		return nil, nil, fmt.Errorf("version %d; this program reads version %d", e.Version, fileVersion)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("something follows the JSON object")
	}
	if aeads, err = readTink("aead", e.AEAD); err != nil {
		return nil, nil, err
	}
	if prfs, err = readTink("prf", e.PRF); err != nil {
		return nil, nil, err
	}
	return aeads, prfs, nil
}

func readTink(name string, content json.RawMessage) (*keyset.Handle, error) {
	if len(content) == 0 {
		return nil, fmt.Errorf("%q is missing", name)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content)))
	if err != nil {
		return nil, fmt.Errorf("%q is not a valid Tink keyset in JSON", name)
	}
	return h, nil
}

// generate makes a keyset file with one fresh key for each use.
func generate() ([]byte, error) {
	aeads, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a sealing key: %w", err)
	}
	prfs, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a hash key: %w", err)
	}
	return encode(aeads, prfs)
}

// encode writes a keyset file.
func encode(aeads, prfs *keyset.Handle) (content []byte, err error) {
	e := envelope{Version: fileVersion}
	if e.AEAD, err = writeTink(aeads); err != nil {
		return nil, err
	}
	if e.PRF, err = writeTink(prfs); err != nil {
		return nil, err
	}
	if content, err = json.MarshalIndent(e, "", "  "); err != nil {
		return nil, fmt.Errorf("encode the new keyset: %w", err)
	}
	return append(content, '\n'), nil
}

func writeTink(h *keyset.Handle) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("encode a new key: %w", err)
	}
	return b.Bytes(), nil
}
