package model

import (
	"encoding/binary"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// rt is one refresh token: the login that it descends from, how many rotations
// lie between, and which of its siblings it is, for a provider that accepts a
// spent one again issues another. The zero value is no token.
type rt struct{ login, depth, sibling uint8 }

func (t rt) none() bool { return t.login == 0 }

func (t rt) String() string {
	name := fmt.Sprintf("token %d.%d", t.login, t.depth)
	if t.sibling > 0 {
		name += string('a' + rune(t.sibling))
	}
	return name
}

// secret is the token as package credential sees it.
func (t rt) secret() credential.Secret {
	if t.none() {
		return credential.Secret{}
	}
	return credential.NewSecret(string([]byte{'r', t.login, t.depth, t.sibling}))
}

func rtOf(s credential.Secret) rt {
	text := s.Reveal()
	if text == "" {
		return rt{}
	}
	return rt{text[1], text[2], text[3]}
}

// pair returns the token with an access token beside it.
func (t rt) pair() credential.Token {
	return credential.Token{Access: credential.NewSecret("access"), Refresh: t.secret(), Type: "Bearer"}
}

func macOf(s credential.Secret) credential.MAC {
	var mac credential.MAC
	copy(mac[:], s.Reveal())
	return mac
}

// The first byte of a nonce says what it is for. What tells nonces of a kind
// apart stands behind the eighth: a settled attempt's differs in the first.
const (
	nonceAttempt = iota + 1
	nonceAlternate
	nonceAdvance
	nonceChange
)

func attemptNonce(n uint8) credential.Nonce {
	return credential.Nonce{0: nonceAttempt, 9: n, 15: 1} // its second half is no write's
}

// writeNonce is unique for each write, as random ones are: no process writes a
// revision twice within one run of the store.
func writeNonce(kind, owner, run uint8, revision uint64) credential.Nonce {
	n := credential.Nonce{kind, owner, run}
	binary.LittleEndian.PutUint64(n[8:], revision)
	return n
}
