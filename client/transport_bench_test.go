package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
)

// BenchmarkTransport shows what the transport adds to a request: beside a bare
// http.Client against a server on this machine, and without any network, where
// nothing else is left.
func BenchmarkTransport(b *testing.B) {
	h := newSendingHouse()
	api := httptest.NewServer(h.apiRoutes(b.Errorf))
	defer api.Close()
	c, err := client.New(api.URL, client.Options{Key: "rk_bench"})
	require.NoError(b, err)
	defer func() { require.NoError(b, c.Close()) }()

	const reply = `{"data":{"me":{"id":"u1","name":"Alice","things":[1,2,3,4,5,6,7,8,9,10]}}}`
	resource := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, reply)
	}))
	defer resource.Close()
	network := &http.Transport{MaxIdleConnsPerHost: 64}
	defer network.CloseIdleConnections()
	memory := roundTripFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(reply)), ContentLength: int64(len(reply)),
		}, nil
	})
	for _, base := range []struct {
		name string
		rt   http.RoundTripper
	}{{"network", network}, {"memory", memory}} {
		for _, way := range []struct {
			name string
			rt   http.RoundTripper
		}{
			{"bare", base.rt},
			{"transport", c.Transport(sendingID, base.rt)},
			{"transport-graphql", c.Transport(sendingID, base.rt, client.WithRejection(client.RejectGraphQL))},
		} {
			b.Run(base.name+"/"+way.name, func(b *testing.B) {
				hc := &http.Client{Transport: way.rt}
				b.ReportAllocs()
				for b.Loop() {
					benchRequest(b, hc, resource.URL)
				}
			})
		}
	}
}

func benchRequest(b *testing.B, c *http.Client, url string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer at-bare")
	res, err := c.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		b.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRejectGraphQL shows what looking into a reply costs: one without
// errors is walked as far as the limit.
func BenchmarkRejectGraphQL(b *testing.B) {
	long := `{"data":{"things":[` + strings.Repeat(`{"id":"u1","name":"a \"thing\"","at":12.5},`, 1500) + `{}]}}`
	for name, body := range map[string]string{
		"1KB": long[:1000], "60KB": long[:60_000], "refused": `{"errors":[` + refusedError + `],"data":null}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				res := &http.Response{
					StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
					Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
				}
				client.RejectGraphQL(res)
			}
		})
	}
}
