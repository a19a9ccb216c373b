package delivery

import (
	"crypto/rand"

	"github.com/oklog/ulid/v2"

	"github.com/refreshd/refreshd/internal/credential"
)

// newHolder draws the name of one holder of a lane.
func newHolder() credential.Nonce {
	var n credential.Nonce
	_, _ = rand.Read(n[:]) // never fails: crypto/rand ends the process instead
	return n
}

// newULID draws the ID of an event that belongs to no version.
func newULID(at credential.Millis) credential.Nonce {
	n := newHolder()
	id := ulid.ULID(n)
	if err := id.SetTime(uint64(max(at, 0))); err != nil {
		return n // a moment past the year 10889: its order is all that is lost
	}
	return credential.Nonce(id)
}
