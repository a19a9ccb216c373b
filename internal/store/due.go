package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// claimReply is how long a claim's answer is kept for its repetition.
	claimReply = 30 * time.Second
	// claimedWithin is how near a score must be that stands in place of an
	// overdue one to be taken for a claim's, or for that of a credential that
	// waits for a permit.
	claimedWithin = 6 * time.Second
)

// Overdue returns up to most entries of a provider's due index in one shard
// whose scores are between two moments, these included, the lowest score first
// and without the first skip of them. What a record says is left for
// [Store.Expiries].
func (s *Store) Overdue(ctx context.Context, shard int, provider string, from, till credential.Millis, skip, most int) ([]credential.Overdue, error) {
	names, err := s.dueOf(shard, provider)
	if err != nil {
		return nil, err
	}
	key := names.due + provider
	page, err := s.client.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
		Key: key, Start: int64(from), Stop: int64(till), ByScore: true, Offset: int64(skip), Count: int64(most),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("overdue credentials: %w", s.explain(ctx, err, key))
	}
	list := make([]credential.Overdue, len(page))
	for i, z := range page {
		list[i] = credential.Overdue{ID: credential.ID(text(z.Member)), Due: credential.Millis(z.Score)}
	}
	return list, nil
}

// Expiries fills in what the records of one shard say that matters for the order
// in which they are called. It stays 0 for one that cannot be read.
func (s *Store) Expiries(ctx context.Context, shard int, list []credential.Overdue) error {
	names, err := s.ofShard(shard)
	if err != nil {
		return err
	}
	return s.readExpiries(ctx, names, list)
}

func (s *Store) readExpiries(ctx context.Context, names shardKeys, list []credential.Overdue) error {
	for from := 0; from < len(list); from += perScript {
		part := list[from:min(from+perScript, len(list))]
		keys := make([]string, len(part))
		for i, o := range part {
			keys[i] = names.cred + string(o.ID)
		}
		reply, err := s.runList(ctx, s.scripts.expiries, keys)
		if err != nil {
			return fmt.Errorf("expiries of overdue credentials: %w", err)
		}
		if len(reply) != 4*len(part) {
			return errReply
		}
		for i := range part {
			ends, err := strconv.ParseInt(text(reply[4*i]), 10, 64)
			sent, bad := strconv.ParseInt(text(reply[4*i+1]), 10, 64)
			clock, worse := strconv.ParseInt(text(reply[4*i+2]), 10, 64)
			if err != nil || bad != nil || worse != nil {
				return errReply
			}
			part[i].ExpiresAt, part[i].FirstSent, part[i].Clock = credential.Millis(ends), credential.Millis(sent), credential.Millis(clock)
			part[i].Session = text(reply[4*i+3]) == "1"
		}
	}
	return nil
}

// Claim moves the scores of those ids that are due to now + lasts and returns
// them: nobody else is handed them meanwhile. A claim repeated with its nonce
// returns the same IDs.
func (s *Store) Claim(ctx context.Context, shard int, provider string, ids []credential.ID, nonce credential.Nonce, lasts time.Duration) ([]credential.ID, error) {
	names, err := s.dueOf(shard, provider)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	args := make([]any, 0, 2+len(ids))
	args = append(args, lasts.Milliseconds(), claimReply.Milliseconds())
	for _, id := range ids {
		args = append(args, string(id))
	}
	reply, err := s.runList(ctx, s.scripts.claim, []string{names.due + provider, names.claim + nonce.String()}, args...)
	if err == nil {
		err = failpoint.Hit(failpoint.StoreClaimed)
	}
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	claimed := make([]credential.ID, len(reply))
	for i, v := range reply {
		claimed[i] = credential.ID(text(v))
	}
	return claimed, nil
}

// NextDue returns the lowest score of a provider's due index in one shard;
// false if it is empty.
func (s *Store) NextDue(ctx context.Context, shard int, provider string) (credential.Millis, bool, error) {
	names, err := s.dueOf(shard, provider)
	if err != nil {
		return 0, false, err
	}
	key := names.due + provider
	first, err := s.client.ZRangeWithScores(ctx, key, 0, 0).Result()
	if err != nil {
		return 0, false, fmt.Errorf("next due time: %w", s.explain(ctx, err, key))
	}
	if len(first) == 0 {
		return 0, false, nil
	}
	return credential.Millis(first[0].Score), true, nil
}

