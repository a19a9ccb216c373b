package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// KeysetOptions say whose keyset it is.
type KeysetOptions struct {
	Config string   // path of the configuration file
	Env    []string // as of os.Environ
}

// KeyInfo tells of one key what is no secret.
type KeyInfo struct {
	Use         string `json:"use"` // seal or hash
	ID          uint32 `json:"id"`
	Status      string `json:"status"` // primary, staged, old or disabled
	Fingerprint string `json:"fingerprint"`
	Needed      string `json:"needed,omitempty"` // what for, where that was found out
}

// ShowKeyset lists the keys in keyset.file, and returns the file's path.
func ShowKeyset(opts KeysetOptions) (path string, keys []KeyInfo, err error) {
	if path, err = keysetPath(opts); err != nil {
		return "", nil, err
	}
	k, _, err := seal.Open(path, seal.Options{MustExist: true})
	if err != nil {
		return "", nil, noKeyset(err)
	}
	return path, infos(k.Keys()), nil
}

// The steps of a [KeysetRotation].
const (
	RotationNone    = string(seal.StepNone)    // keys are staged already
	RotationStage   = string(seal.StepStage)   // new keys were added and are not used yet
	RotationPromote = string(seal.StepPromote) // the staged keys are used from now on
	RotationReplace = string(seal.StepReplace) // both
)

// KeysetRotation is what a rotation did.
type KeysetRotation struct {
	File string    `json:"file"`
	Step string    `json:"step"`
	Keys []KeyInfo `json:"keys"`
}

// RotateKeyset brings the rotation of keyset.file one step further: it stages
// new keys, or has those that are staged used. stage does only the first, now
// does both at once.
func RotateKeyset(opts KeysetOptions, stage, now bool) (KeysetRotation, error) {
	path, err := keysetPath(opts)
	if err != nil {
		return KeysetRotation{}, err
	}
	step, keys, err := seal.Rotate(path, seal.RotateOptions{Stage: stage, Now: now, At: time.Now()})
	if err != nil {
		if early, ok := errors.AsType[*seal.TooSoonError](err); ok {
			return KeysetRotation{}, fmt.Errorf("%w, or with --now if no process runs, or all have logged that the keyset was loaded again", early)
		}
		return KeysetRotation{}, noKeyset(err)
	}
	return KeysetRotation{File: path, Step: string(step), Keys: infos(keys)}, nil
}

func keysetPath(opts KeysetOptions) (string, error) {
	conf, err := config.Locate(opts.Config, opts.Env, "keyset")
	if err != nil {
		return "", err
	}
	return conf.Keyset.File, nil
}

// noKeyset says what to do where there is none.
func noKeyset(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keyset: %w; the first start of the service makes it. Name the service's own file with --config, or REFRESHD_KEYSET_FILE as in its environment", err)
	}
	return fmt.Errorf("keyset: %w", err)
}

func infos(keys []seal.Key) []KeyInfo {
	list := make([]KeyInfo, len(keys))
	for i, key := range keys {
		list[i] = KeyInfo{Use: "seal", ID: key.ID, Status: "old", Fingerprint: key.Fingerprint}
		if key.Use == seal.UseHash {
			list[i].Use = "hash"
		}
		switch {
		case !key.Enabled:
			list[i].Status = "disabled"
		case key.Primary:
			list[i].Status = "primary"
		case key.Staged:
			list[i].Status = "staged"
		}
	}
	return list
}

// Rekeyed is what [Rekey] did and found.
type Rekeyed struct {
	Records  int       `json:"records"`  // that were looked at
	Resealed int       `json:"resealed"` // that older keys had sealed
	Settled  bool      `json:"settled"`  // the last look found nothing that an older key has sealed
	Failed   []string  `json:"failed"`   // IDs that cannot be opened
	Journals int       `json:"journals"` // in data_dir; what is in there may be sealed with older keys
	Keys     []KeyInfo `json:"keys"`
}

const (
	// rekeyPasses bounds how often all records are looked at: the last look is
	// to find nothing, and processes that have not loaded a new key yet go on
	// sealing with the old one.
	rekeyPasses = 3
	rekeyPart   = 512
)

