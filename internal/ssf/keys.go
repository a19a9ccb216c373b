package ssf

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// publishedBefore is how long a new key is published before it signs: far
	// longer than receivers keep the set of keys ([KeysMaxAge]), so that each
	// knows it by then.
	publishedBefore = time.Hour
	// publishedAfter is how long a key is published after it has signed for
	// the last time: a token may lie about before it is verified.
	publishedAfter = 24 * time.Hour
	// KeysMaxAge is how long the published keys may be kept by receivers.
	KeysMaxAge = 15 * time.Minute
)

var (
	// ErrRotating says that a new key is published and does not sign yet.
	ErrRotating = errors.New("a new key was made already and does not sign yet")

	errKeys = errors.New("the stored signing keys cannot be read")
)

// Key is a signing key, for ES256 (RFC 7518, section 3.4).
type Key struct {
	ID    string            // its thumbprint (RFC 7638)
	From  credential.Millis // it signs from this moment, until a later one does
	Until credential.Millis // it is published until then; 0 is for now without end

	private *ecdsa.PrivateKey
}

// newKey draws a key that signs from a moment on.
func newKey(from credential.Millis) (Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("make a signing key: %w", err)
	}
	return keyOf(private, from, 0)
}

func keyOf(private *ecdsa.PrivateKey, from, until credential.Millis) (Key, error) {
	sum, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return Key{}, fmt.Errorf("name a signing key: %w", err)
	}
	return Key{ID: base64.RawURLEncoding.EncodeToString(sum), From: from, Until: until, private: private}, nil
}

// Coordinates returns the public key's two coordinates in base64url, as a JSON
// Web Key has them (RFC 7518, section 6.2.1).
func (k Key) Coordinates() (x, y string, err error) {
	point, err := k.private.PublicKey.Bytes()
	if err != nil {
		return "", "", fmt.Errorf("encode a signing key: %w", err)
	}
	half := (len(point) - 1) / 2 // behind the byte that says that it is uncompressed
	encode := base64.RawURLEncoding.EncodeToString
	return encode(point[1 : 1+half]), encode(point[1+half:]), nil
}

// signerAt returns the key that signs at now: of those whose time has come, the
// latest. Where the clock was set back to before them all, it is the first.
func signerAt(keys []Key, now credential.Millis) Key {
	first := slices.MinFunc(keys, func(a, b Key) int { return cmp.Compare(a.From, b.From) })
	for _, key := range keys {
		if key.From <= now && key.From >= first.From {
			first = key
		}
	}
	return first
}

// publishedAt returns the keys that receivers are told at now.
func publishedAt(keys []Key, now credential.Millis) []Key {
	var list []Key
	for _, key := range keys {
		if key.Until == 0 || key.Until > now {
			list = append(list, key)
		}
	}
	return list
}

// rotate returns the keys with another that takes over once receivers know it.
// With immediate it takes over now, and no other is published any more: that is
// for a key that others have got hold of.
func rotate(keys []Key, now credential.Millis, immediate bool) ([]Key, error) {
	if immediate {
		next, err := newKey(now)
		return []Key{next}, err
	}
	next, err := newKey(now.Add(publishedBefore))
	if err != nil {
		return nil, err
	}
	var list []Key
	for _, key := range publishedAt(keys, now) {
		if key.From > now {
			return nil, ErrRotating
		}
		if key.Until == 0 {
			key.Until = next.From.Add(publishedAfter)
		}
		list = append(list, key)
	}
	return append(list, next), nil
}

// storedKey is the form in which a key is stored, sealed.
type storedKey struct {
	Private string            `json:"private"` // SEC 1 in base64
	From    credential.Millis `json:"from"`
	Until   credential.Millis `json:"until,omitempty"`
}

func encodeKeys(keys []Key) ([]byte, error) {
	list := make([]storedKey, len(keys))
	for i, key := range keys {
		der, err := x509.MarshalECPrivateKey(key.private)
		if err != nil {
			return nil, fmt.Errorf("encode a signing key: %w", err)
		}
		list[i] = storedKey{Private: base64.StdEncoding.EncodeToString(der), From: key.From, Until: key.Until}
	}
	return json.Marshal(list)
}

// decodeKeys reads what encodeKeys wrote. Its errors tell nothing of it.
func decodeKeys(text []byte) ([]Key, error) {
	var list []storedKey
	if json.Unmarshal(text, &list) != nil || len(list) == 0 {
		return nil, errKeys
	}
	keys := make([]Key, len(list))
	for i, stored := range list {
		der, err := base64.StdEncoding.DecodeString(stored.Private)
		if err != nil {
			return nil, errKeys
		}
		private, err := x509.ParseECPrivateKey(der)
		if err != nil || private.Curve != elliptic.P256() {
			return nil, errKeys
		}
		if keys[i], err = keyOf(private, stored.From, stored.Until); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
