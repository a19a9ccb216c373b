package matrix

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

const (
	life      = 4 * time.Second  // of the access tokens that a refresh brings
	quiet     = 10 * time.Minute // of those that are to be left alone
	graceTime = 30 * time.Second // of the provider that grants one
	timeout   = 2 * time.Second  // of an exchange
	send      = 300 * time.Millisecond
	silence   = 2 * time.Second // heartbeats come once a second
	// deadline is when others start to ask about an attempt: send, the
	// provider's timeout, commit and margin.
	deadline   = 3*send + timeout
	quarantine = 3 * time.Second
	// hitWithin is how soon a point is reached, from when it was armed.
	hitWithin = 60 * time.Second
	// settledWithin is P8.
	settledWithin = 60 * time.Second

	main   = "acme:main"    // the credential that is driven to the point
	second = "acme:second"  // bystanders that are left alone
	third  = "acme:bystand" //
	filler = "acme:filler"  // and a number: nothing that the provider knows
)

// cell is one cell while it runs.
type cell struct {
	row

	t        *testing.T
	slots    chan struct{}
	sum      *tally
	left     sync.Once // the slot
	provider *harness.Provider
	server   *testproc.Redis
	tail     *harness.Tail
	house    *harness.House
	hook     *harness.Receiver
	stream   *harness.Follower

	ctx    context.Context //nolint:containedctx // the cell's own life
	cancel context.CancelFunc
	calls  sync.WaitGroup // that were made beside, and readers
	enough atomic.Bool    // has been written: what is there is to be judged

	armed   *testproc.Process // the process that is armed, A
	owner   string            // its name
	mark    int64             // of the append-only file, right before the trigger
	sizes   []sizeAt
	marked  map[string]string // main's stored form at the mark
	settled time.Duration
	stood   time.Time // when A came to the point with a reply that it had not kept, or that nobody else can read

	mu      sync.Mutex
	a, b    *harness.Instance // nil while it does not serve
	acked   []oracle.Change
	pending map[string][]string // by credential: grants of logins that were not acknowledged
	reads   []oracle.Read
	kills   []oracle.Kill
	waited  []waited          // in order
	tokens  map[string]string // that were stored or served
}

// sizeAt is how long the append-only file was.
type sizeAt struct {
	at   time.Time
	size int64
}

func newCell(t *testing.T, one row, slots chan struct{}, sum *tally) *cell {
	t.Helper()
	c := &cell{
		row: one, t: t, slots: slots, sum: sum, pending: map[string][]string{}, tokens: map[string]string{}, settled: -1,
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	return c
}

// furnish makes what the cell needs.
func (c *cell) furnish(program string) {
	o := practice.Options{AccessTTL: life}
	rotation := map[string]any{"rotates": "yes"}
	switch c.kind {
	case strict:
	case grace:
		o.Reuse, o.Grace = practice.ReuseGrace, graceTime
		rotation["grace"] = graceTime.String()
	case still:
		o.NoRotate = true
		rotation["rotates"] = "no"
	}
	c.provider = harness.NewProvider(c.t, o)
	fsync := "always"
	if c.mode == tail || c.way.loss {
		fsync = "everysec"
	}
	c.server = testproc.StartRedis(c.t, testproc.RedisOptions{
		AppendFsync: fsync, Args: []string{"--auto-aof-rewrite-percentage", "0"}, // a file that is written anew has no tail
	})
	var err error
	c.tail, err = harness.NewTail(c.server.Dir())
	require.NoError(c.t, err)
	c.house = harness.NewHouse(c.t, program, c.provider, c.server.URL())
	c.house.Config["log"] = map[string]any{"level": "debug"}
	c.house.Config["recovery"] = map[string]any{
		"quarantine": quarantine.String(), "silence": silence.String(),
		"send": send.String(), "commit": send.String(), "margin": send.String(),
	}
	acme := c.house.Provider()
	acme["timeout"], acme["rotation"] = timeout.String(), rotation
	if c.way.hook {
		c.hook = harness.NewReceiver(c.t, "whsec_"+base64.StdEncoding.EncodeToString([]byte("thirty-two bytes that sign hooks")))
		c.house.Subscribe(c.hook)
	}
	c.t.Cleanup(func() { c.cancel(); c.calls.Wait() })
	c.stream = harness.Follow(c.t, c.anyone)
	c.calls.Go(c.watchSize)
}

// leave lets another cell begin: this one is over, or waits for a slow clock.
func (c *cell) leave() { c.left.Do(func() { <-c.slots }) }

// anyone is a process that serves, the neighbour first.
func (c *cell) anyone() *harness.API {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.b != nil:
		return c.b.API
	case c.a != nil:
		return c.a.API
	default:
		return nil
	}
}

