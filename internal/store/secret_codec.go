package store

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
)

// secretFormat is the first byte of what is sealed.
const secretFormat = 1

// The names of the sealed fields in their associated data.
const (
	sealedToken      = "token"
	sealedAlternates = "alternates"
	sealedSignIn     = "sign_in"
	sealedUserData   = "user_data"
)

var errSecretFormat = errors.New("its format is not known to this version of refreshd")

func appendToken(b []byte, t credential.Token) []byte {
	b = appendString(b, t.Access.Reveal())
	b = appendString(b, t.Refresh.Reveal())
	b = appendString(b, t.Type)
	return appendString(b, t.Scope)
}

func (r *reader) token() credential.Token {
	return credential.Token{
		Access: credential.NewSecret(r.str()), Refresh: credential.NewSecret(r.str()),
		Type: r.str(), Scope: r.str(),
	}
}

func tokenSize(t credential.Token) int {
	return len(t.Access.Reveal()) + len(t.Refresh.Reveal()) + len(t.Type) + len(t.Scope) + 4*binary.MaxVarintLen32
}

// sealToken seals t as the token of rec: the bytes cannot be opened as those
// of another credential, login or generation.
func (s *Store) sealToken(rec credential.Record, t credential.Token) ([]byte, error) {
	plain := append(make([]byte, 0, 1+tokenSize(t)), secretFormat)
	return s.keyset.Seal(appendToken(plain, t), seal.AD(rec.ID, sealedToken, rec.Grant, rec.Generation))
}

func (s *Store) openToken(key string, rec credential.Record, sealed string) (credential.Token, error) {
	if sealed == "" {
		return credential.Token{}, nil
	}
	plain, err := s.keyset.Open([]byte(sealed), seal.AD(rec.ID, sealedToken, rec.Grant, rec.Generation))
	if err != nil {
		return credential.Token{}, &CorruptError{Key: key, Field: "s", Err: err}
	}
	t, err := decodeToken(string(plain))
	if err != nil {
		return credential.Token{}, &CorruptError{Key: key, Field: "s", Err: err}
	}
	return t, nil
}

func decodeToken(plain string) (credential.Token, error) {
	r := reader{s: plain}
	if r.take(1) != string(rune(secretFormat)) {
		return credential.Token{}, errSecretFormat
	}
	t := r.token()
	return t, r.end()
}

// Alternates outlive the generation they came with, so they are bound to the
// login alone. In front of what is sealed stands the newest generation that
// one of them was got with, which the begin script reads.
func (s *Store) sealAlternates(rec credential.Record, list []credential.Alternate) ([]byte, error) {
	var newest uint64
	for _, alt := range list {
		newest = max(newest, alt.Generation)
	}
	sealed, err := s.keyset.Seal(appendAlternates(nil, list), seal.AD(rec.ID, sealedAlternates, rec.Grant, 0))
	if err != nil {
		return nil, err
	}
	return append(append(strconv.AppendUint(nil, newest, 10), ' '), sealed...), nil
}

func (s *Store) openAlternates(key string, rec credential.Record, sealed string) ([]credential.Alternate, error) {
	if sealed == "" {
		return nil, nil
	}
	_, sealed, ok := strings.Cut(sealed, " ")
	if !ok {
		return nil, &CorruptError{Key: key, Field: "a", Err: errSecretFormat}
	}
	plain, err := s.keyset.Open([]byte(sealed), seal.AD(rec.ID, sealedAlternates, rec.Grant, 0))
	if err != nil {
		return nil, &CorruptError{Key: key, Field: "a", Err: err}
	}
	list, err := decodeAlternates(string(plain))
	if err != nil {
		return nil, &CorruptError{Key: key, Field: "a", Err: err}
	}
	return list, nil
}

