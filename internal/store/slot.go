package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// SlotState is the progress of a periodic task. Slots are numbers that grow
// with time; 0 is none.
type SlotState struct {
	Done    int64  // the last slot that was finished
	Running int64  // the slot that was started and not finished
	Owner   string // who runs it, or ran the last
	Until   credential.Millis
	Resumes int // how often it was taken up after its owner died

	SlotProgress

	StartedAt  credential.Millis
	FinishedAt credential.Millis // 0 while one is running
	Outcome    string            // how the last one ended
}

// SlotProgress is what a running slot keeps so that another can go on.
type SlotProgress struct {
	Cursor string
	Counts map[string]int64
}

// Slot returns the progress of a periodic task; the zero state if it never
// ran.
func (s *Store) Slot(ctx context.Context, name string) (SlotState, error) {
	key, err := slotKey(name)
	if err != nil {
		return SlotState{}, err
	}
	fields, err := s.client.HGetAll(ctx, key).Result()
	if err != nil {
		return SlotState{}, fmt.Errorf("progress of %s: %w", name, s.explain(ctx, err, key))
	}
	return slotState(key, fields)
}

// StartSlot starts a slot of a periodic task for an owner, or resumes it where
// its owner's lease has passed: the state tells the cursor to go on from. It
// reports false where the slot, or a later one, was done or runs, or an earlier
// one still runs elsewhere. The lease lasts until the next [Store.SaveSlot].
func (s *Store) StartSlot(ctx context.Context, name string, slot int64, owner string, lease time.Duration) (SlotState, bool, error) {
	key, err := slotKey(name)
	if err != nil {
		return SlotState{}, false, err
	}
	reply, err := s.runList(ctx, s.scripts.slotStart, []string{key}, slot, owner, lease.Milliseconds())
	if err != nil {
		return SlotState{}, false, fmt.Errorf("start of %s: %w", name, err)
	}
	if len(reply) != 2 {
		return SlotState{}, false, errReply
	}
	fields, err := pairs(reply[1])
	if err != nil {
		return SlotState{}, false, err
	}
	state, err := slotState(key, fields)
	return state, err == nil && text(reply[0]) == "1", err
}

// SaveSlot keeps the progress of a running slot and extends its lease. The
// error is [ErrLeaseLost] where the owner does not run it any longer.
func (s *Store) SaveSlot(ctx context.Context, name string, slot int64, owner string, progress SlotProgress, lease time.Duration) error {
	return s.saveSlot(ctx, name, slot, owner, max(lease.Milliseconds(), 1), progress, "")
}

// FinishSlot ends a running slot. The error is [ErrLeaseLost] as above.
func (s *Store) FinishSlot(ctx context.Context, name string, slot int64, owner string, counts map[string]int64, outcome string) error {
	return s.saveSlot(ctx, name, slot, owner, 0, SlotProgress{Counts: counts}, outcome)
}

func (s *Store) saveSlot(ctx context.Context, name string, slot int64, owner string, lease int64, progress SlotProgress, outcome string) error {
	key, err := slotKey(name)
	if err != nil {
		return err
	}
	counts, err := json.Marshal(progress.Counts)
	if err != nil {
		return fmt.Errorf("encode the progress of %s: %w", name, err)
	}
	n, err := s.runInt(ctx, s.scripts.slotSave, []string{key}, slot, owner, lease, progress.Cursor, counts, outcome)
	if err != nil {
		return fmt.Errorf("progress of %s: %w", name, err)
	}
	return heldOr(n, nil)
}

func slotKey(name string) (string, error) {
	if err := checkName("slot", name); err != nil {
		return "", err
	}
	return slotPrefix + name, nil
}

func slotState(key string, fields map[string]string) (SlotState, error) {
	n := numbers{from: fields}
	state := SlotState{
		Done: n.get("done"), Running: n.get("running"), Owner: fields["owner"],
		Until: credential.Millis(n.get("until")), Resumes: int(n.get("resumes")),
		SlotProgress: SlotProgress{Cursor: fields["cursor"]},
		StartedAt:    credential.Millis(n.get("started")), FinishedAt: credential.Millis(n.get("finished")),
		Outcome: fields["outcome"],
	}
	if n.err != nil {
		return SlotState{}, &CorruptError{Key: key, Field: "a number", Err: n.err}
	}
	if counts := fields["counts"]; counts != "" {
		if err := json.Unmarshal([]byte(counts), &state.Counts); err != nil {
			return SlotState{}, &CorruptError{Key: key, Field: "counts", Err: errNumber}
		}
	}
	return state, nil
}
