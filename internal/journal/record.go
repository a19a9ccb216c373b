package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// Intent says that a generation of a refresh token is about to be presented.
type Intent struct {
	Nonce      credential.Nonce // of the attempt
	ID         credential.ID
	Generation uint64
	Grant      uint64
	At         credential.Millis
}

// Keep holds a reply that was received. It takes the place of the intent with
// the same nonce.
type Keep struct {
	Nonce      credential.Nonce
	ID         credential.ID
	Generation uint64 // that was presented
	Grant      uint64
	At         credential.Millis
	Sealed     []byte // opaque
}

// ChangeKind says what was done. The numbers are stored.
type ChangeKind uint8

// The kinds of changes: what an owner did, and any write as it was decided.
const (
	Put    ChangeKind = 1
	Logout ChangeKind = 2
	Delete ChangeKind = 3
	Write  ChangeKind = 4
)

// Change is what was done to a credential.
type Change struct {
	Nonce   credential.Nonce
	ID      credential.ID
	Grant   uint64
	Version uint64
	Kind    ChangeKind
	At      credential.Millis
	Payload []byte // opaque, sealed
}

// Records is what a journal holds, each list in the order of writing. A nonce
// occurs once.
type Records struct {
	Intents []Intent // without a keep
	Keeps   []Keep
	Changes []Change
}

// maxPayload is how long a frame's payload may be: far above any reply, far
// below what a damaged length could otherwise make a reader allocate.
const maxPayload = 16 << 20

// maxFields is how long everything but the opaque part of a payload may be.
const maxFields = len(credential.Nonce{}) + 4*binary.MaxVarintLen64 + 1 + binary.MaxVarintLen16 + credential.MaxIDLen + binary.MaxVarintLen32

func (i *Intent) check() error { return check(i.Nonce, i.ID, nil) }

func (k *Keep) check() error { return check(k.Nonce, k.ID, k.Sealed) }

func (c *Change) check() error {
	if c.Kind < Put || c.Kind > Write {
		return fmt.Errorf("%w: kind %d of a change", ErrInvalid, c.Kind)
	}
	return check(c.Nonce, c.ID, c.Payload)
}

// check refuses what a reader would not accept: a record that can be written
// and not read back is a lost token.
func check(nonce credential.Nonce, id credential.ID, opaque []byte) error {
	if nonce.IsZero() {
		return fmt.Errorf("%w: it has no nonce", ErrInvalid)
	}
	if _, err := credential.ParseRecordID(string(id)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(opaque) > maxPayload-maxFields {
		return fmt.Errorf("%w: %d bytes of content; at most %d can be kept", ErrInvalid, len(opaque), maxPayload-maxFields)
	}
	return nil
}

func (i *Intent) append(b []byte) []byte {
	b = appendName(b, i.Nonce, i.ID)
	b = binary.AppendUvarint(b, i.Generation)
	b = binary.AppendUvarint(b, i.Grant)
	return binary.AppendVarint(b, int64(i.At))
}

func (k *Keep) append(b []byte) []byte {
	b = appendName(b, k.Nonce, k.ID)
	b = binary.AppendUvarint(b, k.Generation)
	b = binary.AppendUvarint(b, k.Grant)
	b = binary.AppendVarint(b, int64(k.At))
	return appendBytes(b, k.Sealed)
}

func (c *Change) append(b []byte) []byte {
	b = appendName(b, c.Nonce, c.ID)
	b = append(b, byte(c.Kind))
	b = binary.AppendUvarint(b, c.Grant)
	b = binary.AppendUvarint(b, c.Version)
	b = binary.AppendVarint(b, int64(c.At))
	return appendBytes(b, c.Payload)
}

func appendName(b []byte, nonce credential.Nonce, id credential.ID) []byte {
	b = append(b, nonce[:]...)
	b = binary.AppendUvarint(b, uint64(len(id)))
	return append(b, id...)
}

func appendBytes(b, content []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

var (
	errShort    = errors.New("a payload that ends too early")
	errNonce    = errors.New("a record without a nonce")
	errTrailing = errors.New("a payload that goes on after its last field")
)

// reader takes a payload apart. The first failure sticks; what it returns is a
// copy and does not alias the payload.
type reader struct {
	b   []byte
	err error
}

func (r *reader) bytes(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) millis() credential.Millis {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return credential.Millis(v)
}

func (r *reader) nonce() credential.Nonce {
	var nonce credential.Nonce
	copy(nonce[:], r.bytes(uint64(len(nonce))))
	if nonce.IsZero() {
		r.fail(errNonce)
	}
	return nonce
}

func (r *reader) id() credential.ID {
	id, err := credential.ParseRecordID(string(r.bytes(r.uvarint())))
	if err != nil {
		r.fail(err)
	}
	return id
}

func (r *reader) opaque() []byte { return append([]byte(nil), r.bytes(r.uvarint())...) }

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errTrailing
	}
	return r.err
}

func parseIntent(payload []byte) (Intent, error) {
	r := reader{b: payload}
	i := Intent{Nonce: r.nonce(), ID: r.id(), Generation: r.uvarint(), Grant: r.uvarint(), At: r.millis()}
	return i, r.end()
}

func parseKeep(payload []byte) (Keep, error) {
	r := reader{b: payload}
	k := Keep{Nonce: r.nonce(), ID: r.id(), Generation: r.uvarint(), Grant: r.uvarint(), At: r.millis(), Sealed: r.opaque()}
	return k, r.end()
}

func parseChange(payload []byte) (Change, error) {
	r := reader{b: payload}
	c := Change{Nonce: r.nonce(), ID: r.id(), Kind: ChangeKind(r.byte()), Grant: r.uvarint(), Version: r.uvarint(), At: r.millis(), Payload: r.opaque()}
	if c.Kind < Put || c.Kind > Write {
		r.fail(fmt.Errorf("a change of kind %d", c.Kind))
	}
	return c, r.end()
}

func parseDrop(payload []byte) (credential.Nonce, error) {
	r := reader{b: payload}
	return r.nonce(), r.end()
}
