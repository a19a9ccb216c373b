package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/refreshd/refreshd/internal/credential"
)

// frameType says what a payload is. The numbers are stored.
type frameType uint8

const (
	typeHead   frameType = 1
	typeIntent frameType = 2
	typeKeep   frameType = 3
	typeChange frameType = 4
	typeDrop   frameType = 5
)

const (
	schema     = 1
	headerSize = 16
	alignment  = 8
	dropSize   = int64(headerSize + len(credential.Nonce{}))
)

// headText starts the payload of a head, the owner's name follows.
const headText = "refreshd journal "

//nolint:gochecknoglobals // a table of constants
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// framer makes and recognises the frames of one owner's file. Its salt keeps
// bytes that look like a frame, inside a payload or left by another file, from
// passing for one.
type framer struct {
	salt uint32
}

func newFramer(owner string) framer {
	return framer{salt: crc32.Checksum([]byte(headText+owner), castagnoli)}
}

// begin appends room for a header and returns the frame's start in b.
func (framer) begin(b []byte) ([]byte, int) {
	return append(b, make([]byte, headerSize)...), len(b)
}

// end fills in the header of the frame that begins at start, and pads it.
func (f framer) end(b []byte, start int, t frameType) []byte {
	h, payload := b[start:start+headerSize], b[start+headerSize:]
	binary.LittleEndian.PutUint32(h[0:], uint32(len(payload))) //nolint:gosec // bounded by maxPayload
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(payload, castagnoli))
	h[12], h[13] = byte(t), schema
	binary.LittleEndian.PutUint32(h[8:], f.check(h))
	return append(b, make([]byte, padding(len(payload)))...)
}

func (f framer) check(header []byte) uint32 {
	sum := crc32.Update(f.salt, castagnoli, header[:8])
	return crc32.Update(sum, castagnoli, header[12:headerSize])
}

func padding(payload int) int { return -payload & (alignment - 1) }

// header is a frame's header whose check was right.
type header struct {
	length int
	sum    uint32
	typ    frameType
	schema uint8
}

// size is that of the whole frame with its padding.
func (h header) size() int64 {
	return int64(headerSize + h.length + padding(h.length))
}

func (h header) holds(payload []byte) bool {
	return len(payload) == h.length && crc32.Checksum(payload, castagnoli) == h.sum
}

// header reads the first bytes of b; ok says that they are a frame's header.
func (f framer) header(b []byte) (h header, ok bool) {
	if len(b) < headerSize || binary.LittleEndian.Uint32(b[8:]) != f.check(b) {
		return header{}, false
	}
	length := binary.LittleEndian.Uint32(b)
	if length == 0 || length > maxPayload {
		return header{}, false
	}
	return header{
		length: int(length), sum: binary.LittleEndian.Uint32(b[4:]),
		typ: frameType(b[12]), schema: b[13],
	}, true
}

// head returns the first frame of a file.
func (f framer) head(owner string) []byte {
	b, start := f.begin(nil)
	return f.end(append(append(b, headText...), owner...), start, typeHead)
}

func (f framer) appendIntent(b []byte, i *Intent) []byte {
	b, start := f.begin(b)
	return f.end(i.append(b), start, typeIntent)
}

func (f framer) appendKeep(b []byte, k *Keep) []byte {
	b, start := f.begin(b)
	return f.end(k.append(b), start, typeKeep)
}

func (f framer) appendChange(b []byte, c *Change) []byte {
	b, start := f.begin(b)
	return f.end(c.append(b), start, typeChange)
}

func (f framer) appendDrop(b []byte, nonce credential.Nonce) []byte {
	b, start := f.begin(b)
	return f.end(append(b, nonce[:]...), start, typeDrop)
}
