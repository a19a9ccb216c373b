package chaos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A tap stands right before a replica, behind everything that spoils the way
// to a provider. It carries bytes and knows which replies reached the replica:
// what the provider handed to a proxy may never have come.
type tap struct {
	to    string // where it carries to
	calls *calls

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// serve carries until ctx ends.
func (t *tap) serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		_ = ln.Close()
		t.mu.Lock()
		defer t.mu.Unlock()
		for c := range t.conns {
			_ = c.Close()
		}
	})
	defer stop()
	for {
		client, err := ln.Accept()
		if err != nil {
			break
		}
		t.wg.Go(func() { t.carry(ctx, client) })
	}
	t.wg.Wait()
	return nil
}

// hold keeps a connection for the end; it is false when that has come.
func (t *tap) hold(ctx context.Context, c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[c] = true
	return ctx.Err() == nil
}

func (t *tap) letGo(c net.Conn) {
	_ = c.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

func (t *tap) carry(ctx context.Context, client net.Conn) {
	defer t.letGo(client)
	server, err := new(net.Dialer).DialContext(ctx, "tcp", t.to)
	if err != nil {
		reset(client)
		return
	}
	defer t.letGo(server)
	if !t.hold(ctx, client) || !t.hold(ctx, server) {
		return
	}
	replies := &replies{calls: t.calls}
	var up sync.WaitGroup
	up.Go(func() {
		_, err := io.Copy(server, client)
		replies.ended(errors.Is(err, syscall.ECONNRESET))
		_ = server.Close()
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			if _, werr := client.Write(buf[:n]); werr != nil {
				break
			}
			replies.arrived(buf[:n], !left(client))
		}
		if err != nil {
			if errors.Is(err, syscall.ECONNRESET) {
				reset(client)
			}
			break
		}
	}
	_ = client.Close()
	up.Wait()
}

// reset ends a connection in the rough way.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// left reports whether the other side has closed the connection, without
// reading from it.
func left(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = (err == nil && n == 0) || errors.Is(err, unix.ECONNRESET)
	})
	return gone || err != nil
}

// replies reads along the answers of one connection.
type replies struct {
	calls *calls

	mu    sync.Mutex
	over  bool // the replica has left
	blind bool // something came that cannot be followed
	head  []byte
	body  int // bytes that are still to come
	call  int // whose reply it is
	last  int // the call that was answered last
}

// arrived takes note of bytes that were handed to the replica.
func (r *replies) arrived(data []byte, there bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(data) > 0 && !r.blind && !r.over && there {
		if r.body > 0 {
			n := min(r.body, len(data))
			r.body -= n
			data = data[n:]
			r.complete()
			continue
		}
		r.head = append(r.head, data...)
		end := bytes.Index(r.head, []byte("\r\n\r\n"))
		if end < 0 {
			r.blind = len(r.head) > 1<<20
			return
		}
		head := string(r.head[:end])
		data, r.head = bytes.Clone(r.head[end+4:]), nil
		r.begin(head)
	}
}

// begin reads the header of a reply.
func (r *replies) begin(head string) {
	lines := strings.Split(head, "\r\n")
	if strings.HasPrefix(lines[0], "HTTP/1.1 1") {
		return // an interim one; the real one follows
	}
	length := -1
	r.call = 0
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch http.CanonicalHeaderKey(name) {
		case "Content-Length":
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				length = n
			}
		case callHeader:
			r.call, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	if length < 0 {
		r.blind = true
		return
	}
	r.body = length
	r.complete()
}

func (r *replies) complete() {
	if r.body == 0 && r.call != 0 {
		r.calls.delivered(r.call)
		r.last = r.call
	}
}

// ended says that the replica has left. A reset takes back the last reply: the
// kernel sends one when a process ends with bytes that it has not read.
func (r *replies) ended(wasReset bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if wasReset && r.last != 0 {
		r.calls.takeBack(r.last)
	}
}
