package practice

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientLeavesDuringDelay(t *testing.T) {
	t.Parallel()
	t.Run("after the rotation", func(t *testing.T) {
		t.Parallel()
		f := setup(t, Options{})
		m := mintOne(t, f.Server)
		addFault(t, f.Server, Fault{Kind: KindSlow, Delay: time.Hour})
		conn := f.raw(t, m.RefreshToken)
		flying := await(t, f.Server, func(e Entry) bool { return e.RotatedAt != 0 })
		assert.True(t, flying.InAir)
		assert.False(t, flying.Delivered)
		assert.Zero(t, f.Summary().Undelivered, "still open")
		require.NoError(t, conn.Close())
		e := await(t, f.Server, settled)
		assert.False(t, e.Delivered)
		assert.False(t, e.TokenSent)
		assert.Zero(t, e.RepliedAt)
		assert.Equal(t, OutcomeRotated, e.Verdict)
		assert.Equal(t, uint32(2), e.NewGeneration)
		assert.Equal(t, int64(1), f.Summary().Undelivered)
		assert.Zero(t, f.Summary().InAir)
	})
	t.Run("before the rotation", func(t *testing.T) {
		t.Parallel()
		f := setup(t, Options{Latency: time.Hour})
		m := mintOne(t, f.Server)
		conn := f.raw(t, m.RefreshToken)
		await(t, f.Server, func(e Entry) bool { return e.InAir })
		require.NoError(t, conn.Close())
		e := await(t, f.Server, settled)
		assert.Equal(t, OutcomeAbandoned, e.Outcome)
		assert.Zero(t, e.RotatedAt)
		_, err := f.Configure(SettingsPatch{Latency: new(time.Duration(0))})
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, f.present(t, m.RefreshToken).Status, "the token was left alone")
		assert.Zero(t, f.Summary().Undelivered)
	})
	t.Run("with a wrong secret", func(t *testing.T) {
		t.Parallel()
		f := setup(t, Options{Latency: time.Hour, Clients: []Client{{"demo", "another"}}})
		conn := f.raw(t, mintOne(t, f.Server).RefreshToken)
		await(t, f.Server, func(e Entry) bool { return e.InAir })
		require.NoError(t, conn.Close())
		assert.Equal(t, OutcomeClientError, await(t, f.Server, settled).Outcome)
	})
}

// TestClientLeavesUnnoticed has the client close its connection while the
// server is busy and nothing watches: what then is written must not count,
// whichever of the looks at the connection sees it.
func TestClientLeavesUnnoticed(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	for range 50 {
		m := mintOne(t, f.Server)
		g := f.grants.byID(m.Grant)
		g.mu.Lock() // holds the judgement
		conn := f.raw(t, m.RefreshToken)
		require.Eventually(t, func() bool { return g.inAir.Load() == 1 }, patience, 100*time.Microsecond)
		require.NoError(t, conn.Close())
		g.mu.Unlock()
		e := await(t, f.Server, func(e Entry) bool { return e.Grant == m.Grant && !e.InAir })
		assert.NotZero(t, e.RotatedAt)
		assert.False(t, e.Delivered)
	}
	assert.Equal(t, int64(50), f.Summary().Undelivered)
}

func TestServerClosesDuringDelay(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	addFault(t, f.Server, Fault{Kind: KindSlow, Delay: time.Hour})
	conn := f.raw(t, mintOne(t, f.Server).RefreshToken)
	await(t, f.Server, func(e Entry) bool { return e.RotatedAt != 0 })
	f.Close()
	assert.Empty(t, conn.rest(t))
	assert.False(t, last(t, f.Server).Delivered)
}

func TestDripBreaksOffWithTheClient(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	addFault(t, f.Server, Fault{Kind: KindMalformed, Form: FormDrip, Delay: time.Millisecond})
	conn := f.raw(t, mintOne(t, f.Server).RefreshToken)
	var got bytes.Buffer
	for !strings.HasSuffix(got.String(), `"access_token`) {
		b, err := conn.in.ReadByte()
		require.NoError(t, err)
		got.WriteByte(b)
	}
	require.NoError(t, conn.Close())
	e := await(t, f.Server, settled)
	assert.False(t, e.Delivered)
	assert.False(t, e.TokenSent)
	assert.NotZero(t, e.RepliedAt)
	assert.Equal(t, int64(1), f.Summary().Undelivered)
}

