package wire

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// maxLine is how much of a header line is looked at. The names and values that
// matter are shorter.
const maxLine = 256

var (
	errUnfit       = errors.New("the connection's last reply did not end where it should")
	errUnsolicited = errors.New("the provider sent something unasked")
)

// frame is where in a reply the next byte belongs.
type frame byte

const (
	frameIdle       frame = iota // behind a reply: no byte may come
	frameStatus                  // in the status line
	frameHeader                  // in the header section
	frameBody                    // in a body of known length
	frameChunkSize               // in a chunk's first line
	frameChunk                   // in a chunk's data and the CRLF behind it
	frameTrailer                 // in the trailer section
	frameUntilClose              // in a body that ends with the connection
	frameLost                    // unknown: the connection is good for nothing more
)

// framer follows the replies on one HTTP/1.1 connection (RFC 9112 section 6)
// and knows where each ends, by the same rules as net/http. Where the two
// could disagree it is lost, which ends the connection's use.
type framer struct {
	at   frame
	line []byte // what came of the current line, at most maxLine bytes
	long bool   // the line was longer
	left int64  // bytes of the body or chunk that are still to come

	status  int
	old     bool  // HTTP/1.0, which has no chunks
	length  int64 // of Content-Length; -1 if there was none
	chunked bool
	framing bool // the last header line was about the body's length

	body func(part []byte) // receives what belongs to a body of known length; may be nil
}

// begin expects a reply. It is an error if an earlier one did not end
// properly; one that is still expected, or has begun, is no hindrance, for a
// request may be written in pieces and answered early.
func (f *framer) begin() error {
	switch f.at {
	case frameLost, frameUntilClose:
		return errUnfit
	case frameIdle:
		f.at = frameStatus
		f.resetLine()
	case frameStatus, frameHeader, frameBody, frameChunkSize, frameChunk, frameTrailer:
	}
	return nil
}

// feed takes bytes as they came and returns how many of them belong to the
// expected reply. If that is not all of them, what follows must not be used
// and the framer is lost.
func (f *framer) feed(in []byte) int {
	taken := 0
	for taken < len(in) {
		switch rest := in[taken:]; f.at {
		case frameIdle:
			f.at = frameLost
			return taken
		case frameUntilClose, frameLost:
			return len(in)
		case frameBody, frameChunk:
			n := min(f.left, int64(len(rest)))
			f.pass(rest[:n])
			f.left -= n
			taken += int(n)
			if f.left == 0 {
				f.endData()
			}
		case frameStatus, frameHeader, frameChunkSize, frameTrailer:
			taken += f.feedLine(rest)
		}
	}
	return taken
}

// pass hands on what of data, the next bytes of a body or chunk, is content: a
// chunk's last two bytes are the CRLF behind it.
func (f *framer) pass(data []byte) {
	content := int64(len(data))
	if f.at == frameChunk {
		content = min(content, max(0, f.left-int64(len("\r\n"))))
	}
	if f.body != nil && content > 0 {
		f.body(data[:content])
	}
}

// feedLine adds to the current line, acts on it when it is complete, and
// returns how much it took.
func (f *framer) feedLine(in []byte) int {
	end := bytes.IndexByte(in, '\n')
	part := in
	if end >= 0 {
		part = in[:end]
	}
	room := maxLine - len(f.line)
	f.long = f.long || len(part) > room
	f.line = append(f.line, part[:min(len(part), room)]...)
	if end < 0 {
		return len(in)
	}
	f.endLine(string(bytes.TrimSuffix(f.line, []byte("\r"))))
	f.resetLine()
	return end + 1
}

func (f *framer) resetLine() {
	f.line = f.line[:0]
	f.long = false
}

// endLine acts on a complete line.
func (f *framer) endLine(line string) {
	switch f.at {
	case frameStatus:
		f.endStatusLine(line)
	case frameHeader:
		if line == "" {
			f.endHeader()
		} else {
			f.headerLine(line)
		}
	case frameChunkSize:
		f.endChunkSize(line)
	case frameTrailer:
		if line == "" {
			f.at = frameIdle
		}
	case frameIdle, frameBody, frameChunk, frameUntilClose, frameLost:
	}
}

// endStatusLine reads a line such as "HTTP/1.1 200 OK".
func (f *framer) endStatusLine(line string) {
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	status, err := strconv.Atoi(code)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || status < 100 || status > 999 {
		f.at = frameLost
		return
	}
	f.at = frameHeader
	f.old = version == "HTTP/1.0"
	f.status, f.length, f.chunked, f.framing = status, -1, false, false
}

// headerLine takes what the header says about the body's length. A folded
// line continues the one before it, which is of interest only if that was
// about the length.
func (f *framer) headerLine(line string) {
	if line[0] == ' ' || line[0] == '\t' {
		f.lost(f.framing)
		return
	}
	name, value, _ := strings.Cut(line, ":")
	value = strings.Trim(value, " \t")
	f.framing = true
	switch {
	case strings.EqualFold(name, "Content-Length"):
		n, err := strconv.ParseUint(value, 10, 63)
		f.lost(err != nil || f.long || f.length >= 0 && f.length != int64(n))
		f.length = int64(n)
	case strings.EqualFold(name, "Transfer-Encoding") && !f.old:
		f.lost(f.chunked || f.long || !strings.EqualFold(value, "chunked"))
		f.chunked = true
	default:
		f.framing = false
	}
}

// lost gives up if it is so.
func (f *framer) lost(so bool) {
	if so {
		f.at = frameLost
	}
}

// endHeader decides how the body ends.
func (f *framer) endHeader() {
	switch {
	case f.status == http.StatusSwitchingProtocols:
		f.at = frameLost
	case f.status < 200:
		f.at = frameStatus // interim; the reply itself follows
	case f.status == http.StatusNoContent, f.status == http.StatusNotModified:
		f.at = frameIdle
	case f.chunked:
		f.at = frameChunkSize
	case f.length == 0:
		f.at = frameIdle
	case f.length > 0:
		f.at, f.left = frameBody, f.length
	default:
		f.at = frameUntilClose
	}
}

// endChunkSize reads a chunk's size in hexadecimal, perhaps with extensions.
func (f *framer) endChunkSize(line string) {
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimRight(size, " \t"), 16, 62)
	switch {
	case err != nil:
		f.at = frameLost
	case n == 0:
		f.at = frameTrailer
	default:
		f.at, f.left = frameChunk, int64(n)+int64(len("\r\n"))
	}
}

// endData acts on the end of a body or chunk.
func (f *framer) endData() {
	if f.at == frameBody {
		f.at = frameIdle
	} else {
		f.at = frameChunkSize
	}
}
