package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A reply is told of by whoever reads it, once and whole, before the call
// returns; one that cannot be told whole or plain is left to the call.
func TestWhatCameIsToldAtOnce(t *testing.T) {
	t.Parallel()
	const body = `{"refresh_token":"next"}`
	long := strings.Repeat("x", 3*firstBuffer)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(body))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	length := func(body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for name, c := range map[string]struct {
		parts []string
		told  []string
	}{
		"of known length":  {[]string{length(body)}, []string{body}},
		"in two":           {[]string{length(body)[:50], length(body)[50:]}, []string{body}},
		"in chunks":        {[]string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + body[:5] + "\r", "\n13\r\n" + body[5:] + "\r\n0\r\n\r\n"}, []string{body}},
		"after an interim": {[]string{"HTTP/1.1 103 Early Hints\r\n\r\n" + length(body)}, []string{body}},
		"long":             {[]string{length(long)}, []string{long}},
		"an error":         {[]string{strings.Replace(length(body), "200 OK", "400 No", 1)}, []string{body}},
		"compressed":       {[]string{length(packed.String())}, nil},
		"cut off":          {[]string{length(body)[:55]}, nil},
		"until the end":    {[]string{"HTTP/1.1 200 OK\r\n\r\n" + body}, nil},
		"empty":            {[]string{length("")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(p *peer) {
				p.request()
				for _, part := range c.parts {
					p.say(part)
				}
			})
			var told []string
			request := post(s.url(), "refresh_token=old")
			request.Came = func(body []byte) { told = append(told, string(body)) }
			reply, err := newClient(t, Options{}).Do(t.Context(), request)
			require.NoError(t, err)
			assert.Equal(t, c.told, told)
			if told != nil {
				assert.Equal(t, told[0], string(reply.Body), "as the call has it")
			}
			reply.Release()
		})
	}
}

// What was read for whoever waits for a reply is wiped, also of one that breaks off.
func TestWhatCameIsWiped(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"short": "secret", "long": strings.Repeat("secret", firstBuffer)} {
		for _, missing := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, %d missing", name, missing), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, func(p *peer) {
					p.request()
					p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body)+missing, body))
				})
				var mu sync.Mutex
				var used []*[]byte
				c := newClient(t, Options{})
				c.buffers.pool.New = func() any {
					mu.Lock()
					defer mu.Unlock()
					buf := new(make([]byte, 0, firstBuffer))
					used = append(used, buf)
					return buf
				}
				request := post(s.url(), "refresh_token=old")
				request.Came = func([]byte) {}
				reply, err := c.Do(t.Context(), request)
				require.NoError(t, err)
				assert.Equal(t, body, string(reply.Body))
				reply.Release()
				mu.Lock()
				defer mu.Unlock()
				require.NotEmpty(t, used)
				for _, buf := range used {
					assert.False(t, bytes.Contains((*buf)[:cap(*buf)], []byte("secret")))
				}
			})
		}
	}
}

// A call that is given up while its reply is being read returns when whoever
// reads it has told of it, and not before.
func TestACallThatIsGivenUpWaitsForItsReader(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := newServer(t, func(p *peer) {
		p.request()
		p.say(goodReply)
		p.gone()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := make(chan struct{})
	var told atomic.Bool
	request := post(s.url(), "refresh_token=old")
	request.Safe = true // so that the test can end it
	request.Came = func([]byte) {
		cancel()
		<-gone // the connection is closed
		select {
		case <-returned:
		case <-time.After(100 * time.Millisecond): // for a call that does not wait
			told.Store(true)
		}
	}
	_, err := newClient(t, Options{}).Do(ctx, request)
	close(returned)
	require.Error(t, err)
	assert.True(t, told.Load())
}

// closing is a connection of which the reply is read just as it is closed.
type closing struct {
	net.Conn

	read, closed chan struct{}
}

func (c *closing) Read(p []byte) (int, error) {
	close(c.read)
	<-c.closed
	return copy(p, goodReply), nil
}

func (c *closing) Write(p []byte) (int, error) { return len(p), nil }

func (c *closing) Close() error {
	close(c.closed)
	return nil
}

// What was read in the moment in which the call was given up is told of as well.
func TestTheLastReadIsWaitedFor(t *testing.T) {
	t.Parallel()
	var told atomic.Bool
	below := &closing{read: make(chan struct{}), closed: make(chan struct{})}
	c := &conn{Conn: below}
	c.serve(nil, nil, nil, &arrival{buffers: new(buffers), came: func(body []byte) { told.Store(string(body) == "ok") }})
	_, err := c.Write([]byte("POST"))
	require.NoError(t, err)
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() { _, _ = c.Read(make([]byte, 100)) })
	<-below.read
	c.finish()
	assert.True(t, told.Load())
}
