package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// recordSchema is the layout of a record. A record of a newer one is refused
// with a [SchemaError] and never overwritten.
const recordSchema = 1

var (
	errHead  = errors.New("its head is not one that refreshd wrote")
	errNoRev = errors.New("a record needs a revision")
)

// A record is stored in two fields: h, its head, is one line of text, which is
// all that the scripts read of it; r is the binary form of the rest. The head:
//
//	1 <revision> <state><presentable> <provider> <generation> <grant>
//	<refresh at> <clock> <expires at> <version> <last write>
//
// in one line, single spaces between; that of a sliding session goes on as
// session_codec.go says. The state is a letter. Presentable is 1 if there is
// something to present and it is not held back, else 0. Times are ms: refresh
// at is the next refresh, by the schedule or asked for by hand, the clock is
// the earliest moment at which something has to be announced whether or not an
// attempt is open, such as the expiry or a warning. The last write is 32 hex
// digits. The head is short, and what scripts look for stands in front, because
// every byte that a script touches costs Redis time: its Lua hashes each string
// byte by byte.

// appendRecord writes the stored form of rec: the head behind h, the rest
// behind r.
func (t eventTable) appendRecord(h, r []byte, rec credential.Record) (head, rest []byte, err error) {
	if h, err = appendHead(h, rec); err != nil {
		return nil, nil, err
	}
	if r, err = t.appendRest(r, rec); err != nil {
		return nil, nil, err
	}
	return h, r, nil
}

func appendHead(b []byte, rec credential.Record) ([]byte, error) {
	state := stateCode(rec.State)
	switch {
	case state == 0:
		return nil, errState
	case rec.Revision == 0:
		return nil, errNoRev
	}
	if err := checkName("provider", rec.Provider); err != nil {
		return nil, err
	}
	b = strconv.AppendUint(b, recordSchema, 10)
	b = strconv.AppendUint(append(b, ' '), rec.Revision, 10)
	b = append(b, ' ', state)
	if rec.Refreshable && !rec.Paused {
		b = append(b, '1', ' ')
	} else {
		b = append(b, '0', ' ')
	}
	b = append(b, rec.Provider...)
	b = strconv.AppendUint(append(b, ' '), rec.Generation, 10)
	b = strconv.AppendUint(append(b, ' '), rec.Grant, 10)
	b = strconv.AppendInt(append(b, ' '), int64(rec.NextRefresh()), 10)
	b = strconv.AppendInt(append(b, ' '), int64(rec.Clock()), 10)
	b = strconv.AppendInt(append(b, ' '), int64(rec.ExpiresAt), 10)
	b = strconv.AppendUint(append(b, ' '), rec.Version, 10)
	b = hex.AppendEncode(append(b, ' '), rec.LastWrite[:])
	return appendSessionWords(b, rec), nil
}

func (t eventTable) appendRest(b []byte, rec credential.Record) ([]byte, error) {
	b = appendString(b, rec.Subject)
	b = appendLabels(b, rec.Labels)
	b = appendString(b, rec.Reason)
	for _, m := range [...]credential.Millis{
		rec.Since, rec.CreatedAt, rec.UpdatedAt, rec.GrantedAt, rec.IssuedAt, rec.LimitAt, rec.WarnAt,
		rec.LastAttempt.SucceededAt, rec.LastAttempt.FailedAt,
	} {
		b = appendMillis(b, m)
	}
	b = binary.AppendVarint(b, int64(rec.Lifetime))
	b = binary.AppendVarint(b, int64(rec.Failures))
	b = appendBool(b, rec.Rotations.Seen)
	b = binary.AppendVarint(b, int64(rec.Rotations.Kept))
	b = appendString(b, rec.LastAttempt.Failure)
	b = appendString(b, rec.LastAttempt.Detail)
	b = binary.AppendUvarint(b, rec.Rejected)
	b = binary.AppendUvarint(b, uint64(len(rec.Spent)))
	for i := range rec.Spent {
		b = append(b, rec.Spent[i][:]...)
	}
	b, err := t.appendLast(b, rec.LastEvents)
	if err != nil {
		return nil, err
	}
	return appendWays(b, rec)
}

