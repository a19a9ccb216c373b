package refresh

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// unreadError is an error of the journal about single files that could not be taken up.
// The others were.
type unreadError interface {
	error
	// Unread returns, by owner, what is wrong with each.
	Unread() map[string]error
}

// unread is what could not be taken up of this machine's journals when they were looked
// at last. Of their owners nothing is known: not what they hold, and so not what came of
// what they had begun.
type unread struct {
	owners atomic.Pointer[map[string]error]
}

func newUnread() *unread {
	u := new(unread)
	u.owners.Store(new(map[string]error))
	return u
}

// note keeps what a look has found. It returns what is not about single files, and
// reports whether the rest is news.
func (u *unread) note(err error) (news bool, other error) {
	var owners map[string]error
	single, partial := errors.AsType[unreadError](err)
	if partial {
		owners, err = single.Unread(), nil
	}
	before := u.words()
	u.owners.Store(&owners)
	return u.words() != before, err
}

// of reports whether the owner's journal could not be taken up.
func (u *unread) of(owner string) bool { return (*u.owners.Load())[owner] != nil }

// words tells of all of them, always in the same order.
func (u *unread) words() string {
	owners := *u.owners.Load()
	list := make([]string, 0, len(owners))
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		list = append(list, owners[owner].Error())
	}
	return strings.Join(list, "; ")
}

// Unread tells which of this machine's journals could not be taken up when they were
// looked at last, and why; "" if all of them could. It names each file.
func (e *Engine) Unread() string { return e.unread.words() }