func TestEndlessBreaksOffWithTheClient(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	addFault(t, f.Server, Fault{Kind: KindMalformed, Form: FormEndless})
	conn := f.raw(t, mintOne(t, f.Server).RefreshToken)
	_, err := conn.in.Discard(100_000)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	e := await(t, f.Server, settled)
	assert.False(t, e.Delivered)
	assert.True(t, e.TokenSent)
}

// TestReplyIsInTheLedger asks right after each reply, when the server may not
// have returned from its write yet.
func TestReplyIsInTheLedger(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	token := mintOne(t, f.Server).RefreshToken
	for n := range 300 {
		token = f.present(t, token).RefreshToken
		e := last(t, f.Server)
		require.False(t, e.InAir)
		require.True(t, e.Delivered)
		require.Zero(t, f.Summary().InAir)
		require.Equal(t, uint32(n+1), e.Generation)
	}
	assert.Equal(t, uint32(1), f.Summary().MaxConcurrentPerGrant)
}

// eagerWriter makes the next presentation as soon as it has a reply, while the
// server is still writing it.
type eagerWriter struct {
	*httptest.ResponseRecorder
	next func(body string)
}

func (w eagerWriter) Write(b []byte) (int, error) {
	w.next(string(b))
	return w.ResponseRecorder.Write(b)
}

func TestAReplyIsNoLongerInTheAir(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	r := request(t.Context(), "http://practice.test/token", refreshForm(mintOne(t, s).RefreshToken))
	s.Handler().ServeHTTP(eagerWriter{httptest.NewRecorder(), func(body string) {
		next := read(t, http.StatusOK, nil, body)
		require.Equal(t, http.StatusOK, direct(t, s, refreshForm(next.RefreshToken)).Status)
	}}, r)
	entries := s.Ledger(LedgerQuery{})
	require.Len(t, entries, 2)
	assert.Equal(t, uint32(1), entries[1].Concurrent)
	assert.Empty(t, s.Summary().Violations)
}

// brokenWriter takes the header and fails the body.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestFailedWriteIsUndelivered(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m := mintOne(t, s)
	r := request(t.Context(), "http://practice.test/token", refreshForm(m.RefreshToken))
	s.Handler().ServeHTTP(brokenWriter{httptest.NewRecorder()}, r)
	e := last(t, s)
	assert.Equal(t, OutcomeRotated, e.Outcome)
	assert.False(t, e.Delivered)
	assert.False(t, e.TokenSent)
	assert.Equal(t, int64(1), s.Summary().Undelivered)
}

func TestGoneBeforeTheReply(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m := mintOne(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		s.Handler().ServeHTTP(w, request(ctx, "http://practice.test/token", refreshForm(m.RefreshToken)))
	})
	assert.Zero(t, w.Body.Len())
	e := last(t, s)
	assert.Equal(t, OutcomeRotated, e.Outcome)
	assert.False(t, e.Delivered)
}

// TestReaderDoesNotWaitForEver has a reply stuck in its write: a reader of the
// ledger gets the rest.
func TestReaderDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		stuck := l.open(record{})
		epoch := l.beginWrite()
		begin := time.Now()
		l.quiesce()
		assert.Equal(t, settleWait, time.Since(begin))
		l.read(0, func(_ uint64, r record) bool {
			assert.False(t, r.settled)
			return true
		})

		begin = time.Now()
		quick := l.open(record{})
		quickEpoch := l.beginWrite()
		var wg sync.WaitGroup
		wg.Go(func() {
			<-time.After(time.Second)
			l.endWrite(quick, quickEpoch, settlement{})
			l.endWrite(stuck, epoch, settlement{})
		})
		l.quiesce()
		wg.Wait()
		assert.Equal(t, time.Second, time.Since(begin))
		assert.Zero(t, l.totals.inAir)
	})
}
