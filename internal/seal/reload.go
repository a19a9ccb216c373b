package seal

import (
	"fmt"
	"slices"
	"strings"
)

// MissingKeysError refuses to take over a keyset file that could not open or
// recognise all that the keyset in use can.
type MissingKeysError struct {
	Path    string
	Missing []Key // they are gone, disabled, or have other bytes than before
}

// Error names the keys and says what to do.
func (e *MissingKeysError) Error() string {
	names := make([]string, len(e.Missing))
	for i, key := range e.Missing {
		names[i] = fmt.Sprintf("%s %d (%s)", key.Use, key.ID, key.Fingerprint)
	}
	return fmt.Sprintf("keyset file %s lacks keys that are in use, or has them disabled or changed: %s; put a file with all of them there, made from the one of before with refreshd keyset rotate",
		e.Path, strings.Join(names, ", "))
}

// Is makes a MissingKeysError an [ErrBadKeyset].
func (e *MissingKeysError) Is(target error) bool { return target == ErrBadKeyset }

// Reload takes over the keyset file at path if it has changed, and reports
// whether it had. Whoever holds k seals and opens with the new keys from then
// on. A file that lacks an enabled key of ours is refused with a
// [*MissingKeysError]; after any error the keys of before stay.
//
// announce is called before anything is sealed with another primary key, so
// that processes which lack it can be warned off; if it fails, nothing is taken
// over. Calls must not overlap.
func (k *Keyset) Reload(path string, announce func(next *Keyset) error) (changed bool, err error) {
	next, err := loadRing(path)
	if err != nil {
		return false, err
	}
	ours := k.ring.Load()
	if slices.Equal(ours.keys, next.keys) {
		return false, nil
	}
	if missing := lacking(ours.keys, next.keys); len(missing) > 0 {
		return false, &MissingKeysError{Path: path, Missing: missing}
	}
	if fingerprint(ours.keys) != fingerprint(next.keys) {
		if err := announce(newKeyset(next)); err != nil {
			return false, err
		}
	}
	k.ring.Store(next)
	return true, nil
}

// lacking lists the enabled keys of before that are not among those of after,
// the same and enabled.
func lacking(before, after []Key) []Key {
	var missing []Key
	for _, old := range before {
		same := func(key Key) bool {
			return key.Use == old.Use && key.ID == old.ID && key.Enabled && key.Fingerprint == old.Fingerprint
		}
		if old.Enabled && !slices.ContainsFunc(after, same) {
			missing = append(missing, old)
		}
	}
	return missing
}
