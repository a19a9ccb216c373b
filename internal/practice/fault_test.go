package practice

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStatusFault(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault       Fault
		status      int
		body        string
		contentType string
	}{
		"unavailable": {Fault{}, 503, "", "application/json"},
		"error":       {Fault{Status: 401, Error: "invalid_client", Description: `no "such"`}, 401, `{"error":"invalid_client","error_description":"no \"such\""}`, "application/json"},
		"page":        {Fault{Status: 502, Body: "<h1>Bad Gateway</h1>"}, 502, "<h1>Bad Gateway</h1>", "text/html; charset=utf-8"},
		"own JSON":    {Fault{Status: 400, Body: `{"error":{"code":190}}`}, 400, `{"error":{"code":190}}`, "application/json"},
		"number":      {Fault{Status: 429, RetryAfter: "1000000000"}, 429, "", "application/json"},
		"date":        {Fault{Status: 503, RetryAfter: "Fri, 31 Dec 1999 23:59:59 GMT"}, 503, "", "application/json"},
		"negative":    {Fault{Status: 503, RetryAfter: "-1"}, 503, "", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, Options{})
			m := mintOne(t, f.Server)
			tc.fault.Kind = KindStatus
			id := addFault(t, f.Server, tc.fault)
			resp, err := f.http.Do(request(t.Context(), f.url("/token"), refreshForm(m.RefreshToken)))
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, tc.status, resp.StatusCode)
			assert.Equal(t, tc.body, string(body))
			assert.Equal(t, tc.contentType, resp.Header.Get("Content-Type"))
			assert.Equal(t, tc.fault.RetryAfter, resp.Header.Get("Retry-After"))
			e := last(t, f.Server)
			assert.Equal(t, Outcome("fault:status"), e.Outcome)
			assert.Empty(t, e.Verdict)
			assert.Zero(t, e.RotatedAt)
			assert.True(t, e.Delivered)
			require.True(t, f.RemoveFault(id))
			assert.Equal(t, http.StatusOK, f.present(t, m.RefreshToken).Status)
			assert.Zero(t, f.Summary().GenerationsPresentedTwice, "it was not looked at the first time")
		})
	}
}

func TestStatusAfterRotation(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m := mintOne(t, s)
	addFault(t, s, Fault{Kind: KindStatus, Status: 500, Rotate: MomentBefore, Count: 1})
	assert.Equal(t, 500, direct(t, s, refreshForm(m.RefreshToken)).Status)
	assert.Equal(t, OutcomeRotated, last(t, s).Verdict)
	assert.Equal(t, "invalid_grant", direct(t, s, refreshForm(m.RefreshToken)).Error)
}

func TestSlowFault(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		moment       Moment
		rotatedAfter time.Duration
	}{
		{MomentDefault, 0},
		{MomentBefore, 0},
		{MomentAfter, 15 * time.Second},
	} {
		t.Run("rotate "+string(tc.moment), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{Latency: 5 * time.Second})
				m := mintOne(t, s)
				addFault(t, s, Fault{Kind: KindSlow, Delay: 10 * time.Second, Rotate: tc.moment})
				begin := time.Now()
				require.Equal(t, http.StatusOK, direct(t, s, refreshForm(m.RefreshToken)).Status)
				assert.Equal(t, 15*time.Second, time.Since(begin))
				e := last(t, s)
				assert.Equal(t, Outcome("fault:slow"), e.Outcome)
				assert.Equal(t, OutcomeRotated, e.Verdict)
				assert.Equal(t, begin.Add(tc.rotatedAfter).UnixNano(), e.RotatedAt)
				assert.True(t, e.Delivered)
			})
		})
	}
}

func TestSlowCanBeToldNotToRotate(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m := mintOne(t, s)
	addFault(t, s, Fault{Kind: KindSlow, Rotate: MomentNever})
	assert.Empty(t, direct(t, s, refreshForm(m.RefreshToken)).RefreshToken)
	assert.Equal(t, OutcomeRefreshed, last(t, s).Verdict)
}

func TestHangEndsWithTheClient(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		moment  Moment
		verdict Outcome
	}{{MomentDefault, ""}, {MomentBefore, OutcomeRotated}} {
		t.Run("rotate "+string(tc.moment), func(t *testing.T) {
			t.Parallel()
			f := setup(t, Options{})
			m := mintOne(t, f.Server)
			addFault(t, f.Server, Fault{Kind: KindHang, Rotate: tc.moment})
			conn := f.raw(t, m.RefreshToken)
			await(t, f.Server, func(e Entry) bool { return e.InAir && e.Verdict == tc.verdict })
			require.NoError(t, conn.Close())
			e := await(t, f.Server, settled)
			assert.Equal(t, Outcome("fault:hang"), e.Outcome)
			assert.False(t, e.Delivered)
			assert.Zero(t, e.RepliedAt)
		})
	}
}

