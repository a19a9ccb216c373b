package oauth2_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
)

// benchServer answers every request with a token.
func benchServer(b *testing.B) string {
	b.Helper()
	reply := []byte(`{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer","expires_in":3600,"refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA"}`)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(reply)
	}))
	b.Cleanup(s.Close)
	return s.URL
}

// BenchmarkExchange is a whole exchange with a provider in the same process,
// whose own work is part of the time.
func BenchmarkExchange(b *testing.B) {
	p, err := oauth2.New(oauth2.Options{
		Name: "bench", TokenURL: benchServer(b), ClientID: "client", ClientSecret: credential.NewSecret("secret"),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	refresh := credential.NewSecret("tGzv3JOkF0XG5Qx2TlKWIA")
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			out := p.Exchange(b.Context(), presenting(refresh, new(kept).keep), "")
			if out.Class != credential.ClassOK {
				b.Error(out.Class, out.Detail)
			}
		}
	})
}

// BenchmarkPlainPost is what BenchmarkExchange is to be compared with: net/http
// and encoding/json, without any of the care.
func BenchmarkPlainPost(b *testing.B) {
	url := benchServer(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}}
	b.Cleanup(client.CloseIdleConnections)
	form := []byte("grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA")
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(form))
			if err != nil {
				b.Error(err)
				return
			}
			req.SetBasicAuth("client", "secret")
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				b.Error(err)
			}
			_ = resp.Body.Close()
			var reply struct {
				AccessToken  string `json:"access_token"`
				RefreshToken string `json:"refresh_token"`
				ExpiresIn    int    `json:"expires_in"`
			}
			if err := json.Unmarshal(body, &reply); err != nil || reply.AccessToken == "" {
				b.Error("no token")
			}
		}
	})
}
