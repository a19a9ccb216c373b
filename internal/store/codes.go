package store

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/refreshd/refreshd/internal/credential"
)

var (
	errState     = errors.New("unknown state")
	errInitiator = errors.New("unknown initiator")
	errEventType = errors.New("unknown event type")
)

// stateCode returns the letter that stands for a state in stored text; the
// scripts know 'r', 'l' and 'x' as the terminal ones. 0 is no state.
func stateCode(s credential.State) byte {
	switch s {
	case credential.StatePending:
		return 'p'
	case credential.StateActive:
		return 'a'
	case credential.StateDegraded:
		return 'd'
	case credential.StateExpired:
		return 'e'
	case credential.StateReauthRequired:
		return 'r'
	case credential.StateLoggedOut:
		return 'l'
	case credential.StateDeleted:
		return 'x'
	}
	return 0
}

func stateOf(code byte) (credential.State, error) {
	switch code {
	case 'p':
		return credential.StatePending, nil
	case 'a':
		return credential.StateActive, nil
	case 'd':
		return credential.StateDegraded, nil
	case 'e':
		return credential.StateExpired, nil
	case 'r':
		return credential.StateReauthRequired, nil
	case 'l':
		return credential.StateLoggedOut, nil
	case 'x':
		return credential.StateDeleted, nil
	}
	return "", errState
}

func initiatorCode(by credential.Initiator) byte {
	switch by {
	case credential.BySchedule:
		return 's'
	case credential.ByDemand:
		return 'd'
	case credential.ByOwner:
		return 'o'
	case credential.ByUser:
		return 'u'
	case credential.ByProvider:
		return 'p'
	}
	return 0
}

func initiatorOf(code byte) (credential.Initiator, error) {
	switch code {
	case 's':
		return credential.BySchedule, nil
	case 'd':
		return credential.ByDemand, nil
	case 'o':
		return credential.ByOwner, nil
	case 'u':
		return credential.ByUser, nil
	case 'p':
		return credential.ByProvider, nil
	}
	return "", errInitiator
}

// eventTable maps event types to their stored codes and back. It is built once
// per store: the domain's own lookups go through a list.
type eventTable struct {
	codes map[credential.EventType]string
	types map[string]credential.EventType
}

func newEventTable() eventTable {
	all := credential.EventTypes()
	t := eventTable{
		codes: make(map[credential.EventType]string, len(all)),
		types: make(map[string]credential.EventType, len(all)),
	}
	for _, kind := range all {
		t.codes[kind] = kind.Code()
		t.types[kind.Code()] = kind
	}
	return t
}

// appendLast writes the version of the last event of each type, in the order
// of the codes.
func (t eventTable) appendLast(b []byte, last map[credential.EventType]uint64) ([]byte, error) {
	var list [24]string
	codes := list[:0]
	for kind := range last {
		code, ok := t.codes[kind]
		if !ok {
			return nil, errEventType
		}
		codes = append(codes, code)
	}
	slices.Sort(codes)
	b = binary.AppendUvarint(b, uint64(len(codes)))
	for _, code := range codes {
		b = appendString(b, code)
		b = binary.AppendUvarint(b, last[t.types[code]])
	}
	return b, nil
}

func (t eventTable) last(r *reader) map[credential.EventType]uint64 {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	last := make(map[credential.EventType]uint64, n)
	for range n {
		kind, ok := t.types[r.str()]
		if !ok {
			r.fail(errEventType)
			return nil
		}
		last[kind] = r.uvarint()
	}
	return last
}
