package practice

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// sink is a ResponseWriter that keeps the last body and nothing else.
type sink struct {
	header http.Header
	body   []byte
	status int
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(status int) {
	s.status = status
}

func (s *sink) Write(b []byte) (int, error) {
	s.body = append(s.body[:0], b...)
	return len(b), nil
}

func (s *sink) FlushError() error { return nil }

// BenchmarkToken measures one rotation in the handler, without the network.
func BenchmarkToken(b *testing.B) {
	s := New(Options{})
	minted, err := s.Mint(MintRequest{Count: 1})
	if err != nil {
		b.Fatal(err)
	}
	token := minted[0].RefreshToken
	w := &sink{header: make(http.Header)}
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/token", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.SetBasicAuth("demo", url.QueryEscape("demo-secret"))
	r.Header.Set("Content-Type", formType)
	h := s.Handler()
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		r.Body = io.NopCloser(strings.NewReader("grant_type=refresh_token&refresh_token=" + token))
		h.ServeHTTP(w, r)
		i := strings.Index(string(w.body), refreshPrefix)
		if w.status != http.StatusOK || i < 0 {
			b.Fatalf("status %d", w.status)
		}
		token = string(w.body[i : i+len(refreshPrefix)+keyLen])
	}
}
