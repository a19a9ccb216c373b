package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// frameAt is one frame of a test's file.
type frameAt struct {
	off, size int64
	apply     func(*gathering) // does what the frame says
}

// smallJournal writes a journal by its own code and returns the file and its
// frames, followed by zeros that were allocated and not used.
func smallJournal(t testing.TB) (file []byte, frames []frameAt) {
	t.Helper()
	b := setup(t, Options{SegmentSize: 4096, MaxReply: 64})
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(1)}))
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(2), intent(3)}))
	require.NoError(t, b.Keep(keep(2, "the reply to number 2")))
	require.NoError(t, b.Change(t.Context(), change(4, "a change")))
	b.Drop(nonce(1))
	require.NoError(t, b.Keep(keep(3, "another reply")))
	require.NoError(t, b.Close())
	file, err := os.ReadFile(b.file())
	require.NoError(t, err)

	w, f := newWindow(bytes.NewReader(file), int64(len(file))), newFramer(b.owner)
	for off := int64(0); ; {
		h, payload, reason, err := w.frame(f, off)
		require.NoError(t, err)
		if reason != "" {
			break
		}
		payload = slices.Clone(payload)
		frames = append(frames, frameAt{off, h.size(), func(g *gathering) { require.NoError(t, g.add(h, payload, off)) }})
		off += h.size()
	}
	require.Len(t, frames, 8, "head, 3 intents, keep, change, drop, keep")
	return file, frames
}

// expect returns the records of those frames that pass the filter.
func expect(frames []frameAt, pass func(frameAt) bool) Records {
	g := newGathering("")
	for _, f := range frames {
		if pass(f) {
			f.apply(g)
		}
	}
	return g.records()
}

func read(t testing.TB, file []byte) *gathering {
	t.Helper()
	g, err := replay(bytes.NewReader(file), int64(len(file)), "owner-1", "test.wal")
	require.NoError(t, err)
	return g
}

// TestEveryPrefix cuts a file at every byte: what comes back is what the whole
// frames before the cut say, and nothing is taken for damage.
func TestEveryPrefix(t *testing.T) {
	t.Parallel()
	file, frames := smallJournal(t)
	end := frames[len(frames)-1].off + frames[len(frames)-1].size
	for cut := range end + 1 {
		// The last bytes of a frame are padding, without which it is whole.
		want := expect(frames, func(f frameAt) bool {
			length := binary.LittleEndian.Uint32(file[f.off:])
			return f.off+headerSize+int64(length) <= cut
		})
		for name, cutFile := range map[string][]byte{
			"cut off":    file[:cut],
			"never sync": append(slices.Clone(file[:cut]), make([]byte, int64(len(file))-cut)...),
		} {
			g := read(t, cutFile)
			require.Equal(t, want, g.records(), "%s at %d", name, cut)
			if cut >= frames[0].size {
				require.Empty(t, g.corrupt, "%s at %d", name, cut)
			}
		}
	}
	assert.Zero(t, read(t, file).torn)
	torn := read(t, file[:end-12])
	assert.Positive(t, torn.torn, "what was cut off is counted")
}

// TestEveryDamagedByte changes every byte: only the frame that it belongs to
// is lost, and unless that is the last one it is reported with its place.
func TestEveryDamagedByte(t *testing.T) {
	t.Parallel()
	file, frames := smallJournal(t)
	for i, hit := range frames {
		payloadEnd := hit.off + headerSize + int64(binary.LittleEndian.Uint32(file[hit.off:]))
		for at := hit.off; at < hit.off+hit.size; at++ {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				damaged := slices.Clone(file)
				damaged[at] ^= flip
				g := read(t, damaged)
				what := fmt.Sprintf("byte %d of frame %d ^ %#x", at-hit.off, i, flip)
				if at >= payloadEnd { // padding
					require.Equal(t, expect(frames, func(frameAt) bool { return true }), g.records(), what)
					continue
				}
				want := expect(frames, func(f frameAt) bool { return f.off != hit.off })
				require.Equal(t, want, g.records(), what)
				if i == len(frames)-1 {
					require.Empty(t, g.corrupt, what)
					require.Positive(t, g.torn, what)
					continue
				}
				require.Len(t, g.corrupt, 1, what)
				require.Equal(t, hit.off, g.corrupt[0].Offset, what)
				require.Equal(t, hit.size, g.corrupt[0].Length, what)
				require.Contains(t, g.corrupt[0].Error(), "test.wal", what)
			}
		}
	}
}

