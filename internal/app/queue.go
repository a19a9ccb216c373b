package app

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/tasks"
)

// queue is the way to asynq's queues.
type queue struct {
	client *asynq.Client
	redis  redis.UniversalClient
}

// EnqueueContext makes queue a [tasks.Enqueuer].
func (q *queue) EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error) {
	return q.client.EnqueueContext(ctx, task, opts...)
}

// EnqueueDelivery enqueues the task that advances a lane.
func (q *queue) EnqueueDelivery(ctx context.Context, subscription string, lane int) error {
	task, err := tasks.NewDelivery(tasks.Delivery{Subscription: subscription, Lane: lane}, time.Now())
	if err != nil {
		return err
	}
	_, err = tasks.Enqueue(ctx, q, task)
	return err
}

// Waiting returns how many tasks wait in a queue. The dispatcher asks before
// each claim; asynq's Inspector would count every state of every task for it
// and sample their memory.
func (q *queue) Waiting(ctx context.Context, name string) (int, error) {
	n, err := q.redis.LLen(ctx, "asynq:{"+name+"}:pending").Result()
	if err != nil {
		return 0, fmt.Errorf("length of queue %s: %w", name, err)
	}
	return int(n), nil
}
