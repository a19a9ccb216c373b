package chaos

import (
	"bytes"
	"io"
	"net/http"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// callHeader numbers the replies of a token endpoint.
const callHeader = "Practice-Call"

// maxRequest bounds the body of a token request.
const maxRequest = 64 << 10

// calls knows who made each call of a provider's token endpoint, and when the
// reply reached them. A call and its entry in the ledger are matched by time:
// calls are let in one by one, so that the moment at which each was received
// lies within its own span.
type calls struct {
	door sync.Mutex // held while one call comes in

	mu   sync.Mutex
	list []call // number n is at n-1
}

type call struct {
	Replica   int   `json:"replica"`
	From      int64 `json:"from"` // Unix ns: it came in between these two
	To        int64 `json:"to"`
	Delivered int64 `json:"delivered"` // Unix ns, 0: the whole reply did not reach the replica
}

// wrap lets the calls of a replica in.
func (c *calls) wrap(replica int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			next.ServeHTTP(w, r)
			return
		}
		data, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
		if err != nil {
			panic(http.ErrAbortHandler) // the request did not come whole
		}
		c.door.Lock()
		number := c.begin(replica)
		open := sync.OnceFunc(func() {
			c.end(number)
			c.door.Unlock()
		})
		defer open()
		w.Header().Set(callHeader, strconv.Itoa(number))
		r.Body = &opening{Reader: bytes.NewReader(data), open: open}
		next.ServeHTTP(w, r)
	})
}

// opening is a body whose first reading opens the door for the next call.
type opening struct {
	*bytes.Reader

	open func()
}

func (o *opening) Read(b []byte) (int, error) {
	o.open()
	return o.Reader.Read(b)
}

func (o *opening) Close() error { return nil }

func (c *calls) begin(replica int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, call{Replica: replica, From: time.Now().UnixNano()})
	return len(c.list)
}

func (c *calls) end(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[number-1].To = time.Now().UnixNano()
}

func (c *calls) delivered(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[number-1].Delivered = time.Now().UnixNano()
}

func (c *calls) takeBack(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[number-1].Delivered = 0
}

// seenByClients rewrites a ledger to what the clients saw of it: when a reply
// reached them, and which ones did not. by is the call of each entry.
func (c *calls) seenByClients(ledger []practice.Entry) (entries []practice.Entry, cut map[uint64]bool, by map[uint64]call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cut, by = map[uint64]bool{}, map[uint64]call{}
	for _, e := range ledger {
		// The spans follow each other; the ledger's entries may be numbered in
		// another order than they came in.
		at := sort.Search(len(c.list), func(i int) bool { return c.list[i].From > e.Received }) - 1
		if at >= 0 && (c.list[at].To == 0 || c.list[at].To >= e.Received) {
			one := c.list[at]
			by[e.Seq] = one
			if one.Delivered != 0 {
				e.RepliedAt = one.Delivered
			} else {
				e.Delivered = false
			}
		}
		if !e.Delivered || (e.Fault != "" && e.Fault != string(practice.KindSlow)) {
			cut[e.Seq] = true
		}
		entries = append(entries, e)
	}
	return entries, cut, by
}
