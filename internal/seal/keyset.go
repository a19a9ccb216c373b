package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/refreshd/refreshd/internal/credential"
)

// ErrCannotOpen says that sealed bytes were not sealed by any key of this
// keyset for these associated data, or were altered since. Which of these it
// was cannot be told.
var ErrCannotOpen = errors.New("cannot open sealed data: another keyset, other associated data, or damaged")

// UnknownKeyError is [ErrCannotOpen] for what another key has sealed than those of
// this keyset, as after a rotation that has passed it by.
type UnknownKeyError struct {
	ID uint32 // of that key, as it stands in front of the sealed bytes
}

// Error names the key.
func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("cannot open sealed data: this keyset lacks key %d, or has it disabled", e.ID)
}

// Is makes an UnknownKeyError an [ErrCannotOpen].
func (e *UnknownKeyError) Is(target error) bool { return target == ErrCannotOpen }

// Use says what a key is for.
type Use string

// The uses of keys.
const (
	UseSeal Use = "aead" // seals and opens
	UseHash Use = "prf"  // makes keyed hashes
)

// Key describes one key without telling anything about its bytes.
type Key struct {
	Use         Use
	ID          uint32 // as in the keyset file
	Primary     bool   // new data are sealed or hashed with it
	Enabled     bool   // a disabled key opens and recognises nothing
	Staged      bool   // newer than the primary one: opens already, and is to take its place
	Fingerprint string // 16 hex digits, the same wherever the key is loaded
}

// Keyset seals, opens and hashes. It is safe for concurrent use, and what it
// has opened once it opens for good: see [Keyset.Reload].
type Keyset struct {
	ring atomic.Pointer[ring]
}

func newKeyset(r *ring) *Keyset {
	k := new(Keyset)
	k.ring.Store(r)
	return k
}

// ring is the content of a keyset at one time. It is immutable.
type ring struct {
	aead tink.AEAD
	prfs []prf.PRF // the primary one first
	keys []Key
	mark []byte // that everything begins with which the primary key has sealed
}

// newRing builds the primitives once: making them costs far more than using
// them. Errors name the keyset that is wrong and nothing else, because what
// Tink reports about a key it could not read is not known to be harmless.
func newRing(aeads, prfs *keyset.Handle) (*ring, error) {
	k := &ring{keys: append(describe(UseSeal, aeads), describe(UseHash, prfs)...)}
	var err error
	if k.aead, err = aead.New(aeads); err != nil {
		return nil, errors.New(`the "aead" keyset holds keys that cannot seal`)
	}
	set, err := prf.NewPRFSet(prfs)
	if err != nil {
		return nil, errors.New(`the "prf" keyset holds keys that cannot make keyed hashes`)
	}
	for _, key := range k.keys {
		if key.Use != UseHash || !key.Enabled {
			continue
		}
		p := set.PRFs[key.ID]
		if _, err := p.ComputePRF(nil, uint32(len(credential.MAC{}))); err != nil {
			return nil, fmt.Errorf(`key %d of the "prf" keyset makes hashes that are too short`, key.ID)
		}
		if key.Primary {
			k.prfs = append([]prf.PRF{p}, k.prfs...)
		} else {
			k.prfs = append(k.prfs, p)
		}
	}
	for _, key := range k.keys {
		if key.Use == UseSeal && key.Primary {
			k.mark = markOf(key.ID)
		}
	}
	return k, nil
}

// markOf is what Tink puts before everything that the key of that ID has
// sealed: a version and the ID.
func markOf(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{markVersion}, id) }

// markVersion is the first byte of what Tink puts there.
const markVersion = 1

// keyOf returns the ID of the key that has sealed these bytes, if they begin as
// sealed bytes do.
func keyOf(sealed []byte) (id uint32, told bool) {
	if len(sealed) < len(markOf(0)) || sealed[0] != markVersion {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:]), true
}

