package practice_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
)

// A client whose process dies with the reply unread in its kernel's buffer did
// not get it, although every byte was taken.
func TestReplyThatDiesUnreadIsNotDelivered(t *testing.T) {
	t.Parallel()
	s := practice.New(practice.Options{})
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-served)
	})
	minted, err := s.Mint(practice.MintRequest{Count: 2})
	require.NoError(t, err)

	ask := func(m practice.Minted) net.Conn {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {m.RefreshToken}, "client_id": {"demo"}, "client_secret": {"demo-secret"}}.Encode()
		_, err = fmt.Fprintf(c, "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
		require.NoError(t, err)
		return c
	}
	entry := func(m practice.Minted) practice.Entry {
		list := s.Ledger(practice.LedgerQuery{Grant: m.Grant})
		require.Len(t, list, 1)
		return list[0]
	}

	read := ask(minted[0])
	reply, err := http.ReadResponse(bufio.NewReader(read), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, reply.StatusCode)
	require.NoError(t, reply.Body.Close())
	require.NoError(t, read.Close())

	unread := ask(minted[1])
	_, err = unread.Read(make([]byte, 1)) // the reply is there; the rest of it stays in the kernel
	require.NoError(t, err)
	require.NoError(t, unread.Close())

	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for entry(minted[1]).Delivered {
		select {
		case <-tick.C:
		case <-deadline.Done():
			t.Fatal("the reset was not noticed")
		}
	}
	assert.True(t, entry(minted[0]).Delivered)
	assert.EqualValues(t, 1, s.Summary().Undelivered)
}
