package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/scheduler"
	"github.com/refreshd/refreshd/worker"
)

// fetchSlots gives the stored progress of periodic fetches to the worker.
type fetchSlots struct{ store *store.Store }

func (s fetchSlots) StartSlot(ctx context.Context, name string, slot int64, owner string, lease time.Duration) (worker.Progress, bool, error) {
	state, ok, err := s.store.StartSlot(ctx, name, slot, owner, lease)
	return worker.Progress{Cursor: state.Cursor, Counts: state.Counts}, ok, err
}

func (s fetchSlots) SaveSlot(ctx context.Context, name string, slot int64, owner string, progress worker.Progress, lease time.Duration) error {
	return slotError(s.store.SaveSlot(ctx, name, slot, owner, store.SlotProgress(progress), lease))
}

func (s fetchSlots) FinishSlot(ctx context.Context, name string, slot int64, owner string, counts map[string]int64, outcome string) error {
	return slotError(s.store.FinishSlot(ctx, name, slot, owner, counts, outcome))
}

// slotError says in the worker's words that a slot is in other hands.
func slotError(err error) error {
	if errors.Is(err, store.ErrLeaseLost) {
		return fmt.Errorf("%w: %w", worker.ErrSlotLost, err)
	}
	return err
}

// slotStates gives the same to the scheduler, which only looks.
type slotStates struct{ store *store.Store }

func (s slotStates) Slot(ctx context.Context, name string) (scheduler.Slot, error) {
	state, err := s.store.Slot(ctx, name)
	return scheduler.Slot{Done: state.Done, Running: state.Running, Until: state.Until, Resumes: state.Resumes}, err
}
