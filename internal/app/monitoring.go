package app

import (
	"net/http"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// monitoringPath is where the asynq dashboard lives.
const monitoringPath = "/monitoring"

// dashboard returns the asynq dashboard. It has no authentication of its own:
// the API stands in front of it, and lets only those write who may.
func dashboard(client redis.UniversalClient) http.Handler {
	return asynqmon.New(asynqmon.Options{RootPath: monitoringPath, RedisConnOpt: sharedClient{client}})
}

// sharedClient lets asynq's tools use a client that is open already.
type sharedClient struct{ client redis.UniversalClient }

// MakeRedisClient makes sharedClient an [asynq.RedisConnOpt].
func (s sharedClient) MakeRedisClient() any { return s.client }

var _ asynq.RedisConnOpt = sharedClient{}
