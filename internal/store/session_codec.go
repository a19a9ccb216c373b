package store

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

var (
	errPresence = errors.New("unknown presence")
	errFlags    = errors.New("a flag of it is not known to this version of refreshd")
	errTouch    = errors.New("it is no moment that refreshd wrote")
)

// The head of a record whose token is a sliding session goes on behind the last
// write with what the scripts need to tell its clock after a touch, as
// credential.Record.TouchedLast and credential.NextDue do:
//
//	<last use> <idle> <limit> <warn at> <once at> <extend after> <warn before>[ <quiet until>]
//
// Moments and durations are ms. Once at is the next refresh that no use puts
// off: one that was asked for by hand, or the replacement ahead of the limit.
// Extend after is -1 if no extension is planned, warn before is -1 if nobody is
// told of the end, and -2 if nothing is told at all, because the session's clock
// runs unwatched. Quiet until, which is left out if it is 0, is the moment before
// which an end by the limit is not told. The head of a session that is over, or
// has not begun, goes on with a single 0.
//
// The moment of the last touch is in a field of its own, t, that only the touch
// script writes. It stands there only beside the head of a living session, and
// only while it comes after the head's last use: apply sees to that.

// alive reports whether the token is a session that a touch keeps alive.
func alive(rec credential.Record) bool {
	return rec.Session.Sliding() && !rec.Session.Ended &&
		(rec.State == credential.StateActive || rec.State == credential.StateDegraded)
}

func appendSessionWords(b []byte, rec credential.Record) []byte {
	s := rec.Session
	if !alive(rec) {
		if s.Sliding() {
			b = append(b, " 0"...)
		}
		return b
	}
	asleep := rec.Presence == credential.PresenceBackground
	extend, warn := int64(-1), int64(-1)
	if s.ExtendAfter > 0 && rec.Refreshable && !asleep {
		extend = s.ExtendAfter.Milliseconds()
	}
	switch {
	case asleep:
		warn = -2
	case s.WarnBefore > 0:
		warn = s.WarnBefore.Milliseconds()
	}
	for _, n := range [...]int64{
		int64(rec.IssuedAt), s.Idle.Milliseconds(), int64(rec.LimitAt), int64(rec.AnnouncedAt()), int64(rec.ByHandOrLimit()), extend, warn,
	} {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	if quiet := rec.QuietUntil(); quiet > 0 {
		b = strconv.AppendInt(append(b, ' '), int64(quiet), 10)
	}
	return b
}

// skipSessionWords passes over what appendSessionWords wrote: it follows from
// the rest.
func skipSessionWords(f *fields) {
	if f.rest == "" || f.rest == "0" {
		f.rest = ""
		return
	}
	for range 7 {
		_ = f.millis()
	}
	if f.rest != "" {
		_ = f.millis()
	}
}

// withTouch returns rec as a touch has left it whose moment is the text t; ""
// is none. The touch script has made sure that the session was alive then, with
// the touches before this one, which the record does not show.
func withTouch(key string, rec credential.Record, t string) (credential.Record, error) {
	if t == "" {
		return rec, nil
	}
	ms, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return credential.Record{}, &CorruptError{Key: key, Field: "t", Err: errTouch}
	}
	return rec.TouchedLast(credential.Millis(ms)), nil
}

// What the rest of a record ends with: a number of flags, and behind it what
// they announce.
const (
	flagRefreshable = 1 << iota
	flagHasRefresh
	flagHasLogin
	flagPaused
	flagEnded
	flagSession  // idle, extend after, warn before, countdown at follow
	flagOnce     // once at follows, and refresh at, which the head does not show then
	flagLearned  // early, age, life follow
	presenceUnit // times 0 to 3: none, active, passive, background

	flagLimit   = 4 * presenceUnit // started at follows, and what is planned ahead of the limit
	flagRefused = 2 * flagLimit    // how many were refused follows, and their IDs

	flagActs  = 2 * flagRefused // how often its owner did what is no login at the backend follows
	flagAsked = 2 * flagActs    // when the owner's last login was asked for follows: refreshd has logged in since
	flagPlans = 2 * flagAsked   // how often its owner said when calls are made follows
	flagAlone = 2 * flagPlans   // how many generations brought a refresh token alone since the access token's follows
	flagToken = 2 * flagAlone   // when the token ended before it became a session follows
	flagsEnd  = 2 * flagToken
)

func presenceCode(p credential.Presence) (code uint64, ok bool) {
	switch p {
	case "":
		return 0, true
	case credential.PresenceActive:
		return 1, true
	case credential.PresencePassive:
		return 2, true
	case credential.PresenceBackground:
		return 3, true
	}
	return 0, false
}

func presenceOf(code uint64) credential.Presence {
	return [...]credential.Presence{
		"", credential.PresenceActive, credential.PresencePassive, credential.PresenceBackground,
	}[code%4]
}

