package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

func TestTransportSendsTheTokenAsTheProviderWants(t *testing.T) {
	t.Parallel()
	for as, row := range map[string]struct {
		send map[string]string
		want http.Header
	}{
		"bearer": {map[string]string{"as": "bearer"}, http.Header{"Authorization": {"Bearer at-secret-1"}, "Cookie": {"theme=dark; sid=old"}, "X-Sid": {"old"}}},
		"header": {map[string]string{"as": "header", "name": "X-Sid"}, http.Header{"Authorization": {"Basic old"}, "Cookie": {"theme=dark; sid=old"}, "X-Sid": {"at-secret-1"}}},
		"cookie": {map[string]string{"as": "cookie", "name": "sid"}, http.Header{"Authorization": {"Basic old"}, "Cookie": {"theme=dark; sid=at-secret-1"}, "X-Sid": {"old"}}},
	} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			h.send = row.send
			var sent http.Header
			h.onRequest = func(r *http.Request) { sent = r.Header.Clone() }

			mine := http.Header{"Authorization": {"Basic old"}, "Cookie": {"theme=dark; sid=old"}, "X-Sid": {"old"}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.resource.URL, nil)
			require.NoError(t, err)
			req.Header = mine.Clone()
			res, err := h.client.Transport(sendingID, nil).RoundTrip(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())

			assert.Equal(t, http.StatusOK, res.StatusCode)
			for name, values := range row.want {
				assert.Equal(t, values, sent[name], name)
			}
			assert.Empty(t, cmp.Diff(mine, req.Header), "the caller's request was changed")
			assert.Same(t, req, res.Request, "the response shows the token")
		})
	}
}

func TestTransportSendsAgainWithAnotherToken(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		graphql bool
		body    func() io.Reader
		opts    []client.TransportOption
	}{
		"no body":   {},
		"body":      {body: func() io.Reader { return strings.NewReader("world") }},
		"graphql":   {graphql: true, body: func() io.Reader { return strings.NewReader("world") }, opts: []client.TransportOption{client.WithRejection(client.RejectGraphQL)}},
		"empty one": {body: func() io.Reader { return http.NoBody }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			h.graphql = row.graphql
			h.expire()
			var body io.Reader
			want := "hello "
			if row.body != nil {
				body = row.body()
				if body != http.NoBody {
					want += "world"
				}
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.resource.URL, body)
			require.NoError(t, err)
			res, err := h.client.Transport(sendingID, nil, row.opts...).RoundTrip(req)
			require.NoError(t, err)
			got, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			assert.Equal(t, want, string(got))
			reports, exchanges := h.counts()
			assert.Equal(t, []int{1, 1, 2}, []int{reports, exchanges, h.seen[""]})
		})
	}
}

// A request whose token is outdated already is sent again without a refresh.
func TestTransportUsesTheTokenInHand(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	c := &http.Client{Transport: h.client.Transport(sendingID, nil)}
	status, _ := h.get(t, c)
	require.Equal(t, http.StatusOK, status)
	h.onRequest = func(r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("Authorization"), "-1") {
			return
		}
		// While it is on its way, somebody else has the token replaced.
		h.expire()
		if _, err := h.client.Refresh(t.Context(), sendingID, 1); err != nil {
			t.Errorf("refresh: %v", err)
		}
	}
	status, _ = h.get(t, c)
	assert.Equal(t, http.StatusOK, status)
	reports, exchanges := h.counts()
	assert.Equal(t, []int{1, 1, 3}, []int{reports, exchanges, h.seen[""]})
}

// After refreshd was put back to an earlier state, its token is the one to use.
func TestTransportAfterARestore(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	h.generation, h.good = 7, 7
	c := &http.Client{Transport: h.client.Transport(sendingID, nil)}
	status, _ := h.get(t, c)
	require.Equal(t, http.StatusOK, status)
	h.mu.Lock()
	h.generation, h.good = 3, 3
	h.mu.Unlock()
	status, _ = h.get(t, c)
	assert.Equal(t, http.StatusOK, status)
	_, exchanges := h.counts()
	assert.Equal(t, []int{0, 3}, []int{exchanges, h.seen[""]})
}

func TestTransportSendsNothingThirdTime(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	h.good = 99
	status, body := h.get(t, &http.Client{Transport: h.client.Transport(sendingID, nil)})
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Equal(t, "who are you?\n", body)
	reports, _ := h.counts()
	assert.Equal(t, []int{1, 2}, []int{reports, h.seen[""]})
}

