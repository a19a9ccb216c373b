package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// settling is how long staged keys are left alone: processes that share the
// file look at it every 5 s, and one that does not know a key cannot open what
// another has sealed with it.
const settling = 15 * time.Second

// rotatePrefix begins the name of a keyset file that is being written.
const rotatePrefix = ".keyset-rotate-"

// ErrBusy says that another process is writing the keyset file.
var ErrBusy = errors.New("another process is rotating this keyset")

// TooSoonError refuses to use staged keys that other processes may not have
// loaded yet.
type TooSoonError struct {
	Path string
	Wait time.Duration
}

// Error says how long to wait.
func (e *TooSoonError) Error() string {
	return fmt.Sprintf("keyset file %s was written less than %s ago, and not every process may have loaded its new keys; run this again in %s",
		e.Path, settling, e.Wait.Round(time.Second))
}

// Step says what a rotation did.
type Step string

// The steps of a rotation.
const (
	StepNone    Step = "unchanged" // keys are staged already
	StepStage   Step = "staged"    // new keys were added, which open and recognise only
	StepPromote Step = "promoted"  // the staged keys seal and hash from now on
	StepReplace Step = "replaced"  // both at once
)

// RotateOptions say how far [Rotate] goes. Without any it adds new keys where
// none are staged, and else promotes those.
type RotateOptions struct {
	Stage bool      // never promote
	Now   bool      // promote in any case, without waiting for anybody
	At    time.Time // the present
}

// Rotate brings the keyset file at path one step further. It refuses what
// [Open] refuses, and never makes a first keyset. The file is replaced as a
// whole and durably, under its name, mode and owner of before, or not at all.
// No key is ever taken away.
//
// Of several processes that do so at once one succeeds; the others get
// [ErrBusy], or find what it did. Promoting too early is a [*TooSoonError].
func Rotate(path string, opts RotateOptions) (Step, []Key, error) {
	path, err := filepath.EvalSymlinks(path) // the name itself stays a link
	if err != nil {
		return "", nil, fmt.Errorf("open keyset file: %w", err)
	}
	dir := filepath.Dir(path)
	unlock, err := lockFolder(dir)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	content, info, err := readPrivate(path)
	if err != nil {
		return "", nil, err
	}
	aeads, prfs, err := parse(content)
	if err != nil {
		return "", nil, unusable(path, err)
	}
	before, err := newRing(aeads, prfs)
	if err != nil {
		return "", nil, unusable(path, err)
	}
	step, wait := nextStep(before.keys, info.ModTime(), opts)
	switch {
	case wait > 0:
		return "", nil, &TooSoonError{Path: path, Wait: wait}
	case step == StepNone:
		return step, before.keys, nil
	}
	after, content, err := turn(step, aeads, prfs)
	if err != nil {
		return "", nil, err
	}
	switch missing := lacking(before.keys, after.keys); {
	case len(missing) > 0:
		return "", nil, &MissingKeysError{Path: path, Missing: missing}
	case len(content) > fileLimit:
		return "", nil, fmt.Errorf("%w: %s would have %d bytes with new keys; at most %d are read", ErrBadKeyset, path, len(content), fileLimit)
	}
	if err := replace(path, content, info); err != nil {
		return "", nil, fmt.Errorf("write the keyset file %s: %w; the old one stays. Run this as the user that owns it, with write permission in %s and room there", path, err, dir)
	}
	return step, after.keys, nil
}

// nextStep decides what is to be done to a keyset that was last written at
// written, or how long to wait before it is. A file from the future was not
// written by this clock, and is as good as new.
func nextStep(keys []Key, written time.Time, opts RotateOptions) (step Step, wait time.Duration) {
	staged := false
	for _, key := range keys {
		staged = staged || key.Staged
	}
	switch age := max(opts.At.Sub(written), 0); {
	case opts.Stage && staged:
		return StepNone, 0
	case staged && opts.Now:
		return StepPromote, 0
	case staged:
		return StepPromote, max(settling-age, 0)
	case opts.Now:
		return StepReplace, 0
	default:
		return StepStage, 0
	}
}

// turn carries out a step on both keysets.
func turn(step Step, aeads, prfs *keyset.Handle) (after *ring, content []byte, err error) {
	if aeads, err = turnOne(step, aeads, UseSeal, aead.AES256GCMKeyTemplate()); err != nil {
		return nil, nil, err
	}
	if prfs, err = turnOne(step, prfs, UseHash, prf.HMACSHA256PRFKeyTemplate()); err != nil {
		return nil, nil, err
	}
	if content, err = encode(aeads, prfs); err != nil {
		return nil, nil, err
	}
	// Read as every other process will read it.
	if aeads, prfs, err = parse(content); err == nil {
		after, err = newRing(aeads, prfs)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the new keyset would not be usable: %w", err)
	}
	return after, content, nil
}

func turnOne(step Step, h *keyset.Handle, use Use, template *tinkpb.KeyTemplate) (*keyset.Handle, error) {
	m := keyset.NewManagerFromHandle(h)
	var id uint32
	staged := false
	if step == StepPromote {
		for _, key := range describe(use, h) {
			if key.Staged {
				id, staged = key.ID, true // the newest
			}
		}
		if !staged {
			return h, nil // only the other use has a staged key
		}
	} else {
		var err error
		if id, err = m.Add(template); err != nil {
			return nil, fmt.Errorf("make a new key: %w", err)
		}
	}
	if step != StepStage {
		if err := m.SetPrimary(id); err != nil {
			return nil, fmt.Errorf("make key %d the primary one: %w", id, err)
		}
	}
	turned, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("build the new keyset: %w", err)
	}
	return turned, nil
}

// replace puts content in place of the file at path, whose owner it keeps. The
// caller holds the lock, so a temporary file that lies there is of a process
// that was killed.
func replace(path string, content []byte, before fs.FileInfo) error {
	dir := filepath.Dir(path)
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), rotatePrefix) {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	temp, err := writeTemp(dir, rotatePrefix+"*.tmp", content)
	if err != nil {
		return err
	}
	err = keepOwner(temp, before)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(dir)
}

// keepOwner gives name the owner of the file that it replaces: root may rotate
// a keyset that the service's user has to read.
func keepOwner(name string, before fs.FileInfo) error {
	was, ok := before.Sys().(*syscall.Stat_t)
	if !ok || int(was.Uid) == os.Geteuid() {
		return nil
	}
	return os.Chown(name, int(was.Uid), int(was.Gid))
}

// lockFolder keeps other rotations away. It locks the folder, which needs no
// file of its own and is not exchanged when the keyset is; the kernel frees the
// lock of a process that dies.
func lockFolder(dir string) (unlock func(), err error) {
	d, err := os.Open(dir) //nolint:gosec // the folder of the operator's own path
	if err != nil {
		return nil, fmt.Errorf("lock the folder of the keyset file: %w", err)
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = ErrBusy
	case err != nil:
		err = fmt.Errorf("lock the folder of the keyset file: %w", err)
	default:
		return func() { _ = d.Close() }, nil // which frees the lock
	}
	return nil, errors.Join(err, d.Close())
}
