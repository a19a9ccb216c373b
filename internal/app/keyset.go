package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/keyset"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// KeyInfo tells of one key what is no secret.
type KeyInfo = keyset.Info

// KeysetRotation is what a rotation did.
type KeysetRotation = keyset.Rotation

// Rekeyed is what [Rekey] did and found.
type Rekeyed = keyset.Rekeyed

// The steps of a [KeysetRotation].
const (
	RotationNone    = keyset.StepNone
	RotationStage   = keyset.StepStage
	RotationPromote = keyset.StepPromote
	RotationReplace = keyset.StepReplace
)

// KeysetOptions say whose keyset it is.
type KeysetOptions struct {
	Config string   // path of the configuration file
	Env    []string // as of os.Environ
}

// ShowKeyset lists the keys in keyset.file, and returns the file's path.
func ShowKeyset(opts KeysetOptions) (path string, keys []KeyInfo, err error) {
	conf, err := config.Locate(opts.Config, opts.Env, "keyset")
	if err != nil {
		return "", nil, err
	}
	keys, err = keyset.Show(conf.Keyset.File)
	return conf.Keyset.File, keys, err
}

// RotateKeyset does as [keyset.Rotate], on keyset.file.
func RotateKeyset(opts KeysetOptions, stage, now bool) (KeysetRotation, error) {
	conf, err := config.Locate(opts.Config, opts.Env, "keyset")
	if err != nil {
		return KeysetRotation{}, err
	}
	return keyset.Rotate(conf.Keyset.File, stage, now)
}

// Rekey does as [keyset.Rekey], on Redis itself, with what the configuration
// names.
func Rekey(ctx context.Context, opts KeysetOptions) (done Rekeyed, err error) {
	conf, err := config.Locate(opts.Config, opts.Env, "keyset", "redis")
	if err != nil {
		return Rekeyed{}, err
	}
	keys, err := keyset.ForRekey(conf.Keyset.File)
	if err != nil {
		return Rekeyed{}, err
	}
	if _, err := os.Stat(conf.DataDir); conf.Redis.URL.IsZero() && err != nil {
		return Rekeyed{}, fmt.Errorf("data_dir, which holds the embedded Redis: %w; set redis.url, or name the service's own configuration with --config", err)
	}
	conn, err := redisconn.Open(ctx, redisconn.Options{URL: conf.Redis.URL, DataDir: conf.DataDir, Log: zerolog.Nop()})
	if err != nil {
		return Rekeyed{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	switch there, err := store.Described(ctx, conn.Client()); {
	case err != nil:
		return Rekeyed{}, err
	case !there:
		return Rekeyed{}, errors.New("this Redis holds nothing of refreshd: is redis.url, or data_dir, that of the service?")
	}
	s, err := store.New(ctx, store.Options{
		Client: conn.Client(), Keyset: keys, Shards: conf.Redis.Shards, Owner: "rekey-" + rand.Text(),
		Memory: conn.Kind() == redisconn.KindMemory, RunID: func(ctx context.Context) (string, error) {
			identity, err := conn.Identity(ctx)
			return identity.RunID, err
		},
	})
	if err != nil {
		return Rekeyed{}, err
	}
	journals, _ := journalsLeft(filepath.Join(conf.DataDir, "journal"))
	return keyset.Rekey(ctx, s, keys, journals)
}

// keysetLost refuses to go on without the keyset that sealed what this Redis
// holds: a new one would open nothing of it, and would look as if it were the
// right one. Redis is asked first, for whoever describes an installation has
// its keyset already.
func keysetLost(ctx context.Context, client redis.UniversalClient, file string) error {
	there, err := store.Described(ctx, client)
	if err != nil || !there {
		return err
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keyset.file: %s does not exist, and this Redis holds what was sealed with it; none was made: restore it from its backup, point keyset.file at it, or start with an empty Redis", file)
	}
	return nil
}

// onlooker is a keyset that is compared and never noted as the one in use.
type onlooker struct{ *seal.Keyset }

// Behind keeps the store from putting its own canary in place.
func (onlooker) Behind([]byte) bool { return true }

// fitsStored compares a keyset with what the Redis of a configuration holds. It
// returns what [store.New] does of one that does not fit, and changes nothing.
// keys is nil where there is no file. One that fits lets look at what is stored.
func fitsStored(ctx context.Context, conf *config.Config, keys *seal.Keyset, look func(*store.Store)) (err error) {
	conn, err := redisconn.Open(ctx, redisconn.Options{URL: conf.Redis.URL, DataDir: conf.DataDir, Log: zerolog.Nop()})
	if err != nil {
		return nil // what is wrong with Redis is told by itself
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if keys == nil {
		return keysetLost(ctx, conn.Client(), conf.Keyset.File)
	}
	if there, err := store.Described(ctx, conn.Client()); err != nil || !there {
		return nil // as above
	}
	s, err := store.New(ctx, store.Options{Client: conn.Client(), Keyset: onlooker{keys}, Shards: conf.Redis.Shards, Owner: "doctor-" + rand.Text()})
	if err != nil {
		return conn.Refusal(ctx, err)
	}
	look(s)
	return nil
}

// keysetFile is the file that this process was started with: another path
// takes effect with the next start.
func (s *service) keysetFile() *keyset.File {
	return &keyset.File{
		Path: s.conf.Load().Keyset.File, Keys: s.keys, Rotated: func(ctx context.Context, next *seal.Keyset) error { return s.store.Rotated(ctx, next) },
		Log:    logging.Component(s.log, "seal"),
		Stamps: func(path string) string { return stampsOf([]string{path}) },
	}
}
