package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/redis/go-redis/v9"
)

// startRedis starts a redis-server with an append-only file on a unix socket
// in the folder, and returns when it answers.
func startRedis(ctx context.Context, folder string) (server *process, socket string, err error) {
	socket = filepath.Join(folder, "redis.sock")
	server, err = start(folder, command{
		name: "redis", path: "redis-server",
		args: []string{
			"--port", "0", "--unixsocket", socket, "--dir", folder, "--daemonize", "no",
			"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
		},
	})
	if err != nil {
		return nil, "", err
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer client.Close() //nolint:errcheck // it carried a few PINGs
	err = server.until(ctx, "it answered", func(ctx context.Context) (bool, error) {
		err := client.Ping(ctx).Err()
		return err == nil, err
	})
	if err != nil {
		return nil, "", errors.Join(err, server.kill())
	}
	return server, socket, nil
}
