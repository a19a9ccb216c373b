package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	"github.com/refreshd/refreshd/bench/internal/rig"
	"github.com/refreshd/refreshd/internal/practice"
)

// queueName is asynq's own default.
const queueName = "default"

// plain are processes of bench/baseline/plainworker, whose package comment says
// what it keeps in Redis.
type plain struct {
	site

	program string
	lockTTL time.Duration

	redis     *redis.Client
	inspector *asynq.Inspector
	running   []*rig.Process
}

// plainRecord is what plainworker stores of a credential.
type plainRecord struct {
	oauth2.Token

	Reauth bool `json:"reauth,omitempty"`
}

func newPlain(s site, program string, lockTTL time.Duration) *plain {
	return &plain{
		site: s, program: program, lockTTL: lockTTL,
		redis:     redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket}),
		inspector: asynq.NewInspector(asynq.RedisClientOpt{Network: "unix", Addr: s.socket}),
	}
}

func (p *plain) start(ctx context.Context) error {
	p.running = nil
	for range processes {
		p.starts++
		one, err := start(ctx, p.folder, rig.Command{
			Name: fmt.Sprintf("plainworker-%d", p.starts), Path: p.program, Env: []string{"CLIENT_SECRET=" + clientSecret},
			Args: []string{
				"--redis", p.socket, "--token-url", p.providerURL + "/token", "--client-id", clientID,
				"--concurrency", strconv.Itoa(p.credentials), "--lock-ttl", p.lockTTL.String(),
			},
		})
		if err != nil {
			return err
		}
		p.running = append(p.running, one)
	}
	for _, one := range p.running {
		err := one.Until(ctx, patience("it was ready"), func(context.Context) (bool, error) {
			return strings.Contains(one.Tail(), "plainworker: ready"), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fly stores expired tokens while the queue is paused, and lets go when the
// workers' scans have enqueued all of them.
func (p *plain) fly(ctx context.Context, grants []practice.Minted) error {
	if err := p.inspector.PauseQueue(queueName); err != nil {
		return err
	}
	expired := time.Now().Add(-time.Minute)
	_, err := p.redis.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, g := range grants {
			data, err := json.Marshal(plainRecord{Token: oauth2.Token{
				AccessToken: g.AccessToken, RefreshToken: g.RefreshToken, TokenType: "Bearer", Expiry: expired,
			}})
			if err != nil {
				return err
			}
			tx.Set(ctx, "token:"+g.Subject, data, 0)
			tx.ZAdd(ctx, "tokens:due", redis.Z{Score: float64(expired.Unix()), Member: g.Subject})
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = p.running[0].Until(ctx, patience("all tasks were in the queue"), func(context.Context) (bool, error) {
		info, err := p.inspector.GetQueueInfo(queueName)
		return err == nil && info.Pending >= p.credentials, err
	})
	if err != nil {
		return err
	}
	return p.inspector.UnpauseQueue(queueName)
}

func (p *plain) kill() error { return rig.Kill(p.running...) }

func (p *plain) held(ctx context.Context) ([]holding, error) {
	keys, err := p.redis.Keys(ctx, "token:*").Result()
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	values, err := p.redis.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, err
	}
	all := make([]holding, 0, len(keys))
	for i, value := range values {
		text, ok := value.(string)
		var rec plainRecord
		if !ok || json.Unmarshal([]byte(text), &rec) != nil {
			return nil, fmt.Errorf("%s is not a record", keys[i])
		}
		all = append(all, holding{
			subject: keys[i][len("token:"):], reauth: rec.Reauth,
			fresh: !rec.Reauth && time.Until(rec.Expiry) > 0, access: rec.AccessToken,
		})
	}
	return all, nil
}

func (p *plain) close() error {
	return errors.Join(p.kill(), p.inspector.Close(), p.redis.Close())
}
