package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

var errPlace = errors.New("it is no progress that refreshd wrote")

// PollPlace is how far a receiver that polls has answered what it was given.
type PollPlace struct {
	// Cursors hold, by shard, the position of the last entry of the event log
	// that needs no more; where nothing is stored it is where the subscription
	// started, or "0".
	Cursors  []string
	Answered []string // IDs of events behind the cursors that were answered
	// VerifyID and VerifyState are of a verification that waits to be answered;
	// empty is none.
	VerifyID, VerifyState string

	Revision uint64 // of what is stored, 0 if nothing is
}

// storedPlace is the stored form of a PollPlace.
type storedPlace struct {
	Cursors     []string `json:"cursors"`
	Answered    []string `json:"answered,omitempty"`
	VerifyID    string   `json:"verify_id,omitempty"`
	VerifyState string   `json:"verify_state,omitempty"`
}

// PollPlace returns the progress of a subscription's receiver.
func (s *Store) PollPlace(ctx context.Context, sub string) (PollPlace, error) {
	if err := checkName("subscription", sub); err != nil {
		return PollPlace{}, err
	}
	key := keyPoll(sub)
	value, revision, err := s.versioned(ctx, key)
	if err != nil {
		return PollPlace{}, fmt.Errorf("progress of a poll: %w", err)
	}
	if revision == 0 {
		cursors, err := s.subStart(ctx, sub)
		return PollPlace{Cursors: cursors}, err
	}
	var stored storedPlace
	if err := json.Unmarshal([]byte(value), &stored); err != nil || len(stored.Cursors) != len(s.shards) {
		return PollPlace{}, &CorruptError{Key: key, Field: "value", Err: errPlace}
	}
	return PollPlace{
		Cursors: stored.Cursors, Answered: stored.Answered,
		VerifyID: stored.VerifyID, VerifyState: stored.VerifyState, Revision: revision,
	}, nil
}

// SavePollPlace stores the progress in the place of that of its revision. It
// reports false, and changes nothing, if another is stored.
func (s *Store) SavePollPlace(ctx context.Context, sub string, place PollPlace) (bool, error) {
	if err := checkName("subscription", sub); err != nil {
		return false, err
	}
	if len(place.Cursors) != len(s.shards) {
		return false, fmt.Errorf("progress of a poll: %d positions for %d shards", len(place.Cursors), len(s.shards))
	}
	value, err := json.Marshal(storedPlace{
		Cursors: place.Cursors, Answered: place.Answered, VerifyID: place.VerifyID, VerifyState: place.VerifyState,
	})
	if err != nil {
		return false, fmt.Errorf("progress of a poll: %w", err)
	}
	saved, err := s.swap(ctx, keyPoll(sub), place.Revision, value)
	if err != nil {
		return false, fmt.Errorf("progress of a poll: %w", err)
	}
	return saved, nil
}

// subStart returns, by shard, where a subscription starts.
func (s *Store) subStart(ctx context.Context, sub string) ([]string, error) {
	key := keySub(sub)
	fields, err := s.client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("start of a subscription: %w", s.explain(ctx, err, key))
	}
	return s.starts(fields), nil
}