// describe lists the keys of a keyset. A fingerprint is an HMAC of a fixed
// text under the serialized key, which is uniformly random in 256 bits: it
// identifies the key and tells nothing about it.
//
// What stands behind the primary key is newer, for keys are added at the end.
func describe(use Use, h *keyset.Handle) []Key {
	material := insecurecleartextkeyset.KeysetMaterial(h)
	keys := make([]Key, 0, len(material.GetKey()))
	passed := false
	for _, key := range material.GetKey() {
		sum := hmac.New(sha256.New, key.GetKeyData().GetValue())
		sum.Write([]byte("refreshd key fingerprint " + string(use)))
		enabled := key.GetStatus() == tinkpb.KeyStatusType_ENABLED
		primary := key.GetKeyId() == material.GetPrimaryKeyId()
		keys = append(keys, Key{
			Use:         use,
			ID:          key.GetKeyId(),
			Primary:     primary,
			Enabled:     enabled,
			Staged:      passed && enabled,
			Fingerprint: hex.EncodeToString(sum.Sum(nil)[:8]),
		})
		passed = passed || primary
	}
	return keys
}

// Seal encrypts plain with the primary key and binds it to the associated
// data ad; see [AD]. Sealing the same twice gives different bytes, 33 longer
// than plain.
func (k *Keyset) Seal(plain, ad []byte) ([]byte, error) {
	sealed, err := k.ring.Load().aead.Encrypt(plain, ad)
	if err != nil {
		return nil, fmt.Errorf("seal %d bytes: %w", len(plain), err)
	}
	return sealed, nil
}

// Open decrypts what [Keyset.Seal] made with the same associated data, under
// any enabled key of the keyset. The error is [ErrCannotOpen], a [*UnknownKeyError]
// where it can be told that the key is not among them.
func (k *Keyset) Open(sealed, ad []byte) ([]byte, error) {
	r := k.ring.Load()
	plain, err := r.aead.Decrypt(sealed, ad)
	if err == nil {
		return plain, nil
	}
	if id, told := keyOf(sealed); told && !r.opens(id) {
		return nil, &UnknownKeyError{ID: id}
	}
	return nil, ErrCannotOpen // Tink's own error adds nothing to it
}

// opens reports whether the key of that ID is there to open with.
func (r *ring) opens(id uint32) bool {
	return slices.ContainsFunc(r.keys, func(key Key) bool { return key.Use == UseSeal && key.Enabled && key.ID == id })
}

// MAC returns the keyed hash of data under the primary key: HMAC-SHA-256 cut
// to 16 bytes, RFC 2104 section 5.
func (k *Keyset) MAC(data []byte) credential.MAC { return mac(k.ring.Load().prfs[0], data) }

// MACs returns the keyed hashes of data under every enabled key, the primary
// one first. What was hashed before a rotation is recognised by one of them.
func (k *Keyset) MACs(data []byte) []credential.MAC {
	prfs := k.ring.Load().prfs
	macs := make([]credential.MAC, len(prfs))
	for i, p := range prfs {
		macs[i] = mac(p, data)
	}
	return macs
}

func mac(p prf.PRF, data []byte) credential.MAC {
	var m credential.MAC
	sum, err := p.ComputePRF(data, uint32(len(m)))
	if err != nil {
		panic("seal: a hash key that worked when it was loaded failed") // HMAC has no way to fail
	}
	copy(m[:], sum)
	return m
}

// Current reports whether the primary key has sealed these bytes. It goes by
// the key's ID in front of them and opens nothing.
func (k *Keyset) Current(sealed []byte) bool { return bytes.HasPrefix(sealed, k.ring.Load().mark) }

// Keys describes the keys, those for sealing first, in the file's order.
func (k *Keyset) Keys() []Key { return slices.Clone(k.ring.Load().keys) }

// Fingerprint identifies the two primary keys in 16 hex digits. It is the same
// wherever the keyset is loaded, changes with a rotation, and reveals nothing.
func (k *Keyset) Fingerprint() string { return fingerprint(k.ring.Load().keys) }

func fingerprint(keys []Key) string {
	sum := sha256.New()
	for _, key := range keys {
		if key.Primary {
			sum.Write([]byte(key.Fingerprint))
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// String identifies the keyset by its fingerprint.
func (k *Keyset) String() string { return "keyset " + k.Fingerprint() }

// GoString returns what String does, so that no verb walks into the keys.
func (k *Keyset) GoString() string { return k.String() }

// LogValue identifies the keyset by its fingerprint in log/slog.
func (k *Keyset) LogValue() slog.Value { return slog.StringValue(k.Fingerprint()) }
