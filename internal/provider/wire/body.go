package wire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	firstBuffer = 4 << 10  // holds any ordinary reply
	keptBuffer  = 64 << 10 // larger ones are not used again
)

// ErrTooLong is wrapped in [Reply.Cut] where a body did not end within the limit. The
// provider gave the whole of it, unlike one that broke off.
var ErrTooLong = fmt.Errorf("the reply's body is longer than %d MiB", maxBody>>20)

// buffers hands out the memory that replies are read into. What was read holds
// tokens, so it is wiped before it goes back.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return buf
	}
	return new(make([]byte, 0, firstBuffer))
}

func (b *buffers) put(buf *[]byte) {
	clear((*buf)[:cap(*buf)])
	if cap(*buf) <= keptBuffer {
		*buf = (*buf)[:0]
		b.pool.Put(buf)
	}
}

// fill reads from r until its end or limit. Whatever the error, buf holds what
// came before it.
func fill(buf *[]byte, r io.Reader, limit int) error {
	data := *buf
	for {
		if len(data) == cap(data) {
			data = grow(data)
		}
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		*buf = data
		if len(data) > limit {
			*buf = data[:limit]
			return ErrTooLong
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grow returns a larger copy of data and wipes the old one.
func grow(data []byte) []byte {
	larger := append(make([]byte, 0, 2*cap(data)), data...)
	clear(data)
	return larger
}

// isGzip reports whether the body is compressed, which nobody asked for. A
// Content-Encoding that says so is not always true.
func isGzip(body []byte) bool { return bytes.HasPrefix(body, []byte("\x1f\x8b")) }

// inflate appends what the compressed body holds to buf, as far as it can be
// read and the limit allows.
func inflate(buf *[]byte, body []byte, limit int) error {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Multistream(false) // what follows the first member is none of ours
	return fill(buf, r, limit)
}
