package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
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
		send(&requests{to: server, asked: replies.asked}, client, replies)
		_ = server.Close()
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			if _, werr := client.Write(buf[:n]); werr != nil {
				break // the replica has left: whoever reads from it finds out how
			}
			replies.arrived(buf[:n], !left(client))
		}
		if err != nil {
			replies.ended(theWay)
			if errors.Is(err, syscall.ECONNRESET) {
				reset(client)
			}
			break
		}
	}
	_ = client.Close()
	up.Wait()
}

// send carries what the replica says, until one of both sides is gone.
func send(to *requests, client net.Conn, replies *replies) {
	buf := make([]byte, 32<<10)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			if werr := to.pass(buf[:n]); werr != nil {
				replies.ended(theWay)
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.ECONNRESET):
			replies.ended(theReplicaRoughly)
			return
		case errors.Is(err, io.EOF):
			replies.ended(theReplica)
			return
		default: // we closed it
			replies.ended(theWay)
			return
		}
	}
}

// maxHead bounds what is kept of the head of a request or a reply.
const maxHead = 1 << 20

// requests carries the requests of one connection, each with its number in its
// head.
type requests struct {
	to    io.Writer
	asked func() int // the number of the next one

	head  []byte
	body  int  // bytes that are still to come
	blind bool // something came that cannot be followed
}

func (r *requests) pass(data []byte) error {
	for len(data) > 0 {
		switch {
		case r.blind:
			_, err := r.to.Write(data)
			return err
		case r.body > 0:
			n := min(r.body, len(data))
			if _, err := r.to.Write(data[:n]); err != nil {
				return err
			}
			r.body -= n
			data = data[n:]
			continue
		}
		r.head = append(r.head, data...)
		end := bytes.Index(r.head, []byte("\r\n\r\n"))
		switch {
		case end < 0 && len(r.head) <= maxHead:
			return nil
		case end < 0:
			data, r.head, r.blind = r.head, nil, true
			continue
		}
		head := string(r.head[:end])
		data, r.head = bytes.Clone(r.head[end+4:]), nil
		length, err := strconv.Atoi(field(head, "Content-Length"))
		r.blind = err != nil
		r.body = length
		if _, err := fmt.Fprintf(r.to, "%s\r\n%s: %d\r\n\r\n", head, wayHeader, r.asked()); err != nil {
			return err
		}
	}
	return nil
}

// field is the value of a header's field, "" where there is none.
func field(head, name string) string {
	for line := range strings.SplitSeq(head, "\r\n") {
		if key, value, _ := strings.Cut(line, ":"); http.CanonicalHeaderKey(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
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

// who ended a connection.
type who int

const (
	theWay            who = iota // the provider, or what is between
	theReplica                   // which had read all
	theReplicaRoughly            // or had not: then its kernel sends a reset
)

// readLimit is how much of a reply the program reads. If more was handed over
// before a reset, what came first was read.
const readLimit = 1 << 20

// tokenShape is a refresh token of the practice provider, and a byte that shows
// where it ends.
var tokenShape = regexp.MustCompile(`\brt_[0-9A-Za-z]{32}[^0-9A-Za-z]`)

// replies reads along the answers of one connection.
type replies struct {
	calls *calls

	mu       sync.Mutex
	over     bool   // one of both sides has left
	blind    bool   // something came that cannot be followed
	head     []byte // of a reply
	body     int    // bytes that are still to come
	tail     []byte // of what came, where a token may have begun
	passed   int    // bytes of the reply that were handed over
	on       int    // the request that was made last
	complete bool   // its whole reply was handed over
}

// asked says that the next request comes. Whoever makes it has read the reply
// before it.
func (r *replies) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on, r.complete, r.tail, r.passed = r.calls.ask(), false, nil, 0
	return r.on
}

// arrived takes note of bytes that were handed to the replica.
func (r *replies) arrived(data []byte, there bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || !there || r.on == 0 {
		return
	}
	r.look(data)
	for len(data) > 0 && !r.blind {
		if r.body > 0 {
			n := min(r.body, len(data))
			r.body -= n
			data = data[n:]
			r.finish()
			continue
		}
		r.head = append(r.head, data...)
		end := bytes.Index(r.head, []byte("\r\n\r\n"))
		if end < 0 {
			r.blind = len(r.head) > maxHead
			return
		}
		head := string(r.head[:end])
		data, r.head = bytes.Clone(r.head[end+4:]), nil
		r.begin(head)
	}
}

// look looks for a whole refresh token.
func (r *replies) look(data []byte) {
	r.passed += len(data)
	r.tail = append(r.tail, data...)
	if tokenShape.Match(r.tail) {
		r.calls.mark(r.on, func(w *way, now int64) {
			if w.Found == 0 {
				w.Found = now
			}
		})
	}
	const most = 64 // more than a token is long
	if len(r.tail) > most {
		r.tail = bytes.Clone(r.tail[len(r.tail)-most:])
	}
}

// begin reads the header of a reply.
func (r *replies) begin(head string) {
	if strings.HasPrefix(head, "HTTP/1.1 1") {
		return // an interim one; the real one follows
	}
	length, err := strconv.Atoi(field(head, "Content-Length"))
	if err != nil {
		r.blind = true
		return
	}
	r.body = length
	r.finish()
}

// finish notes the end of a reply.
func (r *replies) finish() {
	if r.body == 0 {
		r.complete = true
		r.calls.mark(r.on, func(w *way, now int64) { w.Delivered = now })
	}
}

// ended says who has ended the connection; the first word counts. A reset by the
// replica takes back the reply in flight, the one to the last request: the
// kernel sends one when a process ends with bytes that it has not read. Earlier
// replies were read.
func (r *replies) ended(by who) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.over = true
	if r.on == 0 || r.complete && by != theReplicaRoughly {
		return
	}
	r.calls.mark(r.on, func(w *way, now int64) {
		w.Ended, w.Left = now, by != theWay
		if by == theReplicaRoughly {
			w.Delivered = 0
			if r.passed <= readLimit {
				w.Found = 0
			}
		}
	})
}
