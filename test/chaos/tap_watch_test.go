package chaos

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/oracle"
)

const aToken = "rt_0123456789abcdefghijABCDEFGHIJ01"

// answer is a reply with a length.
func answer(body string) []byte {
	return []byte("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

func whole() []byte { return answer(`{"refresh_token":"` + aToken + `"}`) }

// A reset takes back the reply in flight and no other.
func TestOnlyTheReplyInFlightIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		second    []byte // what came of the second reply
		by        who
		delivered [2]bool
		left      bool
	}{
		"a reset, the second not read":       {whole(), theReplicaRoughly, [2]bool{true, false}, true},
		"a reset before the second":          {nil, theReplicaRoughly, [2]bool{true, false}, true},
		"a reset amid the second":            {whole()[:20], theReplicaRoughly, [2]bool{true, false}, true},
		"the replica hangs up":               {nil, theReplica, [2]bool{true, false}, true},
		"the replica hangs up, having read":  {whole(), theReplica, [2]bool{true, true}, false},
		"the way ends":                       {nil, theWay, [2]bool{true, false}, false},
		"the way ends, the second had come":  {whole(), theWay, [2]bool{true, true}, false},
		"the way ends amid the second reply": {whole()[:20], theWay, [2]bool{true, false}, false},
	} {
		c := &calls{}
		r := &replies{calls: c}
		r.asked()
		r.arrived(whole(), true)
		r.asked()
		if row.second != nil {
			r.arrived(row.second, true)
		}
		r.ended(row.by)
		r.ended(theReplicaRoughly) // the first word counts
		assert.Equal(t, row.delivered[0], c.ways[0].Delivered != 0, name)
		assert.Equal(t, row.delivered[1], c.ways[1].Delivered != 0, name)
		assert.Zero(t, c.ways[0].Ended, name)
		assert.Equal(t, row.left, c.ways[1].Left, name)
		assert.Equal(t, !row.delivered[1], c.ways[1].Ended != 0, name)
	}
}

// A token that came whole counts as come, however the reply ended.
func TestATokenThatCameWholeIsSeen(t *testing.T) {
	t.Parallel()
	body := `{"refresh_token":"` + aToken
	for name, row := range map[string]struct {
		pieces []string
		found  bool
	}{
		"with its closing quote": {[]string{body + `"`}, true},
		"without it":             {[]string{body}, false},
		"less a letter":          {[]string{body[:len(body)-1] + `"`}, false},
		"byte by byte":           {strings.Split(body+`"`, ""), true},
		"in a long reply":        {[]string{body + `"` + strings.Repeat("x", 500), strings.Repeat("x", 500)}, true},
	} {
		c := &calls{}
		r := &replies{calls: c}
		r.asked()
		r.arrived([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n"), true)
		for _, piece := range row.pieces {
			r.arrived([]byte(piece), true)
		}
		r.ended(theWay)
		assert.Equal(t, row.found, c.ways[0].Found != 0, name)
		assert.Zero(t, c.ways[0].Delivered, name)
		assert.NotZero(t, c.ways[0].Ended, name)
	}
	c := &calls{}
	r := &replies{calls: c}
	r.asked()
	r.arrived(whole()[:len(whole())-1], true)
	r.ended(theReplicaRoughly)
	assert.Zero(t, c.ways[0].Found, "a token that came before the reset may not have been read")
	r = &replies{calls: c}
	r.asked()
	r.arrived([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n"+body+`"`), true)
	r.arrived(make([]byte, readLimit), true)
	r.ended(theReplicaRoughly)
	assert.NotZero(t, c.ways[1].Found, "the reset came when as much was read as is ever read")
}

func TestWhatCameOfAReply(t *testing.T) {
	t.Parallel()
	malformed := func(f practice.Form) string { return string(practice.KindMalformed) + ":" + string(f) }
	for _, row := range []struct {
		way   way
		fault string
		came  int64
	}{
		{way{Delivered: 5}, "", 5},
		{way{Delivered: 5}, malformed(practice.FormNested), 5},
		{way{Delivered: 5}, malformed(practice.FormFlood1xx), 0},
		{way{Found: 5, Ended: 7}, malformed(practice.FormEndless), 7},
		{way{Found: 5, Ended: 7}, string(practice.KindCut), 7},
		{way{Found: 5, Ended: 7}, malformed(practice.FormRTTwice), 0},
		{way{Ended: 7}, "", 0},
	} {
		assert.Equal(t, row.came, row.way.came(row.fault), "%+v %s", row.way, row.fault)
	}
	c := &calls{
		list: []call{{Number: 2, From: 10, To: 20}, {Number: 1, From: 30, To: 40}, {From: 50, To: 60}},
		ways: []way{{Asked: 1, Delivered: 45}, {Asked: 2, Found: 17, Ended: 18}},
	}
	ledger, cut, by := c.seenByClients([]practice.Entry{
		{Seq: 1, Received: 15, Fault: string(practice.KindCut)}, {Seq: 2, Received: 35, Delivered: true}, {Seq: 3, Received: 55, Delivered: true},
	})
	require.Len(t, ledger, 3)
	assert.Equal(t, map[uint64]bool{1: false, 2: false, 3: true}, cut)
	assert.Equal(t, []int64{18, 45, 0}, []int64{ledger[0].RepliedAt, ledger[1].RepliedAt, ledger[2].RepliedAt})
	assert.Equal(t, int64(2), by[1].Asked)
}

// Only what a replica left without a reply counts as left.
func TestWhenCallsWereAskedAndLeft(t *testing.T) {
	t.Parallel()
	replied := practice.Entry{Seq: 4, Delivered: true}
	assert.Equal(t, map[uint64]oracle.Call{1: {Asked: 5, Left: 9}, 2: {Asked: 5}, 3: {}, 4: {Asked: 5}}, asked(
		[]practice.Entry{{Seq: 1}, {Seq: 2}, {Seq: 3}, replied},
		map[uint64]call{
			1: {way: way{Asked: 5, Ended: 9, Left: true}},
			2: {way: way{Asked: 5, Ended: 9}}, // it was cut off
			4: {way: way{Asked: 5, Found: 8, Ended: 9, Left: true}},
		}))
}

// Each request of a connection gets a number, and nothing else is changed.
func TestRequestsAreNumbered(t *testing.T) {
	t.Parallel()
	const first, second = "POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST /token HTTP/1.1\r\nContent-Length: 2\r\n\r\nyo"
	const want = "POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nPractice-Way: 1\r\n\r\nhello" +
		"POST /token HTTP/1.1\r\nContent-Length: 2\r\nPractice-Way: 2\r\n\r\nyo"
	for _, size := range []int{1, 7, 1000} {
		var out bytes.Buffer
		n := 0
		r := &requests{to: &out, asked: func() int { n++; return n }}
		for rest := []byte(first + second); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			require.NoError(t, r.pass(rest[:min(size, len(rest))]))
		}
		assert.Equal(t, want, out.String())
	}
	c := &calls{}
	number := c.ask()
	c.mark(number, func(w *way, now int64) { w.Delivered = now })
	assert.Positive(t, c.ways[0].Delivered)
	assert.LessOrEqual(t, c.ways[0].Asked, time.Now().UnixNano())
}
