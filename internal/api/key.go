package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// Scope is something that an API key may do.
type Scope string

// The scopes.
//
//nolint:gosec // names, not credentials
const (
	ScopeTokenRead       Scope = "token:read"       // get access tokens, and have them refreshed
	ScopeCredentialWrite Scope = "credential:write" // store, log out and delete credentials
	ScopeEventRead       Scope = "event:read"       // read events
	ScopeAdmin           Scope = "admin"            // everything
)

// Scopes lists every scope.
func Scopes() []Scope {
	return []Scope{ScopeTokenRead, ScopeCredentialWrite, ScopeEventRead, ScopeAdmin}
}

// Key is what is known of an API key. The key itself is known to its holder
// alone.
type Key struct {
	ID        string // tells keys apart; not secret
	Name      string // for people
	Scopes    []Scope
	Prefix    string // of the credential IDs that it is good for; "" is all
	Subject   string // whose credentials it is good for; "" is everybody's
	CreatedAt credential.Millis

	hash [sha256.Size]byte // by which it was found
}

const (
	keyStart  = "rdk_" // makes a key that leaked easy to find
	keyRandom = 32     // bytes
	keyLen    = len(keyStart) + 43
	keyIDLen  = 16 // hex digits
)

// NewKey draws a key. It returns the text that its holder presents, and the
// hash and the ID under which it is stored.
func NewKey() (text credential.Secret, hash [sha256.Size]byte, id string) {
	text, hash = draw(keyStart)
	return text, hash, hex.EncodeToString(hash[:keyIDLen/2])
}

// draw returns a text that nobody can guess, and its hash.
func draw(start string) (credential.Secret, [sha256.Size]byte) {
	var random [keyRandom]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	text := start + base64.RawURLEncoding.EncodeToString(random[:])
	return credential.NewSecret(text), sha256.Sum256([]byte(text))
}

// hashDrawn returns the hash of what a caller presented, false if that cannot
// have been drawn at all, so that nothing long is ever hashed or looked up.
func hashDrawn(start, text string) ([sha256.Size]byte, bool) {
	if len(text) != keyLen || !strings.HasPrefix(text, start) {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256([]byte(text)), true
}

// limited reports whether there are credentials that the key is not good for.
func (k *Key) limited() bool { return k.Prefix != "" || k.Subject != "" }

// may reports whether the key has one of the scopes; with none asked for, any
// key will do. A key that is limited is nobody's admin.
func (k *Key) may(scopes []Scope) bool {
	if len(scopes) == 0 || (!k.limited() && slices.Contains(k.Scopes, ScopeAdmin)) {
		return true
	}
	for _, scope := range scopes {
		if scope != ScopeAdmin && slices.Contains(k.Scopes, scope) {
			return true
		}
	}
	return false
}

// covers reports whether the key is good for IDs such as this. Whether the
// credential's subject is the key's is another question.
func (k *Key) covers(id credential.ID) bool { return strings.HasPrefix(string(id), k.Prefix) }

// narrow returns the prefix that selects what both the caller's wish and the
// key allow, false if they exclude each other.
func (k *Key) narrow(wish string) (string, bool) {
	switch {
	case strings.HasPrefix(wish, k.Prefix):
		return wish, true
	case strings.HasPrefix(k.Prefix, wish):
		return k.Prefix, true
	default:
		return "", false
	}
}
