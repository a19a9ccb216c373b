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
	"github.com/refreshd/refreshd/test/oracle"
)

// wayHeader numbers the requests to a token endpoint. The tap puts it in.
const wayHeader = "Practice-Way"

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
	ways []way  // likewise
}

type call struct {
	way

	Replica int   `json:"replica"`
	Number  int   `json:"way"`  // of its way; 0: it came past the tap
	From    int64 `json:"from"` // Unix ns: it came in between these two
	To      int64 `json:"to"`
}

// way is what a tap saw of a request and its reply. The moments are Unix ns, 0
// where there was none.
type way struct {
	Asked     int64 `json:"asked"`
	Delivered int64 `json:"delivered"` // the whole reply was handed to the replica
	Found     int64 `json:"found"`     // a whole refresh token was, if not the whole reply
	Ended     int64 `json:"ended"`     // the connection was over, and the reply had not come or was not read
	Left      bool  `json:"left"`      // it was the replica that hung up
}

// came is when what the program needs of the reply had reached it, 0: never.
// What broke off is looked at when it has ended.
func (w way) came(fault string) int64 {
	switch {
	case unreadable(fault):
		return 0
	case w.Delivered != 0:
		return w.Delivered
	case w.Found != 0 && fault != string(practice.KindMalformed)+":"+string(practice.FormRTTwice): // the first may be the old one
		return max(w.Found, w.Ended)
	default:
		return 0
	}
}

// unreadable reports whether a reply with that fault is one whose token refreshd
// does not find by design: it hangs up on a flood of interim replies. Of all
// others the token is found that went out whole.
func unreadable(fault string) bool {
	return fault == string(practice.KindMalformed)+":"+string(practice.FormFlood1xx)
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
		on, _ := strconv.Atoi(r.Header.Get(wayHeader)) // 0 where there is none
		number := c.begin(replica, on)
		open := sync.OnceFunc(func() {
			c.end(number)
			c.door.Unlock()
		})
		defer open()
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

func (c *calls) begin(replica, on int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, call{Replica: replica, Number: on, From: time.Now().UnixNano()})
	return len(c.list)
}

func (c *calls) end(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[number-1].To = time.Now().UnixNano()
}

// ask numbers a request.
func (c *calls) ask() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ways = append(c.ways, way{Asked: time.Now().UnixNano()})
	return len(c.ways)
}

// mark changes what is known of a request; now is Unix ns.
func (c *calls) mark(number int, change func(w *way, now int64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.ways[number-1], time.Now().UnixNano())
}

// asked are the moments at which calls were made, and at which those that got no
// reply were left by their replicas. A process that dies hangs up.
func asked(ledger []practice.Entry, by map[uint64]call) map[uint64]oracle.Call {
	seen := map[uint64]oracle.Call{}
	for _, e := range ledger {
		one := oracle.Call{Asked: by[e.Seq].Asked}
		if by[e.Seq].Left && !e.Delivered {
			one.Left = by[e.Seq].Ended
		}
		seen[e.Seq] = one
	}
	return seen
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
			if one.Number != 0 {
				one.way = c.ways[one.Number-1]
			}
			by[e.Seq] = one
			came := one.came(e.Fault)
			if e.Delivered = came != 0; e.Delivered {
				e.RepliedAt = came
			}
		}
		cut[e.Seq] = !e.Delivered
		entries = append(entries, e)
	}
	return entries, cut, by
}
