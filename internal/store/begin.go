package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// unreadableWait is how long a credential rests whose record could be begun
// but not opened.
const unreadableWait = time.Minute

var errCode = errors.New("the script's answer is not known")

// beginKind is what requests have in common that one script can treat.
type beginKind struct {
	owner string
	lasts time.Duration
	force bool
}

// Begin asks for attempts. The answers come in the order of the requests, one
// script per shard, owner, duration and force. A request that is repeated with
// its nonce gets the same attempt again. A record that was granted and cannot
// be opened has its attempt closed again, and the trouble in Err; nothing is
// begun then.
//
// Errors for all: [*RunError] after [Store.Pass], [*WrongTypeError],
// and what the connection reports.
func (s *Store) Begin(ctx context.Context, requests []credential.Begin) ([]credential.Begun, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	answers := make([]credential.Begun, len(requests))
	for kind, list := range beginKinds(requests) {
		if err := checkName("owner", kind.owner); err != nil {
			return nil, err
		}
		groups := s.groups(len(list), func(i int) credential.ID { return requests[list[i]].ID })
		for _, g := range groups {
			for i := range g.at {
				g.at[i] = list[g.at[i]]
			}
		}
		err := s.eachGroup(groups, func(g group) error { return s.beginGroup(ctx, g, kind, requests, answers) })
		if err != nil {
			return nil, fmt.Errorf("begin: %w", err)
		}
	}
	return answers, nil
}

// beginKinds sorts the positions of the requests by what one script can treat:
// nearly always a single kind.
func beginKinds(requests []credential.Begin) map[beginKind][]int {
	kinds := make(map[beginKind][]int, 1)
	for i, r := range requests {
		k := beginKind{r.Owner, r.Lasts, r.Force}
		kinds[k] = append(kinds[k], i)
	}
	return kinds
}

func (s *Store) beginGroup(ctx context.Context, g group, kind beginKind, requests []credential.Begin, answers []credential.Begun) error {
	run, err := s.expected(ctx, s.begins())
	if err != nil {
		return err
	}
	names := s.shards[g.shard]
	keys := make([]string, 0, 1+len(g.at))
	args := make([]any, 0, 6+2*len(g.at))
	keys = append(keys, names.open)
	args = append(args, kind.owner, kind.lasts.Milliseconds(), flag(kind.force), names.due, len(names.cred), run)
	for _, i := range g.at {
		keys = append(keys, names.cred+string(requests[i].ID))
		args = append(args, requests[i].Nonce.String(), requests[i].Generation)
	}
	if err := failpoint.Hit(failpoint.StoreBegin); err != nil {
		return err
	}
	reply, reads, durable, err := s.beginAndRead(ctx, keys, args)
	if err == nil {
		err = failpoint.Hit(failpoint.StoreBegun)
	}
	if err != nil {
		return s.explainDue(ctx, err, names, keys)
	}
	if err := anotherRun(reply, run); err != nil {
		return err
	}
	if len(reply) != 1+len(g.at) {
		return errReply
	}
	now, ok := reply[0].(int64)
	if !ok {
		return errReply
	}
	var unreadable []int
	for n, i := range g.at {
		answer := credential.Begun{ID: requests[i].ID, Now: credential.Millis(now)}
		s.readBegun(&answer, requests[i].Nonce, keys[1+n], text(reply[1+n]), reads[n])
		if answer.Err != nil && text(reply[1+n]) == codeGranted {
			unreadable = append(unreadable, i)
		}
		answer.Durable = durable && answer.Refusal == credential.RefusedNot && answer.Err == nil
		answers[i] = answer
	}
	if len(unreadable) > 0 {
		s.unbegin(ctx, names, unreadable, requests, answers)
	}
	return nil
}

