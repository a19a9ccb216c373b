package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// tellPrefix starts the fields of a subscription that hold what the event log
// is still to be told of it: it stands in another slot than the subscription,
// so whoever changes the one cannot write the other at once.
const (
	tellPrefix   = "tell:"
	tellDisabled = tellPrefix + "disabled"
	tellLagging  = tellPrefix + "lagging"
)

var errNotice = fmt.Errorf("not the form of a notice: %w", errNumber)

// SetLagging notes that a subscription has begun to lag, its oldest undelivered
// event being from oldest; id becomes the ID of the event about it, as a ULID.
// It reports false if that was noted before: there is one event per lag.
func (s *Store) SetLagging(ctx context.Context, sub string, oldest credential.Millis, id credential.Nonce) (bool, error) {
	return s.lag(ctx, sub, id.String(), oldest)
}

// ClearLagging notes that a subscription has caught up.
func (s *Store) ClearLagging(ctx context.Context, sub string) error {
	_, err := s.lag(ctx, sub, "", 0)
	return err
}

func (s *Store) lag(ctx context.Context, sub, id string, oldest credential.Millis) (bool, error) {
	if err := checkName("subscription", sub); err != nil {
		return false, err
	}
	n, err := s.runInt(ctx, s.scripts.subLag, []string{keySub(sub)}, id, int64(oldest))
	if err != nil {
		return false, fmt.Errorf("lag of a subscription: %w", err)
	}
	return n == 1, nil
}

// announce appends to the event log what it is still to be told of a
// subscription. However many replicas do so, each stands there once.
func (s *Store) announce(ctx context.Context, sub string, fields map[string]string) error {
	for field, value := range fields {
		if !strings.HasPrefix(field, tellPrefix) {
			continue
		}
		event, err := noticeOf(sub, field, value)
		if err != nil {
			return &CorruptError{Key: keySub(sub), Field: field, Err: err}
		}
		stored, err := s.events.appendEvent(nil, event)
		if err != nil {
			return fmt.Errorf("announce: %w", err)
		}
		names := s.shards[s.ShardOf(credential.ID(sub))]
		args := []any{strings.TrimPrefix(field, tellPrefix) + ":" + sub, event.Nonce.String(), stored}
		if _, err := s.runInt(ctx, s.scripts.announce, []string{names.events, names.told}, args...); err != nil {
			return fmt.Errorf("announce: %w", err)
		}
		if _, err := s.runInt(ctx, s.scripts.subTold, []string{keySub(sub)}, field, value); err != nil {
			return fmt.Errorf("announce: %w", err)
		}
	}
	return nil
}

// noticeOf reads what is to be told: ULID, moment, oldest, reason, event.
func noticeOf(sub, field, value string) (credential.Event, error) {
	parts := strings.SplitN(value, " ", 5)
	if len(parts) != 5 {
		return credential.Event{}, errNotice
	}
	id, err := credential.ParseNonce(parts[0])
	if err != nil {
		return credential.Event{}, err
	}
	since, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return credential.Event{}, errNotice
	}
	oldest, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return credential.Event{}, errNotice
	}
	event := credential.Event{
		Type: credential.EventSubscriptionDisabled, InitiatedBy: credential.BySchedule, Nonce: id,
		Notice: credential.Notice{Subscription: sub, Since: credential.Millis(since), Oldest: credential.Millis(oldest), Event: parts[4]},
	}
	switch field {
	case tellDisabled:
		event.Reason = credential.Reason(parts[3])
	case tellLagging:
		event.Type = credential.EventSubscriptionLagging
	default:
		return credential.Event{}, errNotice
	}
	return event, nil
}