// TestLostStretch takes out whole stretches, as a disk does that loses pages.
func TestLostStretch(t *testing.T) {
	t.Parallel()
	file, frames := smallJournal(t)
	for from := range frames {
		for to := from + 1; to < len(frames); to++ {
			for name, fill := range map[string]byte{"zeros": 0, "ones": 0xff} {
				damaged := slices.Clone(file)
				lost := damaged[frames[from].off:frames[to].off]
				copy(lost, bytes.Repeat([]byte{fill}, len(lost)))
				g := read(t, damaged)
				require.Equal(t, expect(frames, func(f frameAt) bool {
					return f.off < frames[from].off || f.off >= frames[to].off
				}), g.records(), name)
				require.Len(t, g.corrupt, 1, name)
				require.Equal(t, frames[from].off, g.corrupt[0].Offset, name)
				require.EqualValues(t, len(lost), g.corrupt[0].Length, name)
			}
		}
	}
}

func TestNotAJournal(t *testing.T) {
	t.Parallel()
	file, _ := smallJournal(t)
	for name, content := range map[string][]byte{
		"empty":           nil,
		"zeros":           make([]byte, 8192),
		"text":            []byte(strings.Repeat("something else ", 1000)),
		"another owner's": bytes.ReplaceAll(file, []byte("owner-1"), []byte("owner-2")),
	} {
		g, err := replay(bytes.NewReader(content), int64(len(content)), "owner-2", "test.wal")
		require.NoError(t, err, name)
		assert.Empty(t, g.records(), name)
		require.Len(t, g.corrupt, 1, name)
		assert.EqualValues(t, len(content), g.corrupt[0].Length, name)
	}
}

// TestFrameInsideAPayload keeps the bytes of a whole record inside another,
// which is then damaged: the search for the next record must not find it,
// unless it was made for this very file.
func TestFrameInsideAPayload(t *testing.T) {
	t.Parallel()
	k := keep(1, "planted")
	planted := newFramer("owner-2").appendKeep(nil, &k)
	f := newFramer("owner-1")
	file := f.head("owner-1")
	carrier := keep(2, string(bytes.Repeat(planted, 20)))
	at := len(file)
	file = f.appendKeep(file, &carrier)
	last := keep(3, "last")
	file = f.appendKeep(file, &last)
	file[at] ^= 0xff
	g := read(t, file)
	assert.Equal(t, []Keep{last}, g.records().Keeps)
	assert.Len(t, g.corrupt, 1)
}