// beginAndRead runs the script, reads the records behind it and waits until
// what it wrote is durable, as far as that was asked for, in one round trip.
func (s *Store) beginAndRead(ctx context.Context, keys []string, args []any) (list []any, reads []*redis.SliceCmd, durable bool, err error) {
	reads = make([]*redis.SliceCmd, len(keys)-1)
	var wait waiting
	send := func(run func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) (any, error) {
		pipe := s.client.Pipeline()
		cmd := run(ctx, pipe, keys, args...)
		for i, key := range keys[1:] {
			reads[i] = pipe.HMGet(ctx, key, "h", "r", "o", "t", "s", "l", "u")
		}
		wait = s.awaitDurable(ctx, pipe)
		_, execErr := pipe.Exec(ctx)
		reply, err := cmd.Result()
		if err != nil || execErr == nil || isWrongType(execErr) || wait.refused(execErr) { // a record's own trouble is in its own reply
			return reply, err
		}
		return nil, execErr
	}
	reply, err := send(s.scripts.begin.EvalSha)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = send(s.scripts.begin.Eval)
	}
	if err != nil {
		return nil, nil, false, err
	}
	list, ok := reply.([]any)
	if !ok || len(list) == 0 {
		return nil, nil, false, errReply
	}
	return list, reads, wait.confirmed(), nil
}

// codeGranted is the script's word for an attempt that is stored.
const codeGranted = "g"

// readBegun fills answer from the script's code and the record as it was read
// behind it. A record that was read without the attempt that was granted has
// lost it to a login or a logout in between.
func (s *Store) readBegun(answer *credential.Begun, nonce credential.Nonce, key, code string, read *redis.SliceCmd) {
	switch code {
	case codeGranted:
	case "u":
		answer.Refusal = credential.RefusedUnknown
		return
	case "t":
		answer.Refusal = credential.RefusedTerminal
	case "o":
		answer.Refusal = credential.RefusedOpen
	case "a":
		answer.Refusal = credential.RefusedAlternate
	case "m":
		answer.Refusal = credential.RefusedMoved
	case "n":
		answer.Refusal = credential.RefusedNotDue
	case "r":
		answer.Refusal = credential.RefusedNoRefresh
	case "e":
		answer.Refusal = credential.RefusedOver
	case "c": // decoding says what is wrong with it
	case "w":
		answer.Err = &WrongTypeError{Key: key, Got: "value of another type", Want: wantType(key)}
		return
	default:
		answer.Err = errCode
		return
	}
	values, err := read.Result()
	if err != nil {
		answer.Err = err
		return
	}
	held := &answer.Held
	if held.Record, held.Attempt, answer.Err = s.decodeState(key, answer.ID, values); answer.Err != nil || code != codeGranted {
		return
	}
	if held.Attempt == nil || held.Attempt.Nonce != nonce {
		answer.Refusal = credential.RefusedMoved
		return
	}
	answer.Err = s.openSecrets(key, held, values[4], values[5], values[6])
}

// unbegin closes attempts whose records cannot be opened: there is nothing to
// present. What fails here is left to the owner's own search for attempts that
// he does not know.
func (s *Store) unbegin(ctx context.Context, names shardKeys, list []int, requests []credential.Begin, answers []credential.Begun) {
	keys := []string{names.open}
	args := []any{names.due, len(names.cred), unreadableWait.Milliseconds()}
	for _, i := range list {
		answers[i].Held.Attempt = nil
		keys = append(keys, names.cred+string(requests[i].ID))
		args = append(args, requests[i].Nonce.String())
	}
	if _, err := s.runInt(ctx, s.scripts.unbegin, keys, args...); err != nil {
		for _, i := range list {
			answers[i].Err = errors.Join(answers[i].Err, fmt.Errorf("close the attempt again: %w", err))
		}
	}
}

// explainDue looks for the trouble in the shard's open index, keys[0], and in
// the due indexes, whose names the script made from the records at keys[1:].
func (s *Store) explainDue(ctx context.Context, err error, names shardKeys, keys []string) error {
	if !isWrongType(err) {
		return err
	}
	pipe := s.client.Pipeline()
	heads := make([]*redis.StringCmd, len(keys)-1)
	for i, key := range keys[1:] {
		heads[i] = pipe.HGet(ctx, key, "h")
	}
	_, _ = pipe.Exec(ctx) // each command has its own result
	suspects := keys[:1:1]
	for _, head := range heads {
		h, headErr := head.Result()
		if headErr != nil {
			continue
		}
		if rec, decodeErr := decodeHead(h); decodeErr == nil {
			suspects = append(suspects, names.due+rec.Provider)
		}
	}
	return s.explain(ctx, err, suspects...)
}

func flag(v bool) string {
	if v {
		return "1"
	}
	return "0"
}
