package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/store"
)

// adminKeyName is the name of the key that the first start makes.
const adminKeyName = "admin"

// ensureAdminKey makes the admin key where there is none. Of two first starts in one
// folder one makes it: the file has room for one.
func (s *service) ensureAdminKey(ctx context.Context) error {
	if s.opts.Roles.Worker {
		has, err := hasAdminKey(ctx, s.store)
		if err != nil || has {
			return err
		}
		first, err := s.beginFirstStart(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = first.End() }() // a lock: it ends with the process at the latest
	}
	return ensureAdminKey(ctx, s.store, s.conf.Load().DataDir, logging.Component(s.log, "api"))
}

func hasAdminKey(ctx context.Context, keys *store.Store) (bool, error) {
	list, err := keys.ListKeys(ctx)
	if err != nil {
		return false, fmt.Errorf("API keys: %w", err)
	}
	return slices.ContainsFunc(list, func(k store.Key) bool { return k.Prefix == "" && slices.Contains(k.Scopes, string(api.ScopeAdmin)) }), nil
}

// ensureAdminKey makes the admin key on the first start and writes it to
// admin.key in the data folder, for the owner alone. It is not made again: the
// store has only its hash, and a file that was lost on purpose stays lost.
func ensureAdminKey(ctx context.Context, keys *store.Store, dataDir string, log zerolog.Logger) error {
	has, err := hasAdminKey(ctx, keys)
	if err != nil || has {
		return err
	}
	path := filepath.Join(dataDir, "admin.key")
	file, err := os.CreateTemp(dataDir, ".admin.key.*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("admin key: %w", err)
	}
	secret, hash, _ := api.NewKey()
	_, err = file.WriteString(secret.Reveal() + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("admin key: %w", errors.Join(err, os.Remove(file.Name())))
	}
	// Last, because a store with a key counts as set up: a start that dies
	// before this is a first start again, and one after it has its file.
	_, err = keys.AddKey(ctx, hash, store.KeySpec{Name: adminKeyName, Scopes: []string{string(api.ScopeAdmin)}})
	if err != nil {
		return fmt.Errorf("admin key: %w", err)
	}
	log.Info().Str("file", path).Msg("an admin key was made; the command line finds it there")
	return nil
}
