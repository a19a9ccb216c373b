// Command loop is the upper bound of the comparison: a plain Go program that
// refreshes each grant once, with a tuned HTTP client, and does nothing else.
// It stores nothing, so whatever a service costs on top shows against it.
//
// It reads one refresh token per line from the standard input, posts them all,
// and ends. The client's secret is in CLIENT_SECRET.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	tokenURL := flag.String("token-url", "", "token endpoint")
	clientID := flag.String("client-id", "demo", "the client's ID; its secret is in CLIENT_SECRET")
	concurrency := flag.Int("concurrency", 64, "how many calls are in the air")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *tokenURL, *clientID, *concurrency); err != nil {
		fmt.Fprintf(os.Stderr, "loop: %v\n", err)
		os.Exit(1) //nolint:gocritic // the signal handler ends with the process
	}
}

func run(ctx context.Context, tokenURL, clientID string, concurrency int) error {
	tokens, err := readTokens(os.Stdin)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			MaxIdleConns: concurrency, MaxIdleConnsPerHost: concurrency, MaxConnsPerHost: concurrency,
			DisableCompression: true,
		},
	}
	defer client.CloseIdleConnections()
	secret := os.Getenv("CLIENT_SECRET")
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range concurrency {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(tokens) {
					return nil
				}
				if err := refresh(ctx, client, tokenURL, clientID, secret, tokens[i]); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

func readTokens(r io.Reader) ([]string, error) {
	var tokens []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		tokens = append(tokens, lines.Text())
	}
	if len(tokens) == 0 {
		return nil, errors.Join(errors.New("no refresh token on the standard input"), lines.Err())
	}
	return tokens, lines.Err()
}

// refresh presents one refresh token (RFC 6749, 6) and reads the reply.
func refresh(ctx context.Context, client *http.Client, tokenURL, clientID, secret, token string) (err error) {
	body := "grant_type=refresh_token&refresh_token=" + url.QueryEscape(token)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, tokenURL, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(secret))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the provider answered %s", resp.Status)
	}
	return nil
}
