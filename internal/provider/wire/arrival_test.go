package wire

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

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
