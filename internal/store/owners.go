package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// OpenOwners returns the credentials with an open attempt, by its owner.
func (s *Store) OpenOwners(ctx context.Context) (map[string][]credential.ID, error) {
	pipe := s.client.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(s.shards))
	keys := make([]string, len(s.shards))
	for i, names := range s.shards {
		keys[i] = names.open
		replies[i] = pipe.HGetAll(ctx, names.open)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("open attempts: %w", s.explain(ctx, err, keys...))
	}
	owners := map[string][]credential.ID{}
	for _, reply := range replies {
		for id, owner := range reply.Val() {
			owners[owner] = append(owners[owner], credential.ID(id))
		}
	}
	return owners, nil
}

// Beat counts this owner's heartbeat on, and notes where its journal is, for
// which run of Redis it has put back what it knows, and in which round it looked,
// and for which run it waits for others to do so.
func (s *Store) Beat(ctx context.Context, ready string, round uint64, waiting string) error {
	if err := failpoint.Hit(failpoint.StoreBeat); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	pipe := s.client.Pipeline()
	pipe.HIncrBy(ctx, keyOwners, s.owner, 1)
	pipe.HSet(ctx, keyMembers, s.owner, member(s.place, ready, waiting, round))
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("heartbeat: %w", s.explain(ctx, err, keyOwners, keyMembers))
	}
	return nil
}

// noPlace stands for an owner without a journal.
const noPlace = "-"

// member is what the roster says of an owner, see [Store.Beat].
func member(place, ready, waiting string, round uint64) string {
	if place == "" {
		place = noPlace
	}
	return place + " " + ready + "/" + waiting + "/" + strconv.FormatUint(round, 10)
}

// StandIn notes of owners who are dead that their heir, whose folder is theirs, has
// put back what they had written into that run of Redis, and waits for others with
// the rest. It counts no heartbeat.
func (s *Store) StandIn(ctx context.Context, run string, owners ...string) error {
	if len(owners) == 0 {
		return nil
	}
	fields := make([]string, 0, 2*len(owners))
	for _, owner := range owners {
		fields = append(fields, owner, member(s.place, "", run, 0))
	}
	if err := s.client.HSet(ctx, keyMembers, fields).Err(); err != nil {
		return fmt.Errorf("report for dead owners: %w", s.explain(ctx, err, keyMembers))
	}
	return nil
}

// Roster returns who works on this Redis. What an earlier version of refreshd
// has registered has a heartbeat alone.
func (s *Store) Roster(ctx context.Context) (credential.Roster, error) {
	pipe := s.client.Pipeline()
	beats, members := pipe.HGetAll(ctx, keyOwners), pipe.HGetAll(ctx, keyMembers)
	settled, round := pipe.Get(ctx, keySettled), pipe.Get(ctx, keyRound)
	inherited := pipe.HGetAll(ctx, keyHeirs)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return credential.Roster{}, fmt.Errorf("roster: %w", s.explain(ctx, err, keyOwners, keyMembers, keySettled, keyRound, keyHeirs))
	}
	roster := credential.Roster{
		Members: make(map[string]credential.Member, len(beats.Val())), Inherited: inherited.Val(),
	}
	var err error
	if roster.Round, err = round.Uint64(); err != nil && !errors.Is(err, redis.Nil) {
		return credential.Roster{}, &CorruptError{Key: keyRound, Err: errNumber}
	}
	if in, run, _ := strings.Cut(settled.Val(), " "); in == strconv.FormatUint(roster.Round, 10) {
		roster.Settled = run
	}
	for owner, count := range beats.Val() {
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			return credential.Roster{}, &CorruptError{Key: keyOwners, Field: owner, Err: errNumber}
		}
		m := credential.Member{Beat: n}
		var runs, looked string
		if m.Place, runs, _ = strings.Cut(members.Val()[owner], " "); m.Place == noPlace {
			m.Place = ""
		}
		m.Ready, runs, _ = strings.Cut(runs, "/")
		if m.Waiting, looked, _ = strings.Cut(runs, "/"); looked != "" {
			if m.Round, err = strconv.ParseUint(looked, 10, 64); err != nil {
				return credential.Roster{}, &CorruptError{Key: keyMembers, Field: owner, Err: errNumber}
			}
		}
		roster.Members[owner] = m
	}
	return roster, nil
}

// Unlisted returns those of the owners who are not on the roster of this Redis.
func Unlisted(ctx context.Context, client redis.UniversalClient, owners []string) ([]string, error) {
	if len(owners) == 0 {
		return nil, nil
	}
	beats, err := client.HMGet(ctx, keyOwners, owners...).Result()
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	var list []string
	for i, beat := range beats {
		if beat == nil {
			list = append(list, owners[i])
		}
	}
	return list, nil
}

// Introduce puts an owner on the roster that is not on it, as one that was not heard
// yet. place is where its journal is, "" if it has none.
func (s *Store) Introduce(ctx context.Context, owner, place string) error {
	pipe := s.client.Pipeline()
	pipe.HSetNX(ctx, keyMembers, owner, member(place, "", "", 0))
	pipe.HSetNX(ctx, keyOwners, owner, 0)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("introduce an owner: %w", s.explain(ctx, err, keyOwners, keyMembers))
	}
	return nil
}

// Settle notes that everyone has put back what they knew into that run of
// Redis, for as long as that round lasts. Whom an heir has stood in for until then is
// of no interest any more.
func (s *Store) Settle(ctx context.Context, run string, round uint64) error {
	pipe := s.client.Pipeline()
	pipe.Set(ctx, keySettled, strconv.FormatUint(round, 10)+" "+run, 0)
	pipe.Del(ctx, keyHeirs)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("note the run: %w", s.explain(ctx, err, keySettled))
	}
	return nil
}

// Inherited takes a dead owner off the roster whose journal was put back into that
// run of Redis, and notes that, for whoever knows the owner from the run before.
func (s *Store) Inherited(ctx context.Context, owner, run string) error {
	pipe := s.client.Pipeline()
	pipe.HSet(ctx, keyHeirs, owner, run)
	pipe.HDel(ctx, keyOwners, owner)
	pipe.HDel(ctx, keyMembers, owner)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("note an inheritance: %w", s.explain(ctx, err, keyHeirs, keyOwners, keyMembers))
	}
	return nil
}

// NextRound counts on that somebody has changed what the others went by.
func (s *Store) NextRound(ctx context.Context) error {
	if err := s.client.Incr(ctx, keyRound).Err(); err != nil {
		return fmt.Errorf("next round: %w", s.explain(ctx, err, keyRound))
	}
	return nil
}

// Forget takes an owner that is dead and has nothing open off the roster.
func (s *Store) Forget(ctx context.Context, owner string) error {
	pipe := s.client.Pipeline()
	pipe.HDel(ctx, keyOwners, owner)
	pipe.HDel(ctx, keyMembers, owner)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("forget an owner: %w", s.explain(ctx, err, keyOwners, keyMembers))
	}
	return nil
}