// decodeRecord reads what appendRecord wrote. Strings of the result share h
// and r. The error is a [*SchemaError] for a newer layout, else it says what is
// wrong without quoting any of it.
func (t eventTable) decodeRecord(key string, id credential.ID, h, r string) (credential.Record, error) {
	rec, err := decodeHead(h)
	if newer, ok := errors.AsType[*SchemaError](err); ok {
		newer.Key = key
		return credential.Record{}, newer
	}
	if err != nil {
		return credential.Record{}, &CorruptError{Key: key, Field: "h", Err: err}
	}
	if err := t.decodeRest(&rec, r); err != nil {
		return credential.Record{}, &CorruptError{Key: key, Field: "r", Err: err}
	}
	rec.ID = id
	return rec, nil
}

func decodeHead(h string) (rec credential.Record, err error) {
	f := fields{rest: h}
	if schema := f.uint(); f.err == nil && schema > recordSchema {
		return rec, &SchemaError{Found: schema, Known: recordSchema}
	} else if f.err != nil || schema != recordSchema {
		return rec, errHead
	}
	rec.Revision = f.uint()
	flags := f.next()
	rec.Provider = f.next()
	rec.Generation, rec.Grant = f.uint(), f.uint()
	rec.RefreshAt = f.millis()
	_ = f.millis() // the clock follows from the rest
	rec.ExpiresAt = f.millis()
	rec.Version = f.uint()
	rec.LastWrite = f.nonce()
	skipSessionWords(&f)
	if f.err != nil || f.rest != "" || len(flags) != 2 || rec.Revision == 0 || checkName("provider", rec.Provider) != nil {
		return rec, errHead
	}
	rec.Refreshable = flags[1] == '1'
	rec.State, err = stateOf(flags[0])
	return rec, err
}

func (t eventTable) decodeRest(rec *credential.Record, text string) error {
	r := reader{s: text}
	rec.Subject = r.str()
	rec.Labels = r.labels()
	rec.Reason = credential.Reason(r.str())
	for _, m := range [...]*credential.Millis{
		&rec.Since, &rec.CreatedAt, &rec.UpdatedAt, &rec.GrantedAt, &rec.IssuedAt, &rec.LimitAt, &rec.WarnAt,
		&rec.LastAttempt.SucceededAt, &rec.LastAttempt.FailedAt,
	} {
		*m = r.millis()
	}
	rec.AskedAt = rec.GrantedAt // unless another one follows
	rec.Lifetime = time.Duration(r.varint())
	rec.Failures = r.int()
	rec.Rotations = credential.Rotated{Seen: r.bool(), Kept: r.int()}
	rec.LastAttempt.Failure = credential.Reason(r.str())
	rec.LastAttempt.Detail = r.str()
	rec.Rejected = r.uvarint()
	if n := r.count(len(credential.MAC{})); n > 0 {
		rec.Spent = make([]credential.MAC, n)
		for i := range rec.Spent {
			copy(rec.Spent[i][:], r.take(len(credential.MAC{})))
		}
	}
	rec.LastEvents = t.last(&r)
	if r.err == nil && r.s == "" { // written before there was more
		rec.HasRefresh = rec.Refreshable
		return nil
	}
	r.ways(rec)
	return r.end()
}

// int reads a number that has to fit an int.
func (r *reader) int() int {
	n := r.varint()
	if n < math.MinInt32 || n > math.MaxInt32 {
		r.fail(errNumber)
		return 0
	}
	return int(n)
}

// fields takes a line of words apart that have a space between them. The first
// failure sticks.
type fields struct {
	rest string
	err  error
}

func (f *fields) next() string {
	if f.rest == "" {
		f.err = errCutOff
		return ""
	}
	word, rest, _ := strings.Cut(f.rest, " ")
	f.rest = rest
	return word
}

func (f *fields) uint() uint64 {
	n, err := strconv.ParseUint(f.next(), 10, 64)
	if err != nil {
		f.err = errNumber
	}
	return n
}

func (f *fields) millis() credential.Millis {
	n, err := strconv.ParseInt(f.next(), 10, 64)
	if err != nil {
		f.err = errNumber
	}
	return credential.Millis(n)
}

func (f *fields) bool() bool { return f.next() == "1" }

func (f *fields) nonce() credential.Nonce {
	n, err := credential.ParseNonce(f.next())
	if err != nil {
		f.err = err
	}
	return n
}