// TestContentThatMakesNoSense has sound frames around payloads that no version
// of the program writes.
func TestContentThatMakesNoSense(t *testing.T) {
	t.Parallel()
	f := newFramer("owner-1")
	i, c := intent(1), change(3, "x")
	c.Kind = 9
	badID := intent(4)
	badID.ID = "../x"
	frame := func(b []byte, typ frameType, payload []byte) []byte {
		b, start := f.begin(b)
		return f.end(append(b, payload...), start, typ)
	}
	for name, add := range map[string]func([]byte) []byte{
		"unknown type":     func(b []byte) []byte { return frame(b, 77, []byte("payload")) },
		"short intent":     func(b []byte) []byte { return frame(b, typeIntent, i.append(nil)[:20]) },
		"longer intent":    func(b []byte) []byte { return frame(b, typeIntent, append(i.append(nil), 0)) },
		"intent no nonce":  func(b []byte) []byte { return frame(b, typeIntent, new(Intent).append(nil)) },
		"intent's ID":      func(b []byte) []byte { return f.appendIntent(b, &badID) },
		"kind of a change": func(b []byte) []byte { return f.appendChange(b, &c) },
		"endless keep":     func(b []byte) []byte { return frame(b, typeKeep, append(i.append(nil), 0xff, 0xff, 0xff, 0x7f)) },
		"short drop":       func(b []byte) []byte { return frame(b, typeDrop, []byte{1, 2, 3}) },
	} {
		file := f.head("owner-1")
		at := int64(len(file))
		file = add(file)
		size := int64(len(file)) - at
		file = f.appendIntent(file, &i)
		g := read(t, file)
		require.Equal(t, []Intent{i}, g.records().Intents, name)
		require.Len(t, g.corrupt, 1, name)
		require.Equal(t, at, g.corrupt[0].Offset, name)
		require.Equal(t, size, g.corrupt[0].Length, name)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(1)}))
	require.NoError(t, b.Close())
	file, err := os.ReadFile(b.file())
	require.NoError(t, err)
	f := newFramer(b.owner)
	at := len(f.head(b.owner))
	file[at+13]++
	binary.LittleEndian.PutUint32(file[at+8:], f.check(file[at:at+headerSize]))
	patch(t, b.file(), at, file[at:at+headerSize])

	found, err := Adopt(b.dir, "")
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, b.file())
	assert.Empty(t, found)
	_, known, err := Alive(b.dir, b.owner)
	require.NoError(t, err)
	assert.True(t, known, "the file stays")
}

func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	file, _ := smallJournal(t)
	_, err := replay(bytes.NewReader(file[:100]), int64(len(file)), "owner-1", "test.wal")
	require.ErrorIs(t, err, io.EOF)
}

// FuzzReplay reads any file: it must end, not fail, and collect only records
// that could have been written.
func FuzzReplay(f *testing.F) {
	file, frames := smallJournal(f)
	end := frames[len(frames)-1].off + frames[len(frames)-1].size
	f.Add(file[:end+64])
	for i := range frames {
		f.Add(file[:frames[i].off+9])
		f.Add(slices.Concat(file[:frames[i].off], file[frames[i].off+8:end]))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		g, err := replay(bytes.NewReader(file), int64(len(file)), "owner-1", "test.wal")
		if err != nil {
			require.ErrorIs(t, err, ErrNewer)
			return
		}
		skipped := g.torn
		for _, c := range g.corrupt {
			require.GreaterOrEqual(t, c.Offset, int64(0))
			require.LessOrEqual(t, c.Offset+c.Length, int64(len(file)))
			skipped += c.Length
		}
		require.LessOrEqual(t, skipped, int64(len(file)))
		r := g.records()
		for i := range r.Intents {
			require.NoError(t, r.Intents[i].check())
		}
		for i := range r.Keeps {
			require.NoError(t, r.Keeps[i].check())
		}
		for i := range r.Changes {
			require.NoError(t, r.Changes[i].check())
		}
	})
}

// FuzzPayload takes apart payloads whose frame is sound: what is accepted
// means the same when it is written again.
func FuzzPayload(f *testing.F) {
	i, k, c := intent(1), keep(2, "reply"), change(3, "change")
	f.Add(byte(typeIntent), i.append(nil))
	f.Add(byte(typeKeep), k.append(nil))
	f.Add(byte(typeChange), c.append(nil))
	f.Add(byte(typeDrop), make([]byte, 16))
	f.Fuzz(func(t *testing.T, typ byte, payload []byte) {
		switch frameType(typ) {
		case typeIntent:
			if got, err := parseIntent(payload); err == nil {
				again, err := parseIntent(got.append(nil))
				require.NoError(t, err)
				require.Equal(t, got, again)
			}
		case typeKeep:
			if got, err := parseKeep(payload); err == nil {
				again, err := parseKeep(got.append(nil))
				require.NoError(t, err)
				require.Equal(t, got, again)
			}
		case typeChange:
			if got, err := parseChange(payload); err == nil {
				again, err := parseChange(got.append(nil))
				require.NoError(t, err)
				require.Equal(t, got, again)
			}
		default:
			if got, err := parseDrop(payload); err == nil {
				require.Equal(t, payload, got[:])
			}
		}
	})
}
