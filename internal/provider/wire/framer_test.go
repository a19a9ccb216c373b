package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFramer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reply string // that belongs to the call
		more  string // that came behind it
		after frame
	}{
		"length":               {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "", frameIdle},
		"length, excess":       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", " world", frameLost},
		"length zero":          {"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", "x", frameLost},
		"length, not all":      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "", frameBody},
		"length twice":         {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "", frameIdle},
		"length, line feeds":   {"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "x", frameLost},
		"length, old":          {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", "x", frameLost},
		"folded":               {"HTTP/1.1 200 OK\r\nX: a\r\n b: c\r\nContent-Length: 5\r\n\r\nhello", "x", frameLost},
		"interim":              {"HTTP/1.1 103 Early\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "y", frameLost},
		"no content":           {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "hello", frameLost},
		"chunked":              {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "", frameIdle},
		"chunked, excess":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n", "0\r\n\r\n", frameLost},
		"chunked, and length":  {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "x", frameLost},
		"chunked, bad size":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nanything", "", frameLost},
		"until the end":        {"HTTP/1.1 200 OK\r\nX: y\r\n\r\nanything\r\n\r\nat all", "", frameUntilClose},
		"lengths that differ":  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "", frameLost},
		"length folded":        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 5\r\n\r\nhello", "", frameLost},
		"another encoding":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nhello", "", frameLost},
		"switching protocols":  {"HTTP/1.1 101 Switching Protocols\r\n\r\nanything", "", frameLost},
		"not HTTP":             {"SSH-2.0-OpenSSH_9.2\r\nanything", "", frameLost},
		"a number below these": {"HTTP/1.1 20 OK\r\n\r\n", "", frameLost},
		"a very long line":     {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 5000) + "\r\nContent-Length: 2\r\n\r\nok", "x", frameLost},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := []byte(test.reply + test.more)
			var whole framer
			require.NoError(t, whole.begin())
			assert.Equal(t, len(test.reply), whole.feed(in))
			assert.Equal(t, test.after, whole.at)

			var bytewise framer
			require.NoError(t, bytewise.begin())
			taken := 0
			for i := range in {
				taken += bytewise.feed(in[i : i+1])
			}
			assert.Equal(t, test.after, bytewise.at)
			if test.more != "" {
				assert.Equal(t, len(test.reply)+len(test.more)-1, taken, "all but the first byte that is too many")
			}
		})
	}
}

// A connection serves the next call only if the last reply ended properly.
func TestFramerBegin(t *testing.T) {
	t.Parallel()
	const reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	var f framer
	for range 3 {
		require.NoError(t, f.begin())
		assert.Equal(t, len(reply), f.feed([]byte(reply)))
	}
	require.NoError(t, f.begin())
	f.feed([]byte(reply[:10]))
	require.NoError(t, f.begin(), "a request may be written in pieces and be answered early")
	assert.Equal(t, len(reply)-10, f.feed([]byte(reply[10:]+"x")))
	require.ErrorIs(t, f.begin(), errUnfit)
}

// FuzzFramer compares the framer with net/http: where both read a whole reply
// they end it at the same byte, whether it comes at once or in pieces.
func FuzzFramer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n"), uint8(3))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\nmore"), uint8(1))
	f.Add([]byte("HTTP/1.1 204 OK\r\nX: y\r\n z\r\n\r\nmore"), uint8(7))
	f.Add([]byte("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nab"), uint8(200))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		source := bytes.NewReader(in)
		buffered := bufio.NewReaderSize(source, 1<<16)
		resp, err := http.ReadResponse(buffered, &http.Request{Method: http.MethodPost})
		ended := err == nil && resp.StatusCode >= 200 && !resp.Close
		if err == nil {
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				ended = false
			}
			_ = resp.Body.Close() // of a body that broke off that is an error
		}
		used := len(in) - source.Len() - buffered.Buffered()

		var fr framer
		require.NoError(t, fr.begin())
		taken, step := 0, max(int(piece), 1)
		for taken < len(in) {
			n := fr.feed(in[taken:min(taken+step, len(in))])
			taken += n
			if n == 0 {
				break
			}
			if fr.at == frameIdle {
				break
			}
		}
		if ended && len(in) < 1<<16 {
			switch fr.at {
			case frameIdle, frameLost:
				if fr.at == frameIdle {
					assert.Equal(t, used, taken)
				}
			case frameStatus, frameHeader, frameBody, frameChunkSize, frameChunk, frameTrailer, frameUntilClose:
				t.Errorf("net/http has read a whole reply of %d bytes, the framer is at %d after %d", used, fr.at, taken)
			}
		}
	})
}
