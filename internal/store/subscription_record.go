package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
)

const (
	// sealedSubscription names the content of a subscription in associated
	// data.
	sealedSubscription = "subscription"

	revisionField = "#revision"
	deletedPrefix = "#deleted:"

	// unseen is how far the revision moves when something is put back: more than
	// anybody has counted who had seen what was lost.
	unseen = 1000
)

// Why a subscription is disabled, where no receiver is to blame.
const (
	// ReasonOff is that of one that its owner has turned off.
	ReasonOff = "off"
	// ReasonDeleted is that of one that is no more.
	ReasonDeleted = "deleted"
)

var errSubscriptionForm = errors.New("it is no subscription that refreshd wrote")

// SubscriptionRecord is a subscription as it is stored. What is in Content is
// the caller's matter; it is sealed at rest.
type SubscriptionRecord struct {
	Name      string
	Version   uint64 // grows with every change
	Content   credential.Secret
	CreatedAt credential.Millis
	UpdatedAt credential.Millis
}

// SubscriptionRecords is everything that is stored of subscriptions' settings
// at one moment.
type SubscriptionRecords struct {
	Records  []SubscriptionRecord         // ordered by name
	Deleted  map[string]credential.Millis // names whose lanes were not removed yet, and since when
	Revision uint64                       // grows with every change
}

// SubscriptionsRevision tells whether [Store.SubscriptionRecords] has changed.
func (s *Store) SubscriptionsRevision(ctx context.Context) (uint64, error) {
	text, err := s.client.HGet(ctx, keySubs, revisionField).Result()
	switch {
	case isMissing(err):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("revision of the subscriptions: %w", s.explain(ctx, err, keySubs))
	}
	return parseRevision(text)
}

func parseRevision(text string) (uint64, error) {
	revision, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &CorruptError{Key: keySubs, Field: revisionField, Err: errNumber}
	}
	return revision, nil
}

// SubscriptionRecords reads what is stored. Records that cannot be read are
// [*CorruptError]s in the error; the others hold then.
func (s *Store) SubscriptionRecords(ctx context.Context) (SubscriptionRecords, error) {
	fields, err := s.client.HGetAll(ctx, keySubs).Result()
	if err != nil {
		return SubscriptionRecords{}, fmt.Errorf("read the subscriptions: %w", s.explain(ctx, err, keySubs))
	}
	found := SubscriptionRecords{Deleted: map[string]credential.Millis{}}
	var errs []error
	for field, value := range fields {
		name, deleted := strings.CutPrefix(field, deletedPrefix)
		switch {
		case field == revisionField:
			if found.Revision, err = parseRevision(value); err != nil {
				errs = append(errs, err)
			}
		case deleted:
			since, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				errs = append(errs, &CorruptError{Key: keySubs, Field: field, Err: errNumber})
				continue
			}
			found.Deleted[name] = credential.Millis(since)
		default:
			record, err := s.openSubscription(field, value)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			found.Records = append(found.Records, record)
		}
	}
	slices.SortFunc(found.Records, func(a, b SubscriptionRecord) int { return cmp.Compare(a.Name, b.Name) })
	return found, errors.Join(errs...)
}

// SaveSubscription stores a record in place of the one of its version, 0 for
// none, and returns it with its new one. It reports false, and changes
// nothing, if that is not what is stored.
func (s *Store) SaveSubscription(ctx context.Context, r SubscriptionRecord) (SubscriptionRecord, bool, error) {
	if err := checkSubscriptionName(r.Name); err != nil {
		return SubscriptionRecord{}, false, err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return SubscriptionRecord{}, false, err
	}
	before := r.Version
	r.Version, r.UpdatedAt = before+1, now
	if r.CreatedAt == 0 {
		r.CreatedAt = now
	}
	saved, err := s.putSubscription(ctx, r, before)
	return r, saved, err
}

func (s *Store) putSubscription(ctx context.Context, r SubscriptionRecord, before uint64) (bool, error) {
	value, err := s.sealSubscription(r)
	if err != nil {
		return false, err
	}
	n, err := s.runInt(ctx, s.scripts.subSave, []string{keySubs}, r.Name, before, value)
	if err != nil {
		return false, fmt.Errorf("store a subscription: %w", err)
	}
	return n == 1, nil
}

// RestoreSubscription puts a record back that Redis has lost, as
// [Store.SaveSubscription] returned it, unless it was changed or removed
// afterwards. It reports whether it was missing.
func (s *Store) RestoreSubscription(ctx context.Context, r SubscriptionRecord) (bool, error) {
	value, err := s.sealSubscription(r)
	if err != nil {
		return false, err
	}
	n, err := s.runInt(ctx, s.scripts.subRestore, []string{keySubs, removed + r.Name}, r.Name, value, unseen)
	if err != nil {
		return false, fmt.Errorf("put a subscription back: %w", err)
	}
	return n == 1, nil
}

func (s *Store) sealSubscription(r SubscriptionRecord) (string, error) {
	sealed, err := s.keyset.Seal([]byte(r.Content.Reveal()), subscriptionAD(r))
	if err != nil {
		return "", fmt.Errorf("seal a subscription: %w", err)
	}
	return fmt.Sprintf("%d %d %d %s", r.Version, r.CreatedAt, r.UpdatedAt, sealed), nil
}

// RemoveSubscription stops a subscription's deliveries, removes its record and
// returns when it was made. It returns 0, and removes nothing, if another version
// is stored. What its lanes hold stays until [Store.ForgetSubscription], for a
// delivery may be under way.
func (s *Store) RemoveSubscription(ctx context.Context, name string, version uint64) (made credential.Millis, err error) {
	if err := checkSubscriptionName(name); err != nil {
		return 0, err
	}
	if err := s.stopSubscription(ctx, name, ReasonDeleted); err != nil {
		return 0, err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return 0, err
	}
	n, err := s.runInt(ctx, s.scripts.subRemove, []string{keySubs, removed + name}, name, version, int64(now), int64(buried.Seconds()))
	return credential.Millis(n), laneError("remove", err)
}

