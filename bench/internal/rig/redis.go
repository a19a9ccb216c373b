package rig

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/redis/go-redis/v9"
)

// StartRedis starts a redis-server with an append-only file on a unix socket
// in the folder, and returns when it answers. Of its log so many bytes are
// shown where that takes too long.
func StartRedis(ctx context.Context, folder string, tail int, wait Patience) (server *Process, socket string, err error) {
	socket = filepath.Join(folder, "redis.sock")
	server, err = Start(ctx, folder, Command{
		Name: "redis", Path: "redis-server", Tail: tail,
		Args: []string{
			"--port", "0", "--unixsocket", socket, "--dir", folder, "--daemonize", "no",
			"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
		},
	})
	if err != nil {
		return nil, "", err
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer client.Close() //nolint:errcheck // it carried a few PINGs
	err = server.Until(ctx, wait, func(ctx context.Context) (bool, error) {
		err := client.Ping(ctx).Err()
		return err == nil, err
	})
	if err != nil {
		return nil, "", errors.Join(err, Kill(server))
	}
	return server, socket, nil
}
