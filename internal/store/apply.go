package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

var (
	errFields = errors.New("a write cannot both close an attempt and leave it open")
	errAlone  = errors.New("a write cannot both need an attempt and need that there is none")
)

// Apply stores writes, each for itself: one script per shard for all. The
// statuses come in the order of the writes. A write that is repeated is
// recognised and written once. One that says that a session was idle for too
// long, which was touched since its record was read, has moved.
//
// Where single writes fail for a reason of their own ([*FullError],
// [*SchemaError], [*CorruptError], [*ForeignKeyError], [*WrongTypeError]) the
// error is an [*ItemsError], their status is "", and the statuses of the others
// hold. After any other error there are no statuses: [*RunError] after
// [Store.Pass], and what the connection reports. A [*NotMadeError] says that none
// of the writes was made; after another one each may have been. Nothing is sent to
// Redis twice in one call, so that says nothing about an earlier one.
func (s *Store) Apply(ctx context.Context, writes []credential.Write) ([]credential.Status, error) {
	return s.apply(ctx, s.writes(), s.skewed.Load(), writes, false)
}

// maxAhead is how far ahead of Redis's clock a write may have been decided. One
// that is further ahead was decided by a clock that has jumped since it was
// read.
const maxAhead = 30 * time.Second

// SetSkewed has Apply refuse what was decided ahead of Redis's clock: read is
// called then, to have the clock read again, and the writes have the status
// [credential.StatusMoved], so that they are decided again.
func (s *Store) SetSkewed(read func(ctx context.Context) error) { s.skewed.Store(&read) }

func (s *Store) apply(ctx context.Context, run string, skewed *func(context.Context) error, writes []credential.Write, again bool) ([]credential.Status, error) {
	if len(writes) == 0 {
		return nil, nil
	}
	statuses := make([]credential.Status, len(writes))
	errs := make([]error, len(writes))
	groups := s.groups(len(writes), func(i int) credential.ID { return writes[i].Record.ID })
	var made atomic.Bool // something, perhaps
	err := s.eachGroup(groups, func(g group) error {
		err := s.applyGroup(ctx, g, run, skewed, writes, again, statuses, errs)
		if !notMade(err) {
			made.Store(true)
		}
		return err
	})
	switch {
	case err != nil && !made.Load():
		return nil, &NotMadeError{Err: err}
	case err != nil:
		return nil, fmt.Errorf("apply: %w", err)
	}
	for _, err := range errs {
		if err != nil {
			ids := make([]credential.ID, len(writes))
			for i := range writes {
				ids[i] = writes[i].Record.ID
			}
			return statuses, itemErrors(ids, errs)
		}
	}
	return statuses, nil
}

func (s *Store) applyGroup(ctx context.Context, g group, run string, skewed *func(context.Context) error, writes []credential.Write, again bool, statuses []credential.Status, errs []error) error {
	run, err := s.expected(ctx, run)
	if err != nil {
		return err
	}
	names := s.shards[g.shard]
	keys := append(make([]string, 0, 4+len(g.at)), names.open, names.ids, names.events)
	args := make([]any, 0, 8+15*len(g.at))
	args = append(args, names.due, len(names.cred), s.retention.Milliseconds(), s.perShard, string(stateCode(credential.StateDeleted)), 0, run, 0)
	at := g.at[:0:0]
	for _, i := range g.at {
		w := &writes[i]
		var err error
		if args, err = s.appendWrite(args, w, again); err != nil {
			errs[i] = err
			continue
		}
		at = append(at, i)
		if due := names.due + w.Record.Provider; !slices.Contains(keys[3:], due) {
			keys = append(keys, due)
		}
	}
	if len(at) == 0 {
		return nil
	}
	args[5] = len(keys) - 3
	if skewed != nil {
		var latest credential.Millis
		for _, i := range at {
			latest = max(latest, writes[i].Record.UpdatedAt)
		}
		args[7] = int64(latest.Add(-maxAhead))
	}
	first := len(keys)
	for _, i := range at {
		keys = append(keys, names.cred+string(writes[i].Record.ID))
	}
	if err := failpoint.Hit(failpoint.StoreApply); err != nil {
		return err
	}
	reply, err := s.runListOnce(ctx, s.scripts.apply, keys, args...)
	if err == nil {
		err = failpoint.Hit(failpoint.StoreApplied)
	}
	if err != nil {
		return err
	}
	if err := anotherRun(reply, run); err != nil {
		return err
	}
	if len(reply) == 2 && text(reply[0]) == "clock" {
		for _, i := range at {
			statuses[i] = credential.StatusMoved
		}
		return (*skewed)(ctx)
	}
	if len(reply) != len(at) {
		return errReply
	}
	for n, i := range at {
		statuses[i], errs[i] = s.status(ctx, keys[first+n], writes[i].Record.ID, text(reply[n]))
	}
	return nil
}