// What cannot be sent again is not: the response goes to the caller, and the
// next request has another token.
func TestTransportStreamsOnce(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	h.expire()
	rt := h.client.Transport(sendingID, nil)
	stream, feed := io.Pipe()
	go func() {
		_, _ = io.WriteString(feed, "a stream") // its reader is the transport
		_ = feed.Close()
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.resource.URL, stream)
	require.NoError(t, err)
	res, err := rt.RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	assert.Equal(t, "who are you?\n", string(body))
	assert.Equal(t, 1, h.seen[""])

	status, _ := h.get(t, &http.Client{Transport: rt})
	assert.Equal(t, http.StatusOK, status)
	reports, exchanges := h.counts()
	assert.Equal(t, []int{1, 1, 2}, []int{reports, exchanges, h.seen[""]})
}

// A GetBody that fails leaves the caller with the response that there is.
func TestTransportBodyThatCannotBeHadAgain(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	h.expire()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.resource.URL, strings.NewReader("x"))
	require.NoError(t, err)
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("the file is gone") }
	res, err := h.client.Transport(sendingID, nil).RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, "who are you?\n", string(body))
	assert.Equal(t, 1, h.seen[""])
}

func TestTransportWhereNoTokenIsToBeHad(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		code string
		away bool
		// How the request fails at its start, and after a rejection; nil if it is
		// the response that the caller gets.
		first, rejected error
	}{
		"reauth_required": {code: "reauth_required", first: client.ErrReauthRequired, rejected: client.ErrReauthRequired},
		"logged_out":      {code: "logged_out", first: client.ErrLoggedOut, rejected: client.ErrLoggedOut},
		"not_refreshable": {code: "not_refreshable", first: client.ErrNotRefreshable},
		"fresh_rejected":  {code: "fresh_rejected", first: client.ErrFreshRejected},
		"away":            {away: true, first: client.ErrUnavailable, rejected: client.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			rt := h.client.Transport(sendingID, nil)
			h.mu.Lock()
			h.refusal, h.away = row.code, row.away
			h.mu.Unlock()

			body := &trackedBody{Reader: strings.NewReader("x")}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.resource.URL, body)
			require.NoError(t, err)
			_, err = rt.RoundTrip(req) //nolint:bodyclose // there is none with an error
			require.ErrorIs(t, err, row.first)
			assert.Equal(t, 1, body.closed, "the body of a request that was not sent is left open")
			assert.Zero(t, h.seen[""])

			h.mu.Lock()
			h.refusal, h.away = "", false
			h.mu.Unlock()
			c := &http.Client{Transport: rt}
			status, _ := h.get(t, c)
			require.Equal(t, http.StatusOK, status)
			h.expire()
			h.mu.Lock()
			h.refusal, h.away = row.code, row.away
			h.mu.Unlock()
			req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, h.resource.URL, nil)
			require.NoError(t, err)
			res, err := c.Do(req)
			if row.rejected == nil {
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
			} else {
				require.ErrorIs(t, err, row.rejected)
				assert.NotContains(t, err.Error(), "secret")
			}
			assert.Equal(t, 2, h.seen[""])
		})
	}
}

func TestTransportHandsOnErrorsOfTheBase(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	broken := errors.New("the network is gone")
	sent := 0
	rt := h.client.Transport(sendingID, roundTripFunc(func(*http.Request) (*http.Response, error) {
		if sent++; sent == 1 {
			return nil, broken
		}
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
	}))
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example/", nil)
	_, err := rt.RoundTrip(req) //nolint:bodyclose // there is none with an error
	require.ErrorIs(t, err, broken)
	assert.Equal(t, 1, sent)
	reports, _ := h.counts()
	assert.Zero(t, reports)
}

// The rejected response is read to its end and closed, so that its connection
// is used again.
func TestTransportClosesWhatItDoesNotHandOn(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	refused := &trackedBody{Reader: strings.NewReader("who are you?")}
	sent := 0
	rt := h.client.Transport(sendingID, roundTripFunc(func(*http.Request) (*http.Response, error) {
		if sent++; sent == 1 {
			return &http.Response{StatusCode: http.StatusUnauthorized, ContentLength: -1, Body: refused}, nil
		}
		assert.Equal(t, 1, refused.closed, "it is closed before the second request goes out")
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}))
	res, err := rt.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example/", nil))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, 12, refused.read)
	assert.Equal(t, 1, refused.closed)
}

