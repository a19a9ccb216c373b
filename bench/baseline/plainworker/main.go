// Command plainworker keeps OAuth tokens in Redis fresh the way that a careful
// user of asynq and golang.org/x/oauth2 writes it: what the crash comparison
// puts beside refreshd. It is meant to be a fair opponent. Each choice is the
// usual one, and says why it is; none is there to make it lose.
//
// Redis holds, for each credential, the key token:ID with a record in JSON (the
// fields of an oauth2.Token and reauth, which says that the user has to log in
// again) and a member of the sorted set tokens:due, whose score is the Unix
// time of the expiry. Any number of these processes may share one Redis.
//
// It works until SIGTERM or SIGINT. The client's secret is in CLIENT_SECRET.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"
)

const (
	// httpTimeout bounds a call of the provider. http.Client has no timeout of
	// its own; 30 s is what most programs and libraries set.
	httpTimeout = 30 * time.Second
	// saveTimeout bounds the write of a received token.
	saveTimeout = 5 * time.Second
	// ahead is how long before its expiry a token is refreshed, so that nobody
	// is handed one that runs out on the way.
	ahead = time.Minute
	// scanEvery is how often the tokens that are due are looked for. It is one
	// cheap command, and a token that is asked for is not late.
	scanEvery = time.Second
)

func main() {
	socket := flag.String("redis", "", "unix socket of Redis")
	tokenURL := flag.String("token-url", "", "token endpoint")
	clientID := flag.String("client-id", "demo", "the client's ID; its secret is in CLIENT_SECRET")
	concurrency := flag.Int("concurrency", 64, "how many tasks run at a time")
	lockTTL := flag.Duration("lock-ttl", 10*time.Second, "how long a credential stays locked if the worker that locked it dies")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *socket, *tokenURL, *clientID, *concurrency, *lockTTL)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "plainworker: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, socket, tokenURL, clientID string, concurrency int, lockTTL time.Duration) (err error) {
	at := asynq.RedisClientOpt{Network: "unix", Addr: socket, PoolSize: concurrency}
	w := &worker{
		// A connection for each task: none waits for another's to be free when
		// it has a token to save.
		redis: redis.NewClient(&redis.Options{Network: "unix", Addr: socket, PoolSize: concurrency}),
		queue: asynq.NewClient(at),
		config: &oauth2.Config{
			ClientID: clientID, ClientSecret: os.Getenv("CLIENT_SECRET"),
			// Spelled out: with AuthStyleAutoDetect the library finds the style
			// out by sending a failed request a second time in the other style,
			// refresh token and all.
			Endpoint: oauth2.Endpoint{TokenURL: tokenURL, AuthStyle: oauth2.AuthStyleInHeader},
		},
		http:    &http.Client{Timeout: httpTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}},
		lockTTL: lockTTL,
	}
	defer func() { err = errors.Join(err, w.queue.Close(), w.redis.Close()) }()
	server := asynq.NewServer(at, asynq.Config{Concurrency: concurrency, LogLevel: asynq.WarnLevel})
	mux := asynq.NewServeMux()
	mux.HandleFunc(taskType, w.refresh)
	if err := server.Start(mux); err != nil {
		return err
	}
	defer server.Shutdown()
	fmt.Fprintln(os.Stderr, "plainworker: ready")
	w.scan(ctx)
	return nil
}

// scan enqueues a task for each token that is due, until ctx ends. Every
// replica does it: with a single scheduler, nothing would be refreshed while
// that one is down.
func (w *worker) scan(ctx context.Context) {
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for {
		if err := w.enqueueDue(ctx, time.Now()); err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "plainworker: scan: %v\n", err) // the next one makes up for it
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *worker) enqueueDue(ctx context.Context, now time.Time) error {
	ids, err := w.redis.ZRangeArgs(ctx, redis.ZRangeArgs{Key: dueKey, ByScore: true, Start: "-inf", Stop: now.Add(ahead).Unix()}).Result()
	if err != nil {
		return err
	}
	for _, id := range ids {
		task, err := newTask(id, w.lockTTL)
		if err != nil {
			return err
		}
		if _, err := w.queue.EnqueueContext(ctx, task); err != nil && !errors.Is(err, asynq.ErrDuplicateTask) {
			return err
		}
	}
	return nil
}