// status reads the script's answer for one write.
func (s *Store) status(ctx context.Context, key string, id credential.ID, answer string) (credential.Status, error) {
	switch answer {
	case "written":
		return credential.StatusWritten, nil
	case "overtaken":
		return credential.StatusOvertaken, nil
	case "moved":
		return credential.StatusMoved, nil
	case "full":
		return "", &FullError{Max: s.most}
	case "foreign":
		return "", &ForeignKeyError{Key: key}
	case "wrongtype":
		return "", s.explain(ctx, errWrongType, key)
	case "unreadable":
		values, err := s.client.HMGet(ctx, key, "h", "r").Result()
		if err != nil {
			return "", err
		}
		if _, err = s.events.decodeRecord(key, id, text(values[0]), text(values[1])); err != nil {
			return "", err
		}
		return "", &CorruptError{Key: key, Field: "h", Err: errHead}
	default:
		return "", errCode
	}
}

// appendWrite appends what the script wants to know of w: thirteen arguments,
// its other fields and its events. One that is made again stands, whatever was
// touched meanwhile: it was told.
func (s *Store) appendWrite(args []any, w *credential.Write, again bool) ([]any, error) {
	rec := w.Record
	if !w.Spent.IsZero() {
		rec.Remember(s.keyset.MAC([]byte(w.Spent.Reveal())))
	}
	h, r, err := s.events.appendRecord(make([]byte, 0, 224), make([]byte, 0, 192+len(credential.MAC{})*len(rec.Spent)), rec)
	if err != nil {
		return args, fmt.Errorf("record: %w", err)
	}
	sealed, attempt, err := s.writtenFields(w, rec)
	if err != nil {
		return args, err
	}
	others, err := s.otherFields(w, rec)
	if err != nil {
		return args, err
	}
	required := ""
	switch {
	case w.Alone && !w.Attempt.IsZero():
		return args, errAlone
	case w.Alone:
		required = "-"
	case !w.Attempt.IsZero():
		required = w.Attempt.String()
	}
	kind := "l"
	switch {
	case rec.State == credential.StateDeleted:
		kind = "d"
	case rec.ID.IsClient():
		kind = "c"
	}
	var idled credential.Millis
	if !again {
		idled = idledAt(w)
	}
	from := len(args)
	args = append(args, w.Revision, required, kind, rec.Provider, rec.Grant, int64(idled), h, r, sealed, attempt,
		int64(w.Due), len(others)/2, len(w.Events))
	args = append(args, others...)
	for _, e := range w.Events {
		line, err := s.events.appendEvent(make([]byte, 0, 192), e)
		if err != nil {
			return args[:from], fmt.Errorf("event: %w", err)
		}
		args = append(args, line)
	}
	return args, nil
}

// idledAt returns the moment as of which w says that nobody has used a session
// for its idle timeout, 0 if it says no such thing.
func idledAt(w *credential.Write) credential.Millis {
	for _, e := range w.Events {
		if e.Reason == credential.ReasonIdleTimeout {
			return w.Record.UpdatedAt
		}
	}
	return 0
}

// writtenFields returns the fields s and o as the script takes them: empty to
// leave one, "-" to erase it.
func (s *Store) writtenFields(w *credential.Write, rec credential.Record) (sealed, attempt []byte, err error) {
	switch {
	case w.Erase:
		sealed = []byte("-")
	case w.Token != nil:
		if sealed, err = s.sealToken(rec, *w.Token); err != nil {
			return nil, nil, fmt.Errorf("token: %w", err)
		}
	}
	switch {
	case w.Close && w.Open != nil:
		return nil, nil, errFields
	case w.Close:
		attempt = []byte("-")
	case w.Open != nil:
		if attempt, err = encodeAttempt(*w.Open); err != nil {
			return nil, nil, fmt.Errorf("attempt: %w", err)
		}
	}
	return sealed, attempt, nil
}

// otherFields returns names and values of the fields that few writes change: a,
// l and u. A value of "-" erases one.
func (s *Store) otherFields(w *credential.Write, rec credential.Record) (list []any, err error) {
	var value []byte
	switch {
	case w.Erase, w.Alternates != nil && len(*w.Alternates) == 0:
		list = append(list, "a", "-")
	case w.Alternates != nil:
		if value, err = s.sealAlternates(rec, *w.Alternates); err != nil {
			return nil, fmt.Errorf("alternates: %w", err)
		}
		list = append(list, "a", value)
	}
	switch {
	case w.SignIn != nil && !w.SignIn.IsZero():
		if value, err = s.sealSignIn(rec, *w.SignIn); err != nil {
			return nil, fmt.Errorf("sign-in: %w", err)
		}
		list = append(list, "l", value)
	case w.Erase, w.SignIn != nil:
		list = append(list, "l", "-")
	}
	switch {
	case w.UserData != nil && len(*w.UserData) > 0:
		if value, err = s.sealUserData(rec, *w.UserData); err != nil {
			return nil, fmt.Errorf("user data: %w", err)
		}
		list = append(list, "u", value)
	case w.Erase, w.UserData != nil:
		list = append(list, "u", "-")
	}
	return list, nil
}