func TestHangEndsWithTheServer(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	addFault(t, f.Server, Fault{Kind: KindHang})
	conn := f.raw(t, mintOne(t, f.Server).RefreshToken)
	await(t, f.Server, func(e Entry) bool { return e.InAir })
	f.Close()
	assert.Empty(t, conn.rest(t))
	assert.False(t, last(t, f.Server).InAir)
}

func TestLost(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	m := mintOne(t, f.Server)
	addFault(t, f.Server, Fault{Kind: KindLost, Count: 1})
	assert.Empty(t, f.raw(t, m.RefreshToken).rest(t), "not a byte")
	e := last(t, f.Server)
	assert.Equal(t, Outcome("fault:lost"), e.Outcome)
	assert.Equal(t, OutcomeRotated, e.Verdict)
	assert.False(t, e.InAir)
	assert.False(t, e.Delivered)
	assert.False(t, e.TokenSent)
	assert.Zero(t, e.RepliedAt)
	sum := f.Summary()
	assert.Equal(t, int64(1), sum.Undelivered)
	assert.Equal(t, int64(1), sum.TokensNotSent)
	assert.Equal(t, "invalid_grant", f.present(t, m.RefreshToken).Error)
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, want := range []struct {
		place Place
		ends  string // a regular expression for what came last
		sent  bool
	}{
		{PlaceHeaders, `^HTTP/1\.1 200 OK\r\nContent-Type: [a-z]+$`, false},
		{PlaceBeforeRefreshToken, `\r\n\r\n\{"access_token":"at_\w{32}".*,$`, false},
		{PlaceInRefreshToken, `"refresh_token":"rt_\w{14}$`, false},
		{PlaceAfterRefreshToken, `"refresh_token":"rt_\w{32}"$`, true},
	} {
		t.Run(string(want.place), func(t *testing.T) {
			t.Parallel()
			f := setup(t, Options{})
			m := mintOne(t, f.Server)
			addFault(t, f.Server, Fault{Kind: KindCut, Place: want.place, Count: 1})
			got := f.raw(t, m.RefreshToken).rest(t)
			assert.Regexp(t, want.ends, got)
			e := last(t, f.Server)
			assert.Equal(t, Outcome("fault:cut"), e.Outcome)
			assert.Equal(t, OutcomeRotated, e.Verdict)
			assert.False(t, e.Delivered)
			assert.Equal(t, want.sent, e.TokenSent)
			assert.NotZero(t, e.RepliedAt)
			if want.sent {
				i := strings.Index(got, refreshPrefix)
				assert.Equal(t, http.StatusOK, f.present(t, got[i:i+len(refreshPrefix)+keyLen]).Status)
			}
		})
	}
}

func TestCutTakesItsPlacesInTurn(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{})
	addFault(t, f.Server, Fault{Kind: KindCut})
	lengths := make([]int, 0, 8)
	for range 8 {
		lengths = append(lengths, len(f.raw(t, mintOne(t, f.Server).RefreshToken).rest(t)))
	}
	assert.IsIncreasing(t, lengths[:4])
	assert.Equal(t, lengths[:4], lengths[4:])
}

func TestCutWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	f := setup(t, Options{NoRotate: true})
	addFault(t, f.Server, Fault{Kind: KindCut, Place: PlaceAfterRefreshToken})
	conn := f.raw(t, mintOne(t, f.Server).RefreshToken)
	resp, err := http.ReadResponse(bufio.NewReader(conn.in), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, resp.Body.Close())
	assert.Len(t, body, int(resp.ContentLength/2))
	assert.False(t, last(t, f.Server).TokenSent)
}

func TestFaultSelection(t *testing.T) {
	t.Parallel()
	s := New(Options{Clients: []Client{{"demo", "demo-secret"}, {"other", "o"}}, NoRotate: true})
	a, b := mintOne(t, s), mintOne(t, s)
	status := func(m Minted) int { return direct(t, s, refreshForm(m.RefreshToken)).Status }

	one := addFault(t, s, Fault{Kind: KindStatus, Status: 500, Grant: a.Grant})
	other := addFault(t, s, Fault{Kind: KindStatus, Status: 501, Client: "other"})
	twice := addFault(t, s, Fault{Kind: KindStatus, Status: 502, Count: 2})
	assert.Equal(t, []int{500, 502, 502, 200}, []int{status(a), status(b), status(b), status(b)}, "the first that fits")
	assert.Equal(t, 500, status(a))

	states := s.Faults()
	require.Len(t, states, 3)
	assert.Equal(t, []string{one, other, twice}, []string{states[0].ID, states[1].ID, states[2].ID})
	assert.Equal(t, []int{2, 0, 2}, []int{states[0].Hits, states[1].Hits, states[2].Hits})
	assert.Equal(t, []bool{true, true, false}, []bool{states[0].Active, states[1].Active, states[2].Active})

	assert.True(t, s.RemoveFault(one))
	assert.False(t, s.RemoveFault(one))
	assert.Equal(t, 200, status(a))
	s.ClearFaults()
	assert.Empty(t, s.Faults())
	assert.False(t, s.RemoveFault(twice))
}

func TestFaultEndsWithItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{NoRotate: true})
		m := mintOne(t, s)
		addFault(t, s, Fault{Kind: KindStatus, For: 30 * time.Second})
		<-time.After(30*time.Second - 1)
		assert.Equal(t, 503, direct(t, s, refreshForm(m.RefreshToken)).Status)
		<-time.After(1)
		assert.Equal(t, 200, direct(t, s, refreshForm(m.RefreshToken)).Status)
		assert.False(t, s.Faults()[0].Active)
	})
}

func TestProbabilityIsRepeatable(t *testing.T) {
	t.Parallel()
	const calls = 400
	run := func(seed uint64) (pattern []bool, hits int) {
		s := New(Options{NoRotate: true})
		m := mintOne(t, s)
		addFault(t, s, Fault{Kind: KindStatus, Probability: 0.25, Seed: seed})
		for range calls {
			pattern = append(pattern, direct(t, s, refreshForm(m.RefreshToken)).Status == 503)
		}
		return pattern, s.Faults()[0].Hits
	}
	first, hits := run(1)
	again, _ := run(1)
	other, _ := run(2)
	assert.Equal(t, first, again)
	assert.NotEqual(t, first, other)
	assert.InDelta(t, calls/4, hits, calls/8)
}

func TestImpossibleFaults(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for _, f := range []Fault{
		{},
		{Kind: "explode"},
		{Kind: KindMalformed},
		{Kind: KindMalformed, Form: "odd"},
		{Kind: KindSlow, Form: FormBOM},
		{Kind: KindCut, Place: "middle"},
		{Kind: KindSlow, Rotate: "sometimes"},
		{Kind: KindStatus, Status: 99},
		{Kind: KindStatus, Status: 600},
		{Kind: KindStatus, Status: 204, Body: "x"},
		{Kind: KindSlow, Delay: -1},
		{Kind: KindSlow, For: -1},
		{Kind: KindSlow, Count: -1},
		{Kind: KindSlow, Probability: 1.1},
		{Kind: KindSlow, Probability: -0.1},
		{Kind: KindStatus, RetryAfter: "1\r\nX: y"},
		{Kind: KindMalformed, Form: FormRedirect307},
		{Kind: KindMalformed, Form: FormRedirect308, Location: "a\nb"},
	} {
		_, err := s.AddFault(f)
		require.ErrorIs(t, err, ErrInvalid, "%+v", f)
	}
	assert.Empty(t, s.Faults())
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault  *Fault
		before bool
		want   plan
	}{
		{nil, false, plan{MomentAfter, true}},
		{nil, true, plan{MomentBefore, true}},
		{&Fault{Kind: KindSlow}, false, plan{MomentBefore, true}},
		{&Fault{Kind: KindSlow, Rotate: MomentAfter}, true, plan{MomentAfter, true}},
		{&Fault{Kind: KindSlow, Rotate: MomentNever}, false, plan{MomentBefore, false}},
		{&Fault{Kind: KindLost}, false, plan{MomentAfter, true}},
		{&Fault{Kind: KindCut}, true, plan{MomentBefore, true}},
		{&Fault{Kind: KindStatus}, false, plan{MomentNever, false}},
		{&Fault{Kind: KindStatus, Rotate: MomentAfter}, false, plan{MomentAfter, true}},
		{&Fault{Kind: KindHang, Rotate: MomentNever}, false, plan{MomentNever, false}},
		{&Fault{Kind: KindMalformed, Form: FormRTNull}, false, plan{MomentAfter, false}},
		{&Fault{Kind: KindMalformed, Form: FormBOM}, false, plan{MomentAfter, true}},
		{&Fault{Kind: KindMalformed, Form: FormEmpty200}, false, plan{MomentNever, false}},
		{&Fault{Kind: KindMalformed, Form: FormEmpty200, Rotate: MomentBefore}, false, plan{MomentBefore, true}},
	} {
		assert.Equal(t, tc.want, planOf(tc.fault, tc.before), "%+v", tc.fault)
	}
}