// Rekey seals everything in Redis with the primary key that an older one has
// sealed. It works on Redis itself, with the configuration and the keyset;
// services may run meanwhile. What is done stays done if it is interrupted.
func Rekey(ctx context.Context, opts KeysetOptions) (done Rekeyed, err error) {
	conf, err := config.Locate(opts.Config, opts.Env, "keyset", "redis")
	if err != nil {
		return Rekeyed{}, err
	}
	keys, _, err := seal.Open(conf.Keyset.File, seal.Options{MustExist: true})
	if err != nil {
		return Rekeyed{}, noKeyset(err)
	}
	if sample, err := keys.Seal(nil, nil); err != nil || !keys.Current(sample) {
		return Rekeyed{}, errors.Join(errors.New("keyset: what its primary key seals does not begin with the key's ID, so it cannot be told from what others have sealed; run refreshd keyset rotate first"), err)
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
	if done, err = rekey(ctx, s); err != nil {
		return done, fmt.Errorf("%w; what is done stays done, and running it again does the rest", err)
	}
	done.Journals, _ = journalsLeft(filepath.Join(conf.DataDir, "journal"))
	done.Keys = needed(infos(keys.Keys()), done)
	return done, nil
}

func rekey(ctx context.Context, s *store.Store) (Rekeyed, error) {
	done := Rekeyed{Failed: []string{}}
	for range rekeyPasses {
		done.Records = 0
		found, failed := 0, map[credential.ID]bool{}
		for cursor := ""; ; {
			list, next, err := s.Walk(ctx, "", cursor, rekeyPart)
			if !itemsOnly(err, failed) {
				return done, err
			}
			ids := make([]credential.ID, len(list))
			for i, held := range list {
				ids[i] = held.Record.ID
			}
			n, err := s.Reseal(ctx, ids...)
			if !itemsOnly(err, failed) {
				return done, err
			}
			done.Records, found = done.Records+len(ids), found+n
			if cursor = next; cursor == "" {
				break
			}
		}
		done.Failed = done.Failed[:0]
		for id := range failed {
			done.Failed = append(done.Failed, string(id))
		}
		slices.Sort(done.Failed)
		done.Resealed += found
		if found == 0 {
			done.Settled = true
			break
		}
	}
	return done, nil
}

// itemsOnly reports whether err is of single credentials alone, and adds these
// to failed.
func itemsOnly(err error, failed map[credential.ID]bool) bool {
	items, ok := errors.AsType[*store.ItemsError](err)
	if !ok {
		return err == nil
	}
	for _, id := range items.Failed() {
		failed[id] = true
	}
	return true
}

// needed says of each key what it is still needed for.
func needed(keys []KeyInfo, done Rekeyed) []KeyInfo {
	for i, key := range keys {
		switch {
		case key.Status == "primary":
			keys[i].Needed = "everything new"
		case key.Status == "staged":
			keys[i].Needed = "the next refreshd keyset rotate"
		case key.Status == "disabled":
			keys[i].Needed = "nothing: it is disabled"
		case key.Use == "hash":
			keys[i].Needed = "recognising refresh tokens that were spent while it was in use"
		case !done.Settled || len(done.Failed) > 0:
			keys[i].Needed = "perhaps credentials in Redis: not all are sealed with the primary key"
		default:
			keys[i].Needed = "nothing in Redis; journals and backups from before may need it"
		}
	}
	return keys
}

// keysetFile is the keyset file that this process was started with, under
// watch.
type keysetFile struct {
	path    string
	seen    string // stamps of the file as it was last looked at
	trouble string // with it, "" if it was taken over
}

// look takes over the file if it has changed, or if somebody asks. One that
// cannot be taken over is looked at every time again, since that may be
// Redis's fault, and complained of once.
func (f *keysetFile) look(ctx context.Context, s *service, asked bool) {
	stamps := stampsOf([]string{f.path})
	if !asked && stamps == f.seen && f.trouble == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, filesEvery)
	defer cancel()
	changed, err := s.keys.Reload(f.path, func(next *seal.Keyset) error { return s.store.Rotated(ctx, next) })
	f.seen = stamps
	log := logging.Component(s.log, "seal")
	switch {
	case err != nil:
		if err.Error() != f.trouble || asked {
			log.Error().Err(err).Str("file", f.path).Msg("the keyset was not loaded again, the old one stays in force")
		}
		f.trouble = err.Error()
		return
	case changed:
		primary, staged := 0, 0
		for _, key := range s.keys.Keys() {
			if key.Staged {
				staged++
			}
			if key.Primary && key.Use == seal.UseSeal {
				primary = int(key.ID)
			}
		}
		log.Info().Str("file", f.path).Str("fingerprint", s.keys.Fingerprint()).Int("sealing_key", primary).Int("staged", staged).
			Msg("the keyset was loaded again")
	}
	f.trouble = ""
}