// Release gives back what was claimed and not begun: those that are overdue
// are due at the given moment; where the record says that its time is still to
// come, because somebody else took care of it, it is due then. 0 leaves those that
// are overdue at the moment that their records say: they keep their place among
// what is.
func (s *Store) Release(ctx context.Context, provider string, ids []credential.ID, at credential.Millis) error {
	if err := checkName("provider", provider); err != nil || len(ids) == 0 {
		return err
	}
	groups := s.groups(len(ids), func(i int) credential.ID { return ids[i] })
	err := s.eachGroup(groups, func(g group) error {
		names := s.shards[g.shard]
		keys := append(make([]string, 0, 1+len(g.at)), names.due+provider)
		for _, i := range g.at {
			keys = append(keys, names.cred+string(ids[i]))
		}
		_, err := s.runInt(ctx, s.scripts.release, keys, int64(at), len(names.cred), provider)
		return err
	})
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// Wake has every credential of a provider whose score comes within a while due at
// the moment that its record says, which may have passed: those that only rested
// have their places again. A claim is undone with it, which at worst lets a
// credential be looked at twice.
func (s *Store) Wake(ctx context.Context, provider string, within time.Duration) error {
	if err := checkName("provider", provider); err != nil {
		return err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return fmt.Errorf("wake: %w", err)
	}
	for shard := range s.shards {
		if err := s.wakeShard(ctx, shard, provider, now, now.Add(within)); err != nil {
			return fmt.Errorf("wake: %w", err)
		}
	}
	return nil
}

// wakeShard goes through the scores after one moment and up to another. What it
// releases leaves that range, or has its right score in it.
func (s *Store) wakeShard(ctx context.Context, shard int, provider string, after, to credential.Millis) error {
	key := s.shards[shard].due + provider
	from, till := "("+strconv.FormatInt(int64(after), 10), strconv.FormatInt(int64(to), 10)
	for {
		page, err := s.client.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: key, Start: from, Stop: till, ByScore: true, Count: perScript}).Result()
		if err != nil {
			return s.explain(ctx, err, key)
		}
		if len(page) == 0 {
			return nil
		}
		last := page[len(page)-1].Score
		score := strconv.FormatFloat(last, 'f', -1, 64)
		ids := make([]credential.ID, 0, len(page))
		for _, z := range page {
			if id, ok := z.Member.(string); ok && z.Score < last {
				ids = append(ids, credential.ID(id))
			}
		}
		// Any number may have the last score, of which the page may have only some.
		same, err := s.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: key, Start: score, Stop: score, ByScore: true}).Result()
		if err != nil {
			return s.explain(ctx, err, key)
		}
		for _, id := range same {
			ids = append(ids, credential.ID(id))
		}
		for part := range slices.Chunk(ids, perScript) {
			if err := s.Release(ctx, provider, part, 0); err != nil {
				return err
			}
		}
		from = "(" + score
	}
}

// Suspects tells, for records of one provider, which of them [Store.Heal] would
// find something wrong with as of now: due are their right scores. It reads
// both indexes with two commands for each shard, where healing takes a script
// for each record.
func (s *Store) Suspects(ctx context.Context, provider string, list []credential.Held, due []credential.Millis, now credential.Millis) ([]bool, error) {
	if err := checkName("provider", provider); err != nil {
		return nil, err
	}
	suspect := make([]bool, len(list))
	groups := s.groups(len(list), func(i int) credential.ID { return list[i].Record.ID })
	err := s.eachGroup(groups, func(g group) error {
		names := s.shards[g.shard]
		ids := make([]string, len(g.at))
		for n, i := range g.at {
			ids[n] = string(list[i].Record.ID)
		}
		pipe := s.client.Pipeline()
		scores := pipe.ZMScore(ctx, names.due+provider, ids...) // 0 where there is none: nothing is due in 1970
		places := pipe.Do(ctx, zmscore(names.ids, ids)...)      // all are 0, so nil has to be told from it
		if _, err := pipe.Exec(ctx); err != nil {
			return s.explain(ctx, err, names.due+provider, names.ids)
		}
		there, err := places.Slice()
		if err != nil || len(there) != len(ids) || len(scores.Val()) != len(ids) {
			return errors.Join(errReply, err)
		}
		for n, i := range g.at {
			have := credential.Millis(scores.Val()[n])
			suspect[i] = wrongScore(list[i], due[i], have, now) || there[n] == nil && isListed(list[i].Record)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compare the indexes: %w", err)
	}
	return suspect, nil
}

func zmscore(key string, members []string) []any {
	args := make([]any, 0, 2+len(members))
	args = append(args, "zmscore", key)
	for _, m := range members {
		args = append(args, m)
	}
	return args
}

// wrongScore reports whether have is neither the right score nor one that a
// claim or an attempt has put there for the time being.
func wrongScore(h credential.Held, want, have, now credential.Millis) bool {
	switch {
	case have == want:
		return false
	case want == 0 || have == 0:
		return true
	case want <= now && have <= now.Add(claimedWithin):
		return false
	default:
		return h.Attempt == nil || have > want
	}
}

// Heal sets the score of h in the due index to due, 0 for none, and sees to
// it that it is listed, unless the record or its open attempt have changed, or
// its session was touched, since h was read. It reports whether something was
// wrong. A score of the near future in place of one that has passed is right:
// it is a claim's. So is one before the deadline of an open attempt.
func (s *Store) Heal(ctx context.Context, h credential.Held, due credential.Millis) (bool, error) {
	names := s.keysOfID(h.Record.ID)
	nonce := ""
	if h.Attempt != nil {
		nonce = h.Attempt.Nonce.String()
	}
	var lastUse credential.Millis
	if alive(h.Record) {
		lastUse = h.Record.IssuedAt
	}
	keys := []string{names.cred + string(h.Record.ID), names.due + h.Record.Provider, names.ids}
	wrong, err := s.runInt(ctx, s.scripts.heal, keys, h.Record.Revision, nonce, int64(due), string(h.Record.ID),
		flag(isListed(h.Record)), claimedWithin.Milliseconds(), int64(lastUse))
	if err != nil {
		return false, fmt.Errorf("heal the indexes: %w", err)
	}
	return wrong == 1, nil
}

// isListed reports whether a record stands in the listing of its shard.
func isListed(r credential.Record) bool {
	return r.State != credential.StateDeleted && !r.ID.IsClient()
}

func (s *Store) dueOf(shard int, provider string) (shardKeys, error) {
	if err := checkName("provider", provider); err != nil {
		return shardKeys{}, err
	}
	return s.ofShard(shard)
}