// watchSize notes how long the append-only file is.
func (c *cell) watchSize() {
	for c.ctx.Err() == nil {
		size, err := c.tail.Size()
		if err != nil {
			return // the server's folder is gone
		}
		c.mu.Lock()
		c.sizes = append(c.sizes, sizeAt{time.Now(), size})
		c.mu.Unlock()
		harness.Pass(c.ctx, 50*time.Millisecond)
	}
}

// environment arms a process by files, and lets it use one processor.
func (c *cell) environment(rules string) []string {
	return []string{
		"GOMAXPROCS=1", "REFRESHD_FAILPOINTS=" + rules,
		"REFRESHD_FAILPOINTS_FILE=" + filepath.Join(c.house.Dir, "points"),
		"REFRESHD_FAILPOINTS_LOG=" + filepath.Join(c.house.Dir, "hits"),
	}
}

// arm arms the process that runs with the cell's files, which looks at them
// every 50 ms.
func (c *cell) arm(rules ...string) {
	c.t.Helper()
	c.house.Write("points", []byte(strings.Join(rules, "\n")+"\n"))
	harness.Pass(c.ctx, 60*time.Millisecond)
}

// rule is what is armed at the cell's point.
func (c *cell) rule() string {
	action := map[mode]string{healthy: "kill", dead: "stop", tail: "stop", fail: "fail", resume: "stop", away: "stop"}[c.mode]
	return fmt.Sprintf("%s=%s@%d", c.point, action, max(c.way.hit, 1))
}

// hit is a line of the failpoints' log.
var hitLine = regexp.MustCompile(`(?m)^(\S+) (\S+) (\d+)$`)

// awaitHit waits until a point was hit on the way to the cell's own, and returns
// when that was.
func (c *cell) awaitHit(point failpoint.Point) time.Time {
	c.t.Helper()
	at, why := c.reached(point, harness.Patience)
	require.Empty(c.t, why)
	return at
}

// reached waits until a point was hit, and returns when that was, or why it was
// not.
func (c *cell) reached(point failpoint.Point, within time.Duration) (at time.Time, why string) {
	path := filepath.Join(c.house.Dir, "hits")
	why, _ = harness.Until(c.ctx, within, func() (bool, string) {
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err.Error()
		}
		for _, line := range hitLine.FindAllStringSubmatch(string(data), -1) {
			if line[1] != string(point) {
				continue
			}
			info, err := os.Stat(path)
			if err != nil {
				return false, err.Error()
			}
			at = info.ModTime()
			return true, ""
		}
		return false, fmt.Sprintf("%s was never reached; hit so far: %q", point, data)
	})
	return at, why
}

