package worker

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/logging"
)

// dyingURL in the environment makes the test program a worker on that Redis,
// which is there to be killed.
const dyingURL = "REFRESHD_TEST_DYING_WORKER"

func TestMain(m *testing.M) {
	if url := os.Getenv(dyingURL); url != "" {
		if err := workUntilKilled(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

func workUntilKilled(url string) error {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	client := redis.NewClient(opts)
	discard := zerolog.New(io.Discard)
	p, err := New(Options{
		NewServer: func(cfg asynq.Config) *asynq.Server { return asynq.NewServerFromRedisClient(client, cfg) },
		Refresher: stuckRefresher{}, Shards: 1,
		AsynqLog: logging.NewAsynq(discard), Logger: discard, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	select {}
}

// stuckRefresher says what it was given and never ends.
type stuckRefresher struct{}

func (stuckRefresher) RefreshBatch(_ context.Context, _ string, ids []credential.ID, _ string) (credential.BatchReport, error) {
	if _, err := fmt.Fprintf(os.Stdout, "took a batch of %d\n", len(ids)); err != nil {
		return credential.BatchReport{}, err
	}
	select {}
}

func (stuckRefresher) AdvanceBatch(context.Context, string, []credential.ID) (credential.BatchReport, error) {
	select {}
}

func (stuckRefresher) Refresh(context.Context, credential.ID, uint64) (credential.Held, error) {
	select {}
}
