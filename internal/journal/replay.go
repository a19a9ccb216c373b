package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

// windowSize is how much of a file is read at once.
const windowSize = 256 << 10

// window reads a file piece by piece.
type window struct {
	r     io.ReaderAt
	size  int64 // of the file
	start int64 // of buf in the file
	buf   []byte
}

func newWindow(r io.ReaderAt, size int64) *window { return &window{r: r, size: size} }

// bytes returns n bytes at off, or what there is of them before the end of the
// file. They are valid until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-off))
	if n <= 0 { // the padding of a file's last record may have been cut off
		return nil, nil
	}
	if off < w.start || off+int64(n) > w.start+int64(len(w.buf)) {
		size := int(min(int64(max(n, windowSize)), w.size-off))
		w.buf = slices.Grow(w.buf[:0], size)[:size]
		w.start = off
		if got, err := w.r.ReadAt(w.buf, off); got < size {
			w.buf = w.buf[:0]
			return nil, fmt.Errorf("read %d bytes at offset %d: %w", size, off, err)
		}
	}
	return w.buf[off-w.start:][:n], nil
}

// zeros returns how many bytes at off, in steps of the alignment and as far as
// they have been read, are zero.
func (w *window) zeros(off int64) (n int64) {
	b := w.buf[off-w.start:]
	for len(b) >= alignment && binary.LittleEndian.Uint64(b) == 0 {
		b, n = b[alignment:], n+alignment
	}
	return n
}

// frame reads the frame at off. A frame that is not sound gives a reason.
func (w *window) frame(f framer, off int64) (h header, payload []byte, reason string, err error) {
	b, err := w.bytes(off, headerSize)
	if err != nil {
		return header{}, nil, "", err
	}
	h, ok := f.header(b)
	if !ok {
		return header{}, nil, "no record starts there", nil
	}
	payload, err = w.bytes(off+headerSize, h.length)
	if err != nil {
		return header{}, nil, "", err
	}
	if !h.holds(payload) {
		return header{}, nil, "the record there does not match its checksum", nil
	}
	return h, payload, "", nil
}

// seek looks for the next sound frame at or after from. If there is none, last
// is where the last byte is that is not zero; -1 if all are.
func (w *window) seek(f framer, from int64) (off int64, found bool, last int64, err error) {
	last = -1
	for off = from; off < w.size; off += alignment {
		b, err := w.bytes(off, headerSize)
		if err != nil {
			return 0, false, 0, err
		}
		if skip := w.zeros(off); skip > 0 { // no frame starts like this
			off += skip - alignment
			continue
		}
		for i, c := range b[:min(alignment, len(b))] {
			if c != 0 {
				last = off + int64(i)
			}
		}
		if _, ok := f.header(b); !ok {
			continue
		}
		_, _, reason, err := w.frame(f, off)
		if err != nil {
			return 0, false, 0, err
		}
		if reason == "" {
			return off, true, last, nil
		}
	}
	return w.size, false, last, nil
}

// gathering collects the records of a file as they are read.
type gathering struct {
	path    string
	where   map[credential.Nonce]slot
	written []credential.Nonce // as they came, those that were dropped included
	found   Records
	corrupt []*CorruptError
	torn    int64
	end     int64 // of the last sound frame
}

// slot is where a record is in the list of its type.
type slot struct {
	typ frameType
	i   int
}

func newGathering(path string) *gathering {
	return &gathering{path: path, where: map[credential.Nonce]slot{}}
}