// mint makes a new grant whose access token lives for ttl.
func (c *cell) mint(subject string, ttl time.Duration) practice.Minted {
	c.t.Helper()
	minted, err := c.provider.Mint(practice.MintRequest{Count: 1, Prefix: subject + "-", AccessTTL: &ttl})
	require.NoError(c.t, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[minted[0].AccessToken] = "access token of " + minted[0].Grant
	c.tokens[minted[0].RefreshToken] = "refresh token of " + minted[0].Grant
	return minted[0]
}

// login stores a credential whose first access token lives for ttl.
func (c *cell) login(at *harness.API, id string, ttl time.Duration) error {
	m := c.mint(strings.TrimPrefix(id, "acme:"), ttl)
	c.mu.Lock()
	c.pending[id] = append(c.pending[id], m.Grant)
	c.mu.Unlock()
	change, err := at.Put(c.ctx, id, m)
	if err == nil {
		c.ack(change)
	}
	return err
}

func (c *cell) ack(change oracle.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = append(c.acked, change)
}

// populate stores the credentials of every cell.
func (c *cell) populate(at *harness.API) {
	c.t.Helper()
	first := life
	if c.way.calm {
		first = quiet
	}
	require.NoError(c.t, c.login(at, main, first))
	require.NoError(c.t, c.login(at, second, quiet))
	require.NoError(c.t, c.login(at, third, quiet))
	for _, id := range []string{main, second, third} {
		read, got := at.Read(c.ctx, "first", id)
		c.keep(read, got)
	}
}

func (c *cell) keep(read oracle.Read, got harness.Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = append(c.reads, read)
	if got.AccessToken != "" {
		c.tokens[got.AccessToken] = "access token of " + read.ID
	}
}

// beside makes a call whose answer, if it comes, is not waited for.
func (c *cell) beside(call func()) { c.calls.Go(call) }

// read asks a process for main's token until the end of the cell.
func (c *cell) read(process string, at *harness.API) {
	c.calls.Go(func() {
		for c.ctx.Err() == nil {
			read, got := at.Read(c.ctx, process, main)
			if c.ctx.Err() == nil {
				c.keep(read, got)
			}
			harness.Pass(c.ctx, 150*time.Millisecond)
		}
	})
}

// stored is the raw form of main in Redis.
func (c *cell) stored() map[string]string {
	c.t.Helper()
	o, err := redis.ParseURL(c.server.URL())
	require.NoError(c.t, err)
	client := redis.NewClient(o)
	fields, err := client.HGetAll(c.ctx, "rd:{refresh-00}:cred:"+main).Result()
	assert.NoError(c.t, errors.Join(err, client.Close()))
	return fields
}

// forget makes Redis forget keys, before a process starts.
func (c *cell) forget(pattern string) {
	c.t.Helper()
	o, err := redis.ParseURL(c.server.URL())
	require.NoError(c.t, err)
	client := redis.NewClient(o)
	keys, err := client.Keys(c.ctx, pattern).Result()
	require.NoError(c.t, err)
	require.NotEmpty(c.t, keys, pattern)
	require.NoError(c.t, errors.Join(client.Del(c.ctx, keys...).Err(), client.Close()))
}

// setMark notes where the append-only file is, for what may be taken away.
func (c *cell) setMark() {
	c.t.Helper()
	// On a machine without a processor to spare a look may take as long as a refresh lasts.
	harness.Eventually(c.t, 3*harness.Patience, func() (bool, string) {
		before := c.stored()
		if buffer := c.unwritten(); buffer != "0" { // while a sync runs, Redis holds writes back for up to two seconds
			return false, "redis has not written what it acknowledged: " + buffer + " bytes"
		}
		size, err := c.tail.Size()
		require.NoError(c.t, err)
		c.mark, c.marked = size, c.stored()
		return maps.Equal(before, c.marked), "the record changes all the time"
	})
}

// unwritten is how many bytes of its append-only file Redis has not handed to the
// system yet. Whether they are synced does not matter to a file that is cut: on a
// busy disk one sync follows the other for minutes.
func (c *cell) unwritten() string {
	c.t.Helper()
	o, err := redis.ParseURL(c.server.URL())
	require.NoError(c.t, err)
	client := redis.NewClient(o)
	info, err := client.Info(c.ctx, "persistence").Result()
	require.NoError(c.t, errors.Join(err, client.Close()))
	found := bufferLength.FindStringSubmatch(info)
	require.NotNil(c.t, found, info)
	return found[1]
}

var bufferLength = regexp.MustCompile(`(?m)^aof_buffer_length:(\d+)\r$`)

// cutAt is where the append-only file is cut: at the mark, or a second before
// the point was reached if that is later.
func (c *cell) cutAt(hit time.Time) (size int64, sinceMark bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size, sinceMark = c.mark, true
	for _, one := range c.sizes {
		if one.at.Before(hit.Add(-time.Second)) && one.size > size {
			size, sinceMark = one.size, false
		}
	}
	return size, sinceMark
}
