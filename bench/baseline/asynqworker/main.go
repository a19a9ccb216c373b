// Command asynqworker is how token refreshes are commonly written with asynq:
// one task per credential that reads the token from Redis as JSON, has
// golang.org/x/oauth2 refresh it, writes it back, and enqueues the next task.
// It keeps no promise across a crash; it is the ordinary program that refreshd
// is compared with.
//
// With --fill it reads tokens from the standard input, a JSON object per line
// with the fields id and refresh_token, stores them with a task each, and ends.
// Without, it works until it is told to stop. The client's secret is in
// CLIENT_SECRET.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"
	"golang.org/x/sync/errgroup"
)

const (
	taskType = "token:refresh"
	fillers  = 32   // callers of Enqueue, which makes a round trip each
	maxLine  = 4096 // bytes
	perPipe  = 1000 // tokens per pipeline
)

func main() {
	socket := flag.String("redis", "", "unix socket of Redis")
	tokenURL := flag.String("token-url", "", "token endpoint")
	clientID := flag.String("client-id", "demo", "the client's ID; its secret is in CLIENT_SECRET")
	concurrency := flag.Int("concurrency", 64, "how many tasks run at a time")
	fill := flag.Bool("fill", false, "store the tokens of the standard input and end")
	flag.Parse()

	w := &worker{
		redis: redis.NewClient(&redis.Options{Network: "unix", Addr: *socket, PoolSize: *concurrency}),
		queue: asynq.NewClient(asynq.RedisClientOpt{Network: "unix", Addr: *socket, PoolSize: *concurrency}),
		config: &oauth2.Config{
			ClientID: *clientID, ClientSecret: os.Getenv("CLIENT_SECRET"),
			// Without a style, oauth2 finds it out by sending the first request twice.
			Endpoint: oauth2.Endpoint{TokenURL: *tokenURL, AuthStyle: oauth2.AuthStyleInHeader},
		},
		http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: *concurrency}},
	}
	run := func() error { return w.work(*socket, *concurrency) }
	if *fill {
		run = func() error { return w.fill(context.Background(), os.Stdin) }
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "asynqworker: %v\n", err)
		os.Exit(1)
	}
}

type worker struct {
	redis  *redis.Client
	queue  *asynq.Client
	config *oauth2.Config
	http   *http.Client
}

// payload is what a task carries.
type payload struct {
	ID string `json:"id"`
}

func tokenKey(id string) string { return "token:" + id }

// work runs until SIGTERM or SIGINT, which asynq listens for.
func (w *worker) work(socket string, concurrency int) error {
	server := asynq.NewServer(
		asynq.RedisClientOpt{Network: "unix", Addr: socket, PoolSize: concurrency},
		asynq.Config{Concurrency: concurrency, LogLevel: asynq.WarnLevel},
	)
	mux := asynq.NewServeMux()
	mux.HandleFunc(taskType, w.refresh)
	return server.Run(mux)
}

// refresh is the handler of a task.
func (w *worker) refresh(ctx context.Context, task *asynq.Task) error {
	var p payload
	if err := json.Unmarshal(task.Payload(), &p); err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	stored, err := w.redis.Get(ctx, tokenKey(p.ID)).Bytes()
	if err != nil {
		return err
	}
	var token oauth2.Token
	if err := json.Unmarshal(stored, &token); err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	fresh, err := w.config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, w.http), &token).Token()
	if err != nil {
		return err
	}
	if stored, err = json.Marshal(fresh); err != nil { //nolint:gosec // storing the token is what this program is for
		return err
	}
	if err := w.redis.Set(ctx, tokenKey(p.ID), stored, 0).Err(); err != nil {
		return err
	}
	_, err = w.queue.EnqueueContext(ctx, asynq.NewTask(taskType, task.Payload()), asynq.ProcessIn(time.Until(fresh.Expiry)*2/3))
	return err
}

// stored is one line of what fill reads.
type stored struct {
	ID           string `json:"id"`
	RefreshToken string `json:"refresh_token"`
}

// fill stores tokens that have expired, and a task for each.
func (w *worker) fill(ctx context.Context, r io.Reader) error {
	all, err := readStored(r)
	if err != nil {
		return err
	}
	expired := time.Now().Add(-time.Minute)
	for len(all) > 0 {
		part := all[:min(perPipe, len(all))]
		all = all[len(part):]
		_, err := w.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, s := range part {
				data, err := json.Marshal(&oauth2.Token{AccessToken: "expired", TokenType: "Bearer", RefreshToken: s.RefreshToken, Expiry: expired}) //nolint:gosec // as above
				if err != nil {
					return err
				}
				pipe.Set(ctx, tokenKey(s.ID), data, 0)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := w.enqueue(ctx, part); err != nil {
			return err
		}
	}
	return errors.Join(w.queue.Close(), w.redis.Close())
}

func (w *worker) enqueue(ctx context.Context, part []stored) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	for _, s := range part {
		group.Go(func() error {
			data, err := json.Marshal(payload{ID: s.ID})
			if err != nil {
				return err
			}
			_, err = w.queue.EnqueueContext(ctx, asynq.NewTask(taskType, data))
			return err
		})
	}
	return group.Wait()
}

func readStored(r io.Reader) ([]stored, error) {
	var all []stored
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var s stored
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("line %d of the standard input: %w", len(all)+1, err)
		}
		all = append(all, s)
	}
	return all, lines.Err()
}
