package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"
)

const (
	taskType = "token:refresh"
	dueKey   = "tokens:due"
	// maxRetry is enough for an outage of some hours at asynq's own growing
	// intervals.
	maxRetry = 10
)

func tokenKey(id string) string { return "token:" + id }
func lockKey(id string) string  { return "lock:" + id }

// worker is what the handler needs.
type worker struct {
	redis   *redis.Client
	queue   *asynq.Client
	config  *oauth2.Config
	http    *http.Client
	lockTTL time.Duration
}

// payload is what a task carries: never the token, which may be another one by
// the time the task runs.
type payload struct {
	ID string `json:"id"`
}

// record is what is stored of a credential.
type record struct {
	oauth2.Token

	Reauth bool `json:"reauth,omitempty"`
}

// newTask makes a credential's task. It is unique for as long as the lock
// lasts: the scans of all replicas put one task into the queue and not one per
// second, and a worker's death holds the credential up no longer than that. (A
// fixed asynq.TaskID would hold it up until asynq has noticed the death, which
// takes one to two minutes.)
func newTask(id string, unique time.Duration) (*asynq.Task, error) {
	data, err := json.Marshal(payload{ID: id})
	if err != nil {
		return nil, err
	}
	return asynq.NewTask(taskType, data, asynq.MaxRetry(maxRetry), asynq.Timeout(2*httpTimeout), asynq.Unique(unique)), nil
}

// refresh is the handler of a task. It may run twice for one credential without
// harm, as asynq requires: it locks, reads again, and does nothing if the token
// is fresh by then.
func (w *worker) refresh(ctx context.Context, task *asynq.Task) error {
	var p payload
	if err := json.Unmarshal(task.Payload(), &p); err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	mine, err := w.lock(ctx, p.ID)
	if err != nil {
		return err
	}
	if mine == "" {
		return nil // another worker is at it; if it fails, a scan brings the credential back
	}
	defer w.unlock(ctx, p.ID, mine)
	rec, err := w.load(ctx, p.ID)
	if err != nil {
		return err
	}
	if rec.Reauth || time.Until(rec.Expiry) > ahead {
		return nil // done by another worker meanwhile
	}
	// Without an access token in it, the source refreshes whatever the expiry.
	source := w.config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, w.http), &oauth2.Token{RefreshToken: rec.RefreshToken})
	fresh, err := source.Token()
	if err != nil {
		return w.failed(ctx, p.ID, rec, err)
	}
	return w.save(ctx, p.ID, record{Token: *fresh})
}

// failed decides what an error means. A refresh token that the provider does
// not take is not presented for ever: only the user can mend that. Anything
// else is worth another run, which asynq sees to.
func (w *worker) failed(ctx context.Context, id string, rec record, err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || refused.ErrorCode != "invalid_grant" {
		return errors.New("the refresh failed") // the library's text would put the reply's body into the queue
	}
	now, err := w.load(ctx, id)
	if err != nil {
		return err
	}
	if now.RefreshToken != rec.RefreshToken {
		return nil // another worker was faster: what was refused is an old token
	}
	rec.Reauth = true
	return w.save(ctx, id, rec)
}

// lock takes the credential's lock, the usual SET NX with a time to live, and
// returns what proves that it is ours; "" where another has it. Without a time
// to live a worker's death would lock the credential for ever.
func (w *worker) lock(ctx context.Context, id string) (mine string, err error) {
	mine = rand.Text()
	got, err := w.redis.SetNX(ctx, lockKey(id), mine, w.lockTTL).Result()
	if err != nil || !got {
		return "", err
	}
	return mine, nil
}

// unlock gives the lock back if it is still ours: after its time it may be
// another worker's. An error is left to the time to live.
func (w *worker) unlock(ctx context.Context, id, mine string) {
	const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	_ = w.redis.Eval(ctx, compareAndDelete, []string{lockKey(id)}, mine).Err()
}

func (w *worker) load(ctx context.Context, id string) (record, error) {
	var rec record
	data, err := w.redis.Get(ctx, tokenKey(id)).Bytes()
	if err != nil {
		return rec, err
	}
	return rec, json.Unmarshal(data, &rec)
}

// save stores the record and its next due time together. The task's own end
// must not keep it from that: the token in hand may be the only one that works.
func (w *worker) save(ctx context.Context, id string, rec record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = w.redis.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.Set(ctx, tokenKey(id), data, 0)
		if rec.Reauth {
			tx.ZRem(ctx, dueKey, id)
		} else {
			tx.ZAdd(ctx, dueKey, redis.Z{Score: float64(rec.Expiry.Unix()), Member: id})
		}
		return nil
	})
	return err
}
