package keyset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
)

// Rekeyed is what [Rekey] did and found.
type Rekeyed struct {
	Records  int      `json:"records"`  // that were looked at
	Resealed int      `json:"resealed"` // that older keys had sealed, subscriptions among them
	Settled  bool     `json:"settled"`  // the last look found nothing that an older key has sealed
	Failed   []string `json:"failed"`   // IDs of credentials, and subscriptions, that cannot be opened
	Journals int      `json:"journals"` // in data_dir; what is in there may be sealed with older keys
	Keys     []Info   `json:"keys"`
}

const (
	// rekeyPasses bounds how often all records are looked at: the last look is
	// to find nothing, and processes that have not loaded a new key yet go on
	// sealing with the old one.
	rekeyPasses = 3
	rekeyPart   = 512
)

// ForRekey opens the file with the keys to seal everything with.
func ForRekey(path string) (*seal.Keyset, error) {
	keys, _, err := seal.Open(path, seal.Options{MustExist: true})
	if err != nil {
		return nil, missing(err)
	}
	if sample, err := keys.Seal(nil, nil); err != nil || !keys.Current(sample) {
		return nil, errors.Join(errors.New("keyset: what its primary key seals does not begin with the key's ID, so it cannot be told from what others have sealed; run refreshd keyset rotate first"), err)
	}
	return keys, nil
}

// Rekey seals everything in the store with the primary key that an older one
// has sealed; services may run on it meanwhile. What is done stays done if it
// is interrupted. keys is what the store seals with, journals how many there
// are in data_dir.
func Rekey(ctx context.Context, s *store.Store, keys *seal.Keyset, journals int) (Rekeyed, error) {
	done, err := rekey(ctx, s)
	if err != nil {
		return done, fmt.Errorf("%w; what is done stays done, and running it again does the rest", err)
	}
	done.Journals = journals
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
		signing, err := s.ResealSigningKeys(ctx)
		if err != nil {
			return done, err
		}
		n, closed, err := s.ResealSubscriptions(ctx)
		if err != nil {
			return done, err
		}
		found += n
		done.Failed = done.Failed[:0]
		for _, name := range closed {
			done.Failed = append(done.Failed, "subscription "+name)
		}
		for id := range failed {
			done.Failed = append(done.Failed, string(id))
		}
		slices.Sort(done.Failed)
		done.Resealed += found
		if found == 0 && !signing {
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
func needed(keys []Info, done Rekeyed) []Info {
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
