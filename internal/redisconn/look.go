package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

// ErrNotRunning says that the embedded redis-server of a data folder is not
// running, as between two runs of the service.
var ErrNotRunning = errors.New("the embedded redis-server is not running; it starts with the service")

// lookWithin bounds how long a server is waited for that is only looked at.
const lookWithin = 3 * time.Second

// Look reads the state of the Redis that o names without using it: nothing is
// started, made, or refused for what it is like. Where there is no
// redis-server for an embedded one, the view is that of the in-process store,
// which only the process that has it can look into. Errors are those of
// [Open], and [ErrNotRunning].
func Look(ctx context.Context, o Options) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if !o.URL.IsZero() {
		t, err := parseURL(o.URL, 1)
		if err != nil {
			return View{}, err
		}
		v, err := lookAt(ctx, t.client(), KindExternal)
		if err != nil {
			return View{}, explainLook(err, t.name)
		}
		return v, nil
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return View{}, fmt.Errorf("data_dir %s: %w", o.DataDir, err)
	}
	if _, err := exec.LookPath("redis-server"); o.NoServer || err != nil {
		return View{Kind: KindMemory}, nil
	}
	socket, short, err := findSocket(filepath.Join(dir, "redis"))
	if err == nil && short != "" {
		err = ownFolder(short)
	}
	if err == nil {
		err = ping(ctx, socket)
	}
	switch _, answered := errors.AsType[refused](err); {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return View{Kind: KindServer}, ErrNotRunning
	case err != nil && !answered:
		return View{Kind: KindServer}, fmt.Errorf("the embedded redis-server at %s does not answer: %w", socket, err)
	}
	v, err := lookAt(ctx, single(tune(&redis.Options{Network: "unix", Addr: socket}, 1, localDial)), KindServer)
	if Loads(err) {
		return View{}, fmt.Errorf("the embedded redis-server at %s is loading its data: %w; wait", socket, err)
	}
	return v, err
}

func lookAt(ctx context.Context, client *redis.Client, kind Kind) (v View, err error) {
	defer func() { err = errors.Join(err, client.Close()) }()
	return readView(ctx, client, kind, new(settings))
}

// explainLook says what to do about a server that does not answer.
func explainLook(err error, name string) error {
	switch {
	case redis.IsAuthError(err):
		return fmt.Errorf("redis.url: %s refused the login (%w); check the user and the password in redis.url", name, err)
	case redis.IsPermissionError(err):
		return fmt.Errorf("redis.url: %s: %w; the user needs the permission +info", name, err)
	case Loads(err):
		return fmt.Errorf("redis.url: %s is loading its data: %w; wait", name, err)
	}
	return fmt.Errorf("redis.url: no answer from %s (%w); is it running, is the address right, and does it expect rediss:// or redis://?", name, err)
}
