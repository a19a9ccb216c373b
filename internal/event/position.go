package event

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// Start is the position before the first entry of a log, and the text of the
// cursor that stands there in every log.
const Start = "0"

// position is a stream ID taken apart, so that it can be compared.
type position struct{ ms, n uint64 }

func parsePosition(s string) (position, error) {
	ms, n, dashed := strings.Cut(s, "-")
	var p position
	var err error
	if p.ms, err = strconv.ParseUint(ms, 10, 64); err != nil {
		return position{}, fmt.Errorf("%q is no position in an event log", s)
	}
	if dashed {
		if p.n, err = strconv.ParseUint(n, 10, 64); err != nil {
			return position{}, fmt.Errorf("%q is no position in an event log", s)
		}
	}
	return p, nil
}

func (p position) after(other position) bool {
	return p.ms > other.ms || (p.ms == other.ms && p.n > other.n)
}

// ErrBadCursor is wrapped by every error of [ParseCursor].
var ErrBadCursor = errors.New("not a cursor of this event stream")

// Cursor is a reader's place: the last entry that it has seen of each shard's
// log. It belongs to an epoch, for a log that was restored or started anew
// numbers its entries again.
type Cursor struct {
	Epoch string
	Last  []string // by shard
}

// maxCursor is more than a cursor over the most shards can take.
const maxCursor = 4096

// String returns the cursor's text: base64url, to be handed back unchanged.
func (c Cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(c.Epoch + "|" + strings.Join(c.Last, ",")))
}

// ParseCursor reads what [Cursor.String] wrote. "0" and "" are the start of
// the log, which has no epoch.
func ParseCursor(s string, shards int) (Cursor, error) {
	if s == "" || s == Start {
		return startCursor("", shards), nil
	}
	if len(s) > maxCursor {
		return Cursor{}, fmt.Errorf("%w: %d bytes long", ErrBadCursor, len(s))
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return Cursor{}, fmt.Errorf("%w: it is not base64url", ErrBadCursor)
	}
	epoch, list, ok := strings.Cut(string(text), "|")
	if !ok || epoch == "" {
		return Cursor{}, fmt.Errorf("%w: it has no epoch", ErrBadCursor)
	}
	last := strings.Split(list, ",")
	if len(last) != shards {
		return Cursor{}, fmt.Errorf("%w: it is over %d shards, the log has %d", ErrBadCursor, len(last), shards)
	}
	for _, p := range last {
		if _, err := parsePosition(p); err != nil {
			return Cursor{}, fmt.Errorf("%w: %w", ErrBadCursor, err)
		}
	}
	return Cursor{Epoch: epoch, Last: last}, nil
}

func startCursor(epoch string, shards int) Cursor {
	c := Cursor{Epoch: epoch, Last: make([]string, shards)}
	for i := range c.Last {
		c.Last[i] = Start
	}
	return c
}

// Newer returns the moment of the newest position that c does not share with
// before; 0 if they are the same.
func (c Cursor) Newer(before Cursor) (newest credential.Millis) {
	for shard, last := range c.Last {
		if p, err := parsePosition(last); err == nil && last != before.Last[shard] {
			newest = max(newest, credential.Millis(p.ms)) //nolint:gosec // a moment of this era
		}
	}
	return newest
}

// Clone returns a copy that shares nothing with c.
func (c Cursor) Clone() Cursor {
	return Cursor{Epoch: c.Epoch, Last: append([]string(nil), c.Last...)}
}

// Covers reports whether everything up to the positions, by shard, was seen.
func (c Cursor) Covers(positions []string) bool {
	for shard, upto := range positions {
		seen, err := parsePosition(c.Last[shard])
		if err != nil {
			return false
		}
		wanted, err := parsePosition(upto)
		if err != nil || wanted.after(seen) {
			return false
		}
	}
	return true
}

// Ahead reports whether a part of the cursor names a moment after at. A reader
// there would hear of nothing until then.
func (c Cursor) Ahead(at credential.Millis) bool {
	for _, last := range c.Last {
		if p, err := parsePosition(last); err == nil && p.ms > uint64(max(at, 0)) {
			return true
		}
	}
	return false
}
