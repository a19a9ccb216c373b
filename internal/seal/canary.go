package seal

import (
	"bytes"
	"crypto/subtle"
	"fmt"
)

// canaryText is hashed and sealed into the blob of [Keyset.Check].
const canaryText = "refreshd keyset check 1"

func canaryAD() []byte { return append([]byte{adCanary}, canaryText...) }

// Check returns a blob that only this keyset, or a later rotation of it,
// accepts in [Keyset.Verify]. It is stored beside the data, so that a process
// with another keyset is stopped before it writes what nobody else can open.
func (k *Keyset) Check() ([]byte, error) {
	m := k.MAC([]byte(canaryText))
	return k.Seal(m[:], canaryAD())
}

// Verify reports whether this keyset can open what the one that made the blob
// has sealed, and recognises what it has hashed. The error wraps
// [ErrCannotOpen].
func (k *Keyset) Verify(blob []byte) error {
	want, err := k.Open(blob, canaryAD())
	if err != nil {
		return fmt.Errorf("%s: %w", k, err)
	}
	for _, m := range k.MACs([]byte(canaryText)) {
		if subtle.ConstantTimeCompare(m[:], want) == 1 {
			return nil
		}
	}
	return fmt.Errorf("%s has the sealing key but not the hash key: %w", k, ErrCannotOpen)
}

// Behind reports whether the blob was made with a key that is staged in this
// keyset: others use it already, and the canary is not to go back to ours.
func (k *Keyset) Behind(blob []byte) bool {
	for _, key := range k.ring.Load().keys {
		if key.Use == UseSeal && key.Staged && bytes.HasPrefix(blob, markOf(key.ID)) {
			return true
		}
	}
	return false
}
