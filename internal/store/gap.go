package store

import (
	"context"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// GapStatus says what is to be done of events that were trimmed before a
// subscription got them.
type GapStatus int

// What is to be done of a gap.
const (
	GapTold  GapStatus = iota // the receiver was told after all that is missing was committed
	GapTell                   // whoever asked is to tell it, and ends that with [Store.EndGap]
	GapOther                  // somebody else is at it
)

// Gap is what is known of events that are missing.
type Gap struct {
	Status GapStatus
	ID     credential.Nonce  // of the event that tells of them, as a ULID: the same until somebody has told it
	Since  credential.Millis // when the first lane came upon it
	New    bool              // that was this call
}

// BeginGap is called by the holder of a lane that has come upon a gap, with the
// moment of the newest event in it. id becomes the ID of the event about it, if
// there is none yet. Nobody else is given it for as long as lease says.
func (s *Store) BeginGap(ctx context.Context, sub string, holder credential.Nonce, newest credential.Millis, id credential.Nonce, lease time.Duration) (Gap, error) {
	if err := checkName("subscription", sub); err != nil {
		return Gap{}, err
	}
	reply, err := s.runList(ctx, s.scripts.subGap, []string{keySub(sub)}, holder.String(), int64(newest), id.String(), lease.Milliseconds())
	if err != nil {
		return Gap{}, fmt.Errorf("gap of a subscription: %w", err)
	}
	if len(reply) != 4 {
		return Gap{}, errReply
	}
	status, ok := reply[0].(int64)
	since, ok2 := reply[2].(int64)
	if !ok || !ok2 {
		return Gap{}, errReply
	}
	gap := Gap{Status: GapStatus(status), Since: credential.Millis(since), New: reply[3] == int64(1)}
	if gap.Status == GapTell {
		if gap.ID, err = credential.ParseNonce(text(reply[1])); err != nil {
			return Gap{}, &CorruptError{Key: keySub(sub), Field: "gap", Err: err}
		}
	}
	return gap, nil
}

// EndGap ends what [Store.BeginGap] has given to a holder: told says that the
// receiver knows of it, otherwise the next lane is to tell. It changes nothing
// if somebody else was given it meanwhile.
func (s *Store) EndGap(ctx context.Context, sub string, holder credential.Nonce, told bool) error {
	if err := checkName("subscription", sub); err != nil {
		return err
	}
	done := "0"
	if told {
		done = "1"
	}
	if _, err := s.runInt(ctx, s.scripts.subGapEnd, []string{keySub(sub)}, holder.String(), done); err != nil {
		return fmt.Errorf("gap of a subscription: %w", err)
	}
	return nil
}
