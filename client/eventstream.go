package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxFrame bounds one event of a stream in bytes, and one line of it. refreshd
// sends a few hundred; 32 labels of the greatest length are 10 KiB.
const maxFrame = 1 << 20

// errFrameTooLong says that a stream is not one of refreshd's.
var errFrameTooLong = errors.New("the stream sent an event of more than 1 MiB")

// frame is one event of a stream, or the news of a cursor alone.
type frame struct {
	kind string // its type; "" for none
	data string // its lines; "" for none
	id   string // the last ID that the stream has told, at the end of this frame
}

// frames reads Server-Sent Events as the HTML standard (section 9.2.6) says.
type frames struct {
	lines *bufio.Scanner
	id    string        // as of the last frame
	retry time.Duration // as the stream told last; 0 if it did not
}

func newFrames(r io.Reader, id string) *frames {
	f := &frames{lines: bufio.NewScanner(r), id: id}
	f.lines.Buffer(make([]byte, 0, 4<<10), maxFrame)
	f.lines.Split(splitLines())
	return f
}

// next returns the next frame. It ends with [io.EOF] where the stream ends
// between two frames, with [io.ErrUnexpectedEOF] where it was cut off within
// one: that one is not handed out.
func (f *frames) next() (frame, error) {
	var data strings.Builder
	var kind string
	id, begun := f.id, false
	for f.lines.Scan() {
		line := f.lines.Bytes()
		if len(line) == 0 {
			if !begun {
				continue
			}
			f.id = id
			return frame{kind: kind, data: strings.TrimSuffix(data.String(), "\n"), id: id}, nil
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(name) {
		case "":
			continue // a comment
		case "data":
			if data.Len()+len(value) > maxFrame {
				return frame{}, errFrameTooLong
			}
			data.Write(value)
			data.WriteByte('\n')
		case "event":
			kind = string(value)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				id = string(value)
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				f.retry = time.Duration(ms) * time.Millisecond
			}
		}
		begun = true
	}
	switch err := f.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return frame{}, errFrameTooLong
	case err != nil:
		return frame{}, fmt.Errorf("the stream broke off: %w", err)
	case begun:
		return frame{}, io.ErrUnexpectedEOF
	default:
		return frame{}, io.EOF
	}
}

// splitLines returns a split function for lines that end with LF, CR LF or CR,
// and leaves a byte order mark at the beginning out. A line that ends with CR
// is handed out before it is known whether LF follows: the event behind it
// must not wait for the next.
func splitLines() bufio.SplitFunc {
	started, afterCR := false, false
	searched := 0 // bytes of the line that are known to have no end in them
	return func(data []byte, atEOF bool) (advance int, token []byte, err error) {
		skip := 0
		if !started {
			bom := []byte("\xef\xbb\xbf")
			if !atEOF && len(data) < len(bom) && bytes.HasPrefix(bom, data) {
				return 0, nil, nil
			}
			started = true
			if bytes.HasPrefix(data, bom) {
				skip = len(bom)
			}
		}
		if afterCR && len(data) > 0 {
			afterCR = false
			if data[0] == '\n' {
				skip = 1
			}
		}
		rest := data[skip:]
		end := bytes.IndexAny(rest[searched:], "\r\n")
		if end < 0 {
			// What was cut off before the end of its line is no line.
			searched = len(rest)
			return skip, nil, nil
		}
		end += searched
		searched = 0
		afterCR = rest[end] == '\r'
		return skip + end + 1, rest[:end:end], nil
	}
}
