package eventlog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrUnknown is wrapped by the error of [Decode] for an entry that a later
	// version of refreshd wrote: its form, or a type or state in it, is not
	// known here. A reader passes it over.
	ErrUnknown = errors.New("eventlog: written by a later version of refreshd")
	// ErrMalformed is wrapped by the error of [Decode] for what no refreshd has
	// written.
	ErrMalformed = errors.New("eventlog: no entry of an event log")
)

// The first byte of an entry. An event about a subscription has that as well,
// behind all else.
const (
	formEvent  = 1
	formNotice = 2
)

const nonceSize = 16

// Decode turns an entry of the log into an event. The source is "urn:refreshd:"
// and the field "epoch" of the hash [Meta]; id is the entry's ID in the stream,
// and stored its field "e". The result's strings share memory with stored.
//
// A reader of the stream sees every event, so PreviousVersion is that of the
// credential's last event of any type.
func Decode(source, id, stored string) (Event, error) {
	at, err := parsePosition(id)
	if err != nil {
		return Event{}, err
	}
	r := reader{s: stored}
	head := r.take(4)
	nonce := r.take(nonceSize)
	if r.err != nil {
		return Event{}, r.err
	}
	if head[0] != formEvent && head[0] != formNotice {
		return Event{}, fmt.Errorf("%w: form %d", ErrUnknown, head[0])
	}
	e := Event{SpecVersion: "1.0", Source: source, DataContentType: "application/json"}
	var ok [4]bool
	e.Data.State, ok[0] = stateOf(head[1])
	e.Data.PreviousState, ok[1] = stateOf(head[2])
	e.Data.InitiatedBy, ok[2] = initiatorOf(head[3])
	e.Type, ok[3] = typeOf(r.str())
	e.Data.Credential = r.str()
	e.Data.Version = r.uvarint()
	e.Data.ExpiresAt = r.moment()
	e.Data.Reason = r.str()
	e.Data.Provider = r.str()
	e.Data.User = r.str()
	e.Data.Labels = r.labels()
	e.Data.PreviousVersion = r.latest()
	if head[0] == formNotice {
		e.Data.Subscription = r.str()
		e.Data.Since = r.moment()
		e.Data.OldestUndelivered = r.moment()
		e.Data.UndeliveredEvent = r.str()
	}
	if err := r.end(); err != nil {
		return Event{}, err
	}
	if ok != [4]bool{true, true, true, true} {
		return Event{}, fmt.Errorf("%w: a type, state or initiator that is not known here", ErrUnknown)
	}
	e.Subject = e.Data.Credential
	if at.ms != 0 {
		e.Time = time.UnixMilli(int64(at.ms)).UTC() //nolint:gosec // parsePosition takes no more than fits
	}
	e.ID = eventID(e.Data.Credential, e.Data.Version, nonce)
	return e, nil
}

// eventID is credential, version and the first 8 hex digits of the commit's
// nonce. Where the event belongs to no version, the nonce is a ULID.
func eventID(credential string, version uint64, nonce string) string {
	if version == 0 {
		return ulid(nonce)
	}
	return fmt.Sprintf("%s/%d/%s", credential, version, hex.EncodeToString([]byte(nonce[:4])))
}

// ulid returns the 26 characters that stand for 16 bytes in the base 32 of
// Crockford, the first of them for 3 bits (github.com/ulid/spec).
func ulid(nonce string) string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var out [26]byte
	var bits, held uint
	at := len(out)
	for i := len(nonce) - 1; i >= 0; i-- {
		bits |= uint(nonce[i]) << held
		for held += 8; held >= 5; held -= 5 {
			at--
			out[at] = digits[bits&31]
			bits >>= 5
		}
	}
	out[0] = digits[bits&31]
	return string(out[:])
}