// RemoveSubscriptionAgain is [Store.RemoveSubscription] for the one that was made
// then, in whatever version, which was removed before and Redis may have lost that.
// It reports whether it was there again. Another one of that name stays.
func (s *Store) RemoveSubscriptionAgain(ctx context.Context, name string, made credential.Millis) (bool, error) {
	// First, for whoever made it may put it back at this moment.
	if _, err := s.runInt(ctx, s.scripts.bury, []string{keySubs, removed + name}, "", int64(made), int64(buried.Seconds())); err != nil {
		return false, laneError("remove", err)
	}
	for {
		value, err := s.client.HGet(ctx, keySubs, name).Result()
		if err != nil && !isMissing(err) {
			return false, laneError("remove", s.explain(ctx, err, keySubs))
		}
		numbers, _, ok := splitSubscription(value)
		if !ok || numbers[1] != uint64(made) { //nolint:gosec // of 63 bits
			return false, nil
		}
		if was, err := s.RemoveSubscription(ctx, name, numbers[0]); err != nil || was != 0 {
			return err == nil, err
		}
	}
}

// TurnOff stops the delivery of a subscription that its owner does not want
// for now. Its cursors stay; [Store.Enable] goes on from there. One that is
// disabled already stays so for the old reason.
func (s *Store) TurnOff(ctx context.Context, sub string) error {
	if err := checkName("subscription", sub); err != nil {
		return err
	}
	return s.stopSubscription(ctx, sub, ReasonOff)
}

func (s *Store) stopSubscription(ctx context.Context, name, reason string) error {
	replaces := 0
	if reason == ReasonDeleted {
		replaces = 1
	}
	_, err := s.runInt(ctx, s.scripts.subStop, subKeys(name), reason, replaces)
	return laneError("stop", err)
}

// ForgetSubscription removes what is kept of the deliveries of a subscription
// that was deleted, and does nothing for any other.
func (s *Store) ForgetSubscription(ctx context.Context, name string) error {
	if err := checkSubscriptionName(name); err != nil {
		return err
	}
	if _, err := s.runInt(ctx, s.scripts.subForget, append(subKeys(name), keySubLog(name)), ReasonDeleted); err != nil {
		return laneError("forget", err)
	}
	pipe := s.client.TxPipeline()
	pipe.HDel(ctx, keySubs, deletedPrefix+name)
	pipe.HIncrBy(ctx, keySubs, revisionField, 1)
	if _, err := pipe.Exec(ctx); err != nil {
		return laneError("forget", s.explain(ctx, err, keySubs))
	}
	return nil
}

// ResealSubscriptions seals with the primary key what older ones have sealed of
// the subscriptions, and returns of how many, and the names of those that
// cannot be opened. One that is changed meanwhile is left as it is then.
func (s *Store) ResealSubscriptions(ctx context.Context) (found int, failed []string, err error) {
	fields, err := s.client.HGetAll(ctx, keySubs).Result()
	if err != nil {
		return 0, nil, fmt.Errorf("read the subscriptions: %w", s.explain(ctx, err, keySubs))
	}
	for name, value := range fields {
		_, sealed, ok := splitSubscription(value)
		if strings.HasPrefix(name, "#") || (ok && s.keyset.Current([]byte(sealed))) {
			continue
		}
		record, err := s.openSubscription(name, value)
		if err != nil {
			failed = append(failed, name)
			continue
		}
		if _, err := s.putSubscription(ctx, record, record.Version); err != nil {
			return found, failed, err
		}
		found++
	}
	return found, failed, nil
}

// splitSubscription takes a stored record apart: version, times and what is
// sealed.
func splitSubscription(value string) (numbers [3]uint64, sealed string, ok bool) {
	parts := strings.SplitN(value, " ", 4)
	if len(parts) != 4 {
		return numbers, "", false
	}
	for i := range numbers {
		n, err := strconv.ParseUint(parts[i], 10, 63)
		if err != nil {
			return numbers, "", false
		}
		numbers[i] = n
	}
	return numbers, parts[3], true
}

func (s *Store) openSubscription(name, value string) (SubscriptionRecord, error) {
	numbers, sealed, ok := splitSubscription(value)
	if !ok {
		return SubscriptionRecord{}, &CorruptError{Key: keySubs, Field: name, Err: errSubscriptionForm}
	}
	r := SubscriptionRecord{
		Name: name, Version: numbers[0],
		CreatedAt: credential.Millis(numbers[1]), UpdatedAt: credential.Millis(numbers[2]), //nolint:gosec // of 63 bits
	}
	plain, err := s.keyset.Open([]byte(sealed), subscriptionAD(r))
	if err != nil {
		return SubscriptionRecord{}, &CorruptError{Key: keySubs, Field: name, Err: err}
	}
	r.Content = credential.NewSecret(string(plain))
	return r, nil
}

// subscriptionAD binds a subscription's content to its name and version.
func subscriptionAD(r SubscriptionRecord) []byte {
	return seal.AD(credential.ID(r.Name), sealedSubscription, 0, r.Version)
}

// checkSubscriptionName refuses what cannot be a field beside those that begin
// with #.
func checkSubscriptionName(name string) error {
	if strings.HasPrefix(name, "#") {
		return &NameError{What: "subscription", Len: len(name), Byte: '#'}
	}
	return checkName("subscription", name)
}