func appendAlternates(b []byte, list []credential.Alternate) []byte {
	b = append(b, secretFormat)
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, alt := range list {
		b = append(b, alt.Nonce[:]...)
		b = binary.AppendUvarint(b, alt.Generation)
		b = appendToken(b, alt.Token)
		b = appendMillis(b, alt.IssuedAt)
		b = binary.AppendVarint(b, int64(alt.Lifetime))
	}
	return b
}

func decodeAlternates(plain string) ([]credential.Alternate, error) {
	r := reader{s: plain}
	if r.take(1) != string(rune(secretFormat)) {
		return nil, errSecretFormat
	}
	const least = len(credential.Nonce{}) + 7
	n := r.count(least)
	list := make([]credential.Alternate, 0, n)
	for range n {
		var alt credential.Alternate
		copy(alt.Nonce[:], r.take(len(alt.Nonce)))
		alt.Generation = r.uvarint()
		alt.Token = r.token()
		alt.IssuedAt = r.millis()
		alt.Lifetime = time.Duration(r.varint())
		list = append(list, alt)
	}
	return list, r.end()
}

// What a login needs, and what is known of the user, outlive generations as
// alternates do.

func (s *Store) sealSignIn(rec credential.Record, in credential.SignIn) ([]byte, error) {
	return s.keyset.Seal(appendSignIn(nil, in), seal.AD(rec.ID, sealedSignIn, rec.Grant, 0))
}

func (s *Store) openSignIn(key string, rec credential.Record, sealed string) (credential.SignIn, error) {
	if sealed == "" {
		return credential.SignIn{}, nil
	}
	plain, err := s.keyset.Open([]byte(sealed), seal.AD(rec.ID, sealedSignIn, rec.Grant, 0))
	if err != nil {
		return credential.SignIn{}, &CorruptError{Key: key, Field: "l", Err: err}
	}
	in, err := decodeSignIn(string(plain))
	if err != nil {
		return credential.SignIn{}, &CorruptError{Key: key, Field: "l", Err: err}
	}
	return in, nil
}

func appendSignIn(b []byte, in credential.SignIn) []byte {
	b = append(b, secretFormat)
	b = appendString(b, in.Username.Reveal())
	return appendString(b, in.Password.Reveal())
}

func decodeSignIn(plain string) (credential.SignIn, error) {
	r := reader{s: plain}
	if r.take(1) != string(rune(secretFormat)) {
		return credential.SignIn{}, errSecretFormat
	}
	in := credential.SignIn{Username: credential.NewSecret(r.str()), Password: credential.NewSecret(r.str())}
	return in, r.end()
}

func (s *Store) sealUserData(rec credential.Record, data credential.UserData) ([]byte, error) {
	return s.keyset.Seal(appendUserData(nil, data), seal.AD(rec.ID, sealedUserData, rec.Grant, 0))
}

func (s *Store) openUserData(key string, rec credential.Record, sealed string) (credential.UserData, error) {
	if sealed == "" {
		return nil, nil
	}
	plain, err := s.keyset.Open([]byte(sealed), seal.AD(rec.ID, sealedUserData, rec.Grant, 0))
	if err != nil {
		return nil, &CorruptError{Key: key, Field: "u", Err: err}
	}
	data, err := decodeUserData(plain)
	if err != nil {
		return nil, &CorruptError{Key: key, Field: "u", Err: err}
	}
	return data, nil
}

func appendUserData(b []byte, data credential.UserData) []byte {
	return append(append(b, secretFormat), data...)
}

func decodeUserData(plain []byte) (credential.UserData, error) {
	if len(plain) < 2 || plain[0] != secretFormat {
		return nil, errSecretFormat
	}
	return plain[1:], nil
}

// SpentBefore reports whether token is a refresh token that was presented and
// replaced before, as far as the record remembers.
func (s *Store) SpentBefore(h credential.Held, token credential.Secret) bool {
	if token.IsZero() || len(h.Record.Spent) == 0 {
		return false
	}
	for _, mac := range s.keyset.MACs([]byte(token.Reveal())) {
		if slices.Contains(h.Record.Spent, mac) {
			return true
		}
	}
	return false
}
