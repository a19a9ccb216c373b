package store

import (
	"encoding/binary"
	"errors"

	"github.com/refreshd/refreshd/internal/credential"
)

// The first byte of a stored event. An event about a subscription has that as
// well, behind all else.
const (
	eventFormat  = 1
	noticeFormat = 2
)

var errEventFormat = errors.New("its format is not known to this version of refreshd")

// appendEvent writes the stored form of e behind b. Its moment is that of its
// entry in the log.
func (t eventTable) appendEvent(b []byte, e credential.Event) ([]byte, error) {
	code, ok := t.codes[e.Type]
	if !ok {
		return nil, errEventType
	}
	by := initiatorCode(e.InitiatedBy)
	if by == 0 {
		return nil, errInitiator
	}
	format := byte(eventFormat)
	if e.Notice != (credential.Notice{}) {
		format = noticeFormat
	}
	b = append(b, format, stateCode(e.State), stateCode(e.PreviousState), by)
	b = append(b, e.Nonce[:]...)
	b = appendString(b, code)
	b = appendString(b, e.ID)
	b = binary.AppendUvarint(b, e.Version)
	b = appendMillis(b, e.ExpiresAt)
	b = appendString(b, e.Reason)
	b = appendString(b, e.Provider)
	b = appendString(b, e.Subject)
	b = appendLabels(b, e.Labels)
	b, err := t.appendLast(b, e.Last)
	if format == noticeFormat {
		b = appendString(b, e.Notice.Subscription)
		b = appendMillis(b, e.Notice.Since)
		b = appendMillis(b, e.Notice.Oldest)
		b = appendString(b, e.Notice.Event)
	}
	return b, err
}

// decodeEvent reads what appendEvent wrote. Strings of the result share s.
func (t eventTable) decodeEvent(s string) (credential.Event, error) {
	r := reader{s: s}
	head := r.take(4)
	switch {
	case r.err != nil:
		return credential.Event{}, r.err
	case head[0] != eventFormat && head[0] != noticeFormat:
		return credential.Event{}, errEventFormat
	}
	var e credential.Event
	var err error
	if e.State, err = stateOf(head[1]); err != nil && head[1] != 0 {
		return credential.Event{}, err
	}
	if e.PreviousState, err = stateOf(head[2]); err != nil && head[2] != 0 {
		return credential.Event{}, err
	}
	if e.InitiatedBy, err = initiatorOf(head[3]); err != nil {
		return credential.Event{}, err
	}
	copy(e.Nonce[:], r.take(len(e.Nonce)))
	kind, ok := t.types[r.str()]
	if !ok {
		return credential.Event{}, errEventType
	}
	e.Type = kind
	e.ID = credential.ID(r.str())
	e.Version = r.uvarint()
	e.ExpiresAt = r.millis()
	e.Reason = credential.Reason(r.str())
	e.Provider = r.str()
	e.Subject = r.str()
	e.Labels = r.labels()
	e.Last = t.last(&r)
	if head[0] == noticeFormat {
		e.Notice = credential.Notice{Subscription: r.str(), Since: r.millis(), Oldest: r.millis(), Event: r.str()}
	}
	if err := r.end(); err != nil {
		return credential.Event{}, err
	}
	return e, nil
}