// replay reads a whole journal file of that owner. It fails only if the file
// cannot be read or was written by a newer version; damage is collected.
func replay(r io.ReaderAt, size int64, owner, path string) (*gathering, error) {
	g, w, f := newGathering(path), newWindow(r, size), newFramer(owner)
	for off := int64(0); ; {
		h, payload, reason, err := w.frame(f, off)
		if err != nil {
			return nil, err
		}
		if reason == "" {
			if err := g.add(h, payload, off); err != nil {
				return nil, err
			}
			off += h.size()
			continue
		}
		next, found, last, err := w.seek(f, off)
		switch {
		case err != nil:
			return nil, err
		case found:
			g.damage(off, next-off, reason)
			off = next
			continue
		case off == 0:
			g.damage(0, size, "no record can be read")
		case last >= off:
			g.torn = last + 1 - off
		}
		g.end = off
		return g, nil
	}
}

func (g *gathering) damage(off, length int64, reason string) {
	g.corrupt = append(g.corrupt, &CorruptError{Path: g.path, Offset: off, Length: length, Reason: reason})
}

var errType = errors.New("a record of unknown type")

// add collects one record. A sound frame whose content makes no sense is
// damage as well; one of a later schema is an error, for skipping it would
// lose what it says.
func (g *gathering) add(h header, payload []byte, off int64) error {
	if h.schema > schema {
		return fmt.Errorf("%w: a record at offset %d has schema %d, this program reads up to %d", ErrNewer, off, h.schema, schema)
	}
	var err error
	switch h.typ {
	case typeHead: // its text is for people; the frame's check has proven the owner
	case typeIntent:
		var i Intent
		if i, err = parseIntent(payload); err == nil && g.where[i.Nonce].typ != typeKeep {
			g.put(i.Nonce, slot{typeIntent, len(g.found.Intents)})
			g.found.Intents = append(g.found.Intents, i)
		}
	case typeKeep:
		var k Keep
		if k, err = parseKeep(payload); err == nil {
			g.put(k.Nonce, slot{typeKeep, len(g.found.Keeps)})
			g.found.Keeps = append(g.found.Keeps, k)
		}
	case typeChange:
		var c Change
		if c, err = parseChange(payload); err == nil {
			g.put(c.Nonce, slot{typeChange, len(g.found.Changes)})
			g.found.Changes = append(g.found.Changes, c)
		}
	case typeDrop:
		var nonce credential.Nonce
		if nonce, err = parseDrop(payload); err == nil {
			g.forget(nonce)
		}
	default:
		err = errType
	}
	if err != nil {
		g.damage(off, h.size(), err.Error())
	}
	return nil
}

// put notes where the record of a nonce is, in place of an earlier one.
func (g *gathering) put(nonce credential.Nonce, s slot) {
	g.forget(nonce)
	g.written = append(g.written, nonce)
	g.where[nonce] = s
}

// forget empties the record's place in its list; records leaves it out.
func (g *gathering) forget(nonce credential.Nonce) {
	s, ok := g.where[nonce]
	if !ok {
		return
	}
	delete(g.where, nonce)
	switch s.typ {
	case typeIntent:
		g.found.Intents[s.i] = Intent{}
	case typeKeep:
		g.found.Keeps[s.i] = Keep{}
	case typeChange:
		g.found.Changes[s.i] = Change{}
	case typeHead, typeDrop: // have no place
	}
}

// order returns the nonces of the records, as the last of each was written.
func (g *gathering) order() []credential.Nonce {
	var list []credential.Nonce
	seen := make(map[credential.Nonce]bool, len(g.where))
	for _, nonce := range slices.Backward(g.written) {
		if _, there := g.where[nonce]; there && !seen[nonce] {
			seen[nonce] = true
			list = append(list, nonce)
		}
	}
	slices.Reverse(list)
	return list
}

// records returns what was collected and not dropped.
func (g *gathering) records() Records {
	return Records{
		Intents: slices.DeleteFunc(g.found.Intents, func(i Intent) bool { return i.Nonce.IsZero() }),
		Keeps:   slices.DeleteFunc(g.found.Keeps, func(k Keep) bool { return k.Nonce.IsZero() }),
		Changes: slices.DeleteFunc(g.found.Changes, func(c Change) bool { return c.Nonce.IsZero() }),
	}
}
