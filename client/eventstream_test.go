package client

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// read returns the frames of a stream and the error at its end.
func read(in *frames) ([]frame, error) {
	var all []frame
	for {
		f, err := in.next()
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text  string
		want  []frame
		retry time.Duration
		err   error // io.EOF unless set
	}{
		"nothing":       {},
		"signs of life": {text: ":\n\n: here\n\n\n"},
		"an event":      {text: "id: 1\nevent: a\ndata: x\n\n", want: []frame{{kind: "a", data: "x", id: "1"}}},
		"a cursor alone": {
			text: "retry: 2000\nid: 1\n\ndata: x\n\n", retry: 2 * time.Second,
			want: []frame{{id: "1"}, {data: "x", id: "1"}},
		},
		"lines of data":          {text: "data: x\ndata:  y\ndata\n\n", want: []frame{{data: "x\n y\n"}}},
		"no space":               {text: "id:1\ndata:x\n\n", want: []frame{{data: "x", id: "1"}}},
		"CR LF":                  {text: "id: 1\r\ndata: x\r\n\r\ndata: y\r\n\r\n", want: []frame{{data: "x", id: "1"}, {data: "y", id: "1"}}},
		"CR":                     {text: "id: 1\rdata: x\r\rdata: y\r\r", want: []frame{{data: "x", id: "1"}, {data: "y", id: "1"}}},
		"all kinds of line ends": {text: "id: 1\rdata: x\r\n\ndata: y\n\r\n", want: []frame{{data: "x", id: "1"}, {data: "y", id: "1"}}},
		"a byte order mark":      {text: "\xef\xbb\xbfdata: x\n\n", want: []frame{{data: "x"}}},
		"an ID with NUL":         {text: "id: 1\n\nid: 2\x003\ndata: x\n\n", want: []frame{{id: "1"}, {data: "x", id: "1"}}},
		"a field of the future":  {text: "future: 1\ndata: x\n\n", want: []frame{{data: "x"}}},
		"a retry that is none":   {text: "retry: soon\nretry: -1\nretry: 99999999999999999999\ndata: x\n\n", want: []frame{{data: "x"}}},
		"cut between events":     {text: "data: x\n\n", want: []frame{{data: "x"}}},
		"cut within an event":    {text: "data: x\n\nid: 2\ndata: y\n", want: []frame{{data: "x"}}, err: io.ErrUnexpectedEOF},
		"cut within a line":      {text: "data: x\n\nid: 2\ndata: y", want: []frame{{data: "x"}}, err: io.ErrUnexpectedEOF},
		"a line without end":     {text: "data: " + strings.Repeat("x", maxFrame), err: errFrameTooLong},
		"lines without end":      {text: strings.Repeat("data: "+strings.Repeat("x", 1<<16)+"\n", 20), err: errFrameTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.err == nil {
				tt.err = io.EOF
			}
			for how, from := range map[string]io.Reader{
				"at once":      strings.NewReader(tt.text),
				"byte by byte": iotest.OneByteReader(strings.NewReader(tt.text)),
			} {
				in := newFrames(from, "")
				got, err := read(in)
				assert.Equal(t, tt.want, got, how)
				require.ErrorIs(t, err, tt.err, how)
				assert.Equal(t, tt.retry, in.retry, how)
			}
		})
	}
}

func TestFramesTellOfABrokenConnection(t *testing.T) {
	t.Parallel()
	broken := errors.New("reset by peer")
	got, err := read(newFrames(io.MultiReader(strings.NewReader("data: x\n\ndata: y\n"), iotest.ErrReader(broken)), ""))
	assert.Equal(t, []frame{{data: "x"}}, got)
	require.ErrorIs(t, err, broken)
}

// A line that ends with CR must not wait for the byte behind it.
func TestAnEventIsHandedOutBeforeTheNextByte(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = r.Close() })
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, "data: x\r\r")
		sent <- err
	}()
	got, err := newFrames(r, "").next()
	require.NoError(t, err)
	assert.Equal(t, "x", got.data)
	require.NoError(t, <-sent)
}

func FuzzFrames(f *testing.F) {
	f.Add("id: 1\r\nevent: a\r\ndata: x\r\n\r\n:\n\nretry: 5\n\n")
	f.Add("\xef\xbb\xbfdata\n\n\r\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		whole, err := read(newFrames(strings.NewReader(text), ""))
		require.Error(t, err)
		slow, slowErr := read(newFrames(iotest.OneByteReader(strings.NewReader(text)), ""))
		require.Equal(t, whole, slow)
		require.Equal(t, err, slowErr)
		for _, one := range whole {
			require.NotContains(t, one.id, "\x00")
			require.NotContains(t, one.kind+one.id, "\n")
		}
	})
}
