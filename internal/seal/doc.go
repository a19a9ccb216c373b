// Package seal is encryption at rest: it seals what must not be readable in
// the store or in a journal, and makes the keyed hashes by which a presented
// refresh token or an API key is recognised again without being kept.
//
// The keys are two Tink keysets in one file, {"version":1,"aead":…,"prf":…}:
// AES-256-GCM for sealing and HMAC-SHA-256 for hashing. Both may hold several
// keys: the primary one seals and hashes, the others still open and recognise.
// The keyset file is the only place where keys exist; no error, print or
// fingerprint of this package holds any part of them.
package seal
