package store

import (
	"context"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// TouchAnswer says what became of one touch.
type TouchAnswer string

// The answers.
const (
	// TouchTaken: the session's idle timeout started anew, at this moment by
	// the store's clock or, with another touch, right after it.
	TouchTaken TouchAnswer = "taken"
	// TouchUnknown: there is no such credential.
	TouchUnknown TouchAnswer = "unknown"
	// TouchNoSession: its token is no session that a use would keep alive.
	TouchNoSession TouchAnswer = "no_session"
	// TouchOver: its session is over, or has not begun.
	TouchOver TouchAnswer = "over"
)

// TouchStatus is the answer to one touch.
type TouchStatus struct {
	Answer   TouchAnswer
	Deadline credential.Millis // for TouchTaken: when the session dies unless it is used again; else 0
}

// Touch notes that the sessions of these credentials are used at this moment,
// by the store's clock. That moves their clocks and scores and nothing else: no
// version, no revision, and there is no event. The answers come in the order
// of ids. What is read afterwards is as [credential.Record.Touched] says; a
// Redis that loses its last second may lose it.
//
// Records that cannot be read are an [*ItemsError], their answer is "", and
// those of the others hold.
func (s *Store) Touch(ctx context.Context, ids []credential.ID) ([]TouchStatus, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	answers := make([]TouchStatus, len(ids))
	errs := make([]error, len(ids))
	groups := s.groups(len(ids), func(i int) credential.ID { return ids[i] })
	err := s.eachGroup(groups, func(g group) error { return s.touchGroup(ctx, g, ids, answers, errs) })
	if err != nil {
		return nil, fmt.Errorf("touch: %w", err)
	}
	return answers, itemErrors(ids, errs)
}

func (s *Store) touchGroup(ctx context.Context, g group, ids []credential.ID, answers []TouchStatus, errs []error) error {
	names := s.shards[g.shard]
	keys := make([]string, len(g.at))
	for n, i := range g.at {
		keys[n] = names.cred + string(ids[i])
	}
	reply, err := s.scripts.touch.Run(ctx, s.client, keys, names.due, len(names.cred)).Slice()
	if err != nil {
		return s.explainDue(ctx, err, names, append([]string{names.open}, keys...))
	}
	if len(reply) != len(keys) {
		return errReply
	}
	for n, i := range g.at {
		answers[i], errs[i] = s.touchStatus(ctx, keys[n], ids[i], reply[n])
	}
	return nil
}

// touchStatus reads the script's answer for one touch.
func (s *Store) touchStatus(ctx context.Context, key string, id credential.ID, answer any) (TouchStatus, error) {
	if deadline, ok := answer.(int64); ok {
		return TouchStatus{Answer: TouchTaken, Deadline: credential.Millis(deadline)}, nil
	}
	switch text(answer) {
	case "u":
		return TouchStatus{Answer: TouchUnknown}, nil
	case "s":
		return TouchStatus{Answer: TouchNoSession}, nil
	case "o":
		return TouchStatus{Answer: TouchOver}, nil
	case "c":
		_, err := s.status(ctx, key, id, "unreadable")
		return TouchStatus{}, err
	case "w":
		return TouchStatus{}, s.explain(ctx, errWrongType, key)
	default:
		return TouchStatus{}, errCode
	}
}