func TestTransportAndRedirects(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		hops  []string // each redirects to the next
		hosts []string // WithHosts, if any
		want  []bool   // whether the token goes there
	}{
		"one host":                     {hops: []string{"https://a.example/1", "https://a.example/2"}, want: []bool{true, true}},
		"names do not mind case":       {hops: []string{"https://a.example/1", "https://A.Example:443/2"}, want: []bool{true, true}},
		"another host":                 {hops: []string{"https://a.example/1", "https://b.example/2"}, want: []bool{true, false}},
		"a host below":                 {hops: []string{"https://a.example/1", "https://x.a.example/2"}, want: []bool{true, false}},
		"another port":                 {hops: []string{"https://a.example/1", "https://a.example:8443/2"}, want: []bool{true, false}},
		"there and back":               {hops: []string{"https://a.example/1", "https://b.example/2", "https://a.example/3"}, want: []bool{true, false, false}},
		"to https":                     {hops: []string{"http://a.example/1", "https://a.example/2"}, want: []bool{true, true}},
		"to http":                      {hops: []string{"https://a.example/1", "http://a.example/2"}, want: []bool{true, false}},
		"to http and back":             {hops: []string{"https://a.example/1", "http://a.example/2", "https://a.example/3"}, want: []bool{true, false, false}},
		"a dot at the end":             {hops: []string{"https://a.example/1", "https://a.example./2"}, want: []bool{true, false}},
		"another address":              {hops: []string{"http://[::1]:80/1", "http://[::1]/2", "http://127.0.0.1/3"}, want: []bool{true, true, false}},
		"named":                        {hops: []string{"https://a.example/1", "https://b.example/2", "https://c.example/3"}, hosts: []string{"A.example", "b.example"}, want: []bool{true, true, false}},
		"named, not the first":         {hops: []string{"https://x.example/1", "https://a.example/2"}, hosts: []string{"a.example"}, want: []bool{false, false}},
		"named with port":              {hops: []string{"https://a.example:8443/1", "https://a.example/2"}, hosts: []string{"a.example:8443"}, want: []bool{true, false}},
		"named with the scheme's port": {hops: []string{"https://a.example/1", "https://a.example:8443/2"}, hosts: []string{"a.example:443"}, want: []bool{true, false}},
		"named, to http":               {hops: []string{"https://a.example/1", "http://a.example/2"}, hosts: []string{"a.example"}, want: []bool{true, false}},
		"none named":                   {hops: []string{"https://a.example/1"}, hosts: []string{}, want: []bool{false}},
		"named address":                {hops: []string{"http://[::1]:8080/1", "http://[::1]/2"}, hosts: []string{"[::1]:8080", "::1"}, want: []bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			var got []bool
			base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
				got = append(got, r.Header.Get("Authorization") == "Bearer at-secret-1")
				assert.Equal(t, "mine", r.Header.Get("X-Mine"), "what the caller set is gone")
				res := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}
				if len(got) < len(row.hops) {
					res.StatusCode = http.StatusTemporaryRedirect
					res.Header.Set("Location", row.hops[len(got)])
				}
				return res, nil
			})
			var opts []client.TransportOption
			if row.hosts != nil {
				opts = append(opts, client.WithHosts(row.hosts...))
			}
			c := &http.Client{Transport: h.client.Transport(sendingID, base, opts...)}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, row.hops[0], nil)
			require.NoError(t, err)
			req.Header.Set("X-Mine", "mine")
			res, err := c.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			assert.Equal(t, row.want, got)
		})
	}
}

// Redirects between real servers: the other one sees no token in any place.
func TestTransportLeaksNothingToAnotherServer(t *testing.T) {
	t.Parallel()
	for as, send := range map[string]map[string]string{
		"bearer": {"as": "bearer"}, "header": {"as": "header", "name": "X-Sid"}, "cookie": {"as": "cookie", "name": "sid"},
	} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			h := setupSending(t)
			h.send = send
			var seen []http.Header
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Header.Clone())
				w.WriteHeader(http.StatusUnauthorized) // asking for a token does not help
			}))
			defer other.Close()
			first := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
			defer first.Close()

			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, first.URL, nil)
			require.NoError(t, err)
			res, err := (&http.Client{Transport: h.client.Transport(sendingID, nil)}).Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
			require.Len(t, seen, 1)
			for name, values := range seen[0] {
				assert.NotContains(t, strings.Join(values, " "), "secret", name)
			}
			reports, _ := h.counts()
			assert.Zero(t, reports, "a token was reported that was not sent")
		})
	}
}

// A response that does not tell which request it answers hides where the
// redirect came from.
func TestTransportWithoutATrace(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	var carried []string
	rt := h.client.Transport(sendingID, roundTripFunc(func(r *http.Request) (*http.Response, error) {
		carried = append(carried, r.Header.Get("Authorization"))
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}))
	for _, req := range []*http.Request{
		{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "a.example"}, Response: &http.Response{}},
		{Method: http.MethodGet},
	} {
		res, err := rt.RoundTrip(req.WithContext(t.Context()))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
	assert.Equal(t, []string{"", ""}, carried)
}

func TestTransportClosesIdleConnections(t *testing.T) {
	t.Parallel()
	h := setupSending(t)
	base := &closingBase{}
	(&http.Client{Transport: h.client.Transport(sendingID, base)}).CloseIdleConnections()
	(&http.Client{Transport: h.client.Transport(sendingID, roundTripFunc(nil))}).CloseIdleConnections()
	assert.Equal(t, 1, base.closed)
}

type closingBase struct {
	http.RoundTripper

	closed int
}

func (b *closingBase) CloseIdleConnections() { b.closed++ }