// appendWays writes the ways to a new token, and what is known of the session.
func appendWays(b []byte, rec credential.Record) ([]byte, error) {
	presence, ok := presenceCode(rec.Presence)
	if !ok {
		return nil, errPresence
	}
	s, ended := rec.Session, rec.Session.Ended
	started, next, token := s.StartedAt, s.Successor, s.TokenEndsAt
	s.Ended, s.StartedAt, s.Successor, s.TokenEndsAt = false, 0, credential.Successor{}, 0
	flags := presence * presenceUnit
	for _, f := range [...]struct {
		set  bool
		flag uint64
	}{
		{rec.Refreshable, flagRefreshable},
		{rec.HasRefresh, flagHasRefresh},
		{rec.HasLogin, flagHasLogin},
		{rec.Paused, flagPaused},
		{ended, flagEnded},
		{s != credential.Session{}, flagSession},
		{rec.OnceAt != 0, flagOnce},
		{rec.Learned != credential.Learned{}, flagLearned},
		{started != 0 || next != credential.Successor{}, flagLimit},
		{len(rec.Refused) > 0, flagRefused},
		{rec.Acts != 0, flagActs},
		{rec.AskedAt != rec.GrantedAt, flagAsked},
		{rec.Plans != 0, flagPlans},
		{rec.RefreshOnly != 0, flagAlone},
		{token != 0, flagToken},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	b = binary.AppendUvarint(b, flags)
	if flags&flagSession != 0 {
		b = binary.AppendVarint(b, int64(s.Idle))
		b = binary.AppendVarint(b, int64(s.ExtendAfter))
		b = binary.AppendVarint(b, int64(s.WarnBefore))
		b = appendMillis(b, s.CountdownAt)
	}
	if flags&flagOnce != 0 {
		b = appendMillis(b, rec.OnceAt)
		b = appendMillis(b, rec.RefreshAt)
	}
	if flags&flagLearned != 0 {
		b = binary.AppendVarint(b, int64(rec.Learned.Early))
		b = binary.AppendVarint(b, int64(rec.Learned.Age))
		b = binary.AppendVarint(b, int64(rec.Learned.Life))
	}
	if flags&flagLimit != 0 {
		b = appendMillis(b, started)
		b = appendMillis(b, next.At)
		b = appendMillis(b, rec.RefreshAt) // which the head may not show
		b = binary.AppendVarint(b, int64(next.Failures))
		b = appendBool(b, next.Refused)
	}
	if flags&flagRefused != 0 {
		b = binary.AppendUvarint(b, uint64(len(rec.Refused)))
		for _, id := range rec.Refused {
			b = appendString(b, id)
		}
	}
	if flags&flagActs != 0 {
		b = binary.AppendUvarint(b, rec.Acts)
	}
	if flags&flagAsked != 0 {
		b = appendMillis(b, rec.AskedAt)
	}
	if flags&flagPlans != 0 {
		b = binary.AppendUvarint(b, rec.Plans)
	}
	if flags&flagAlone != 0 {
		b = binary.AppendUvarint(b, rec.RefreshOnly)
	}
	if flags&flagToken != 0 {
		b = appendMillis(b, token)
	}
	return b, nil
}

// ways reads what appendWays wrote.
func (r *reader) ways(rec *credential.Record) {
	flags := r.uvarint()
	if flags >= flagsEnd {
		r.fail(errFlags)
		return
	}
	rec.Refreshable = flags&flagRefreshable != 0
	rec.HasRefresh = flags&flagHasRefresh != 0
	rec.HasLogin = flags&flagHasLogin != 0
	rec.Paused = flags&flagPaused != 0
	rec.Presence = presenceOf(flags / presenceUnit)
	if flags&flagSession != 0 {
		rec.Session.Idle = time.Duration(r.varint())
		rec.Session.ExtendAfter = time.Duration(r.varint())
		rec.Session.WarnBefore = time.Duration(r.varint())
		rec.Session.CountdownAt = r.millis()
	}
	rec.Session.Ended = flags&flagEnded != 0
	if flags&flagOnce != 0 {
		rec.OnceAt = r.millis()
		rec.RefreshAt = r.millis()
	}
	if flags&flagLearned != 0 {
		rec.Learned.Early = r.int()
		rec.Learned.Age = time.Duration(r.varint())
		rec.Learned.Life = time.Duration(r.varint())
	}
	if flags&flagLimit != 0 {
		rec.Session.StartedAt = r.millis()
		rec.Session.Successor.At = r.millis()
		rec.RefreshAt = r.millis()
		rec.Session.Successor.Failures = r.int()
		rec.Session.Successor.Refused = r.bool()
	}
	if flags&flagRefused != 0 {
		rec.Refused = make([]credential.ID, r.count(1))
		for i := range rec.Refused {
			rec.Refused[i] = credential.ID(r.str())
		}
	}
	if flags&flagActs != 0 {
		rec.Acts = r.uvarint()
	}
	if flags&flagAsked != 0 {
		rec.AskedAt = r.millis()
	}
	if flags&flagPlans != 0 {
		rec.Plans = r.uvarint()
	}
	if flags&flagAlone != 0 {
		rec.RefreshOnly = r.uvarint()
	}
	if flags&flagToken != 0 {
		rec.Session.TokenEndsAt = r.millis()
	}
}
