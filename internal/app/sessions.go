package app

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/store"
)

// sessions moves the clocks of sessions in the store.
type sessions struct {
	store *store.Store
	clock refresh.Clock
	log   zerolog.Logger
}

// Touch answers for a record that cannot be read as for one that is not there;
// the log has the cause.
func (s sessions) Touch(ctx context.Context, ids []credential.ID) ([]credential.Touch, error) {
	statuses, err := s.store.Touch(ctx, ids)
	if _, single := errors.AsType[*store.ItemsError](err); err != nil && !single {
		return nil, err
	}
	if err != nil {
		s.log.Error().Err(err).Msg("touched sessions cannot be read")
	}
	now := s.clock.Now()
	touches := make([]credential.Touch, len(ids))
	for i, status := range statuses {
		touches[i] = credential.Touch{ID: ids[i], Result: touchResult(status.Answer), Deadline: status.Deadline}
		if status.Answer == store.TouchTaken {
			touches[i].At = now
		}
	}
	return touches, nil
}

func touchResult(answer store.TouchAnswer) credential.TouchResult {
	switch answer {
	case store.TouchTaken:
		return credential.TouchDone
	case store.TouchNoSession:
		return credential.TouchNoSession
	case store.TouchOver:
		return credential.TouchOver
	case store.TouchUnknown:
	}
	return credential.TouchUnknown
}
