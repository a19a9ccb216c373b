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
	found atomic.Pointer[unreadable]
}

// unreadable is what one look has found.
type unreadable struct {
	owners map[string]error
	folder error // nothing is known of any journal; nil if the folder could be looked through
}

func newUnread() *unread {
	u := new(unread)
	u.found.Store(new(unreadable))
	return u
}

// note keeps what a look has found, and reports whether that is news. held tells whose
// journal is locked by somebody else: one that could not be read before is being tried
// by him then, or was taken up.
func (u *unread) note(err error, held func(owner string) bool) (news bool) {
	next := new(unreadable)
	if single, partial := errors.AsType[unreadError](err); partial {
		next.owners = maps.Clone(single.Unread())
	} else {
		next.folder = err
	}
	before := u.found.Load()
	for owner, why := range before.owners {
		if next.owners[owner] == nil && next.folder == nil && held(owner) {
			if next.owners == nil {
				next.owners = map[string]error{}
			}
			next.owners[owner] = why
		}
	}
	u.found.Store(next)
	return next.words() != before.words()
}

// of reports whether the owner's journal, which is there, could not be taken up.
func (u *unread) of(owner string) bool {
	found := u.found.Load()
	return found.folder != nil || found.owners[owner] != nil
}

// words tells of all of them, always in the same order.
func (u *unreadable) words() string {
	var list []string
	for _, owner := range slices.Sorted(maps.Keys(u.owners)) {
		list = append(list, u.owners[owner].Error())
	}
	if u.folder != nil {
		list = append(list, u.folder.Error())
	}
	return strings.Join(list, "; ")
}

// Unread tells which of this machine's journals could not be taken up when they were
// looked at last, and why; "" if all of them could. It names each file, or the folder.
func (e *Engine) Unread() string { return e.unread.found.Load().words() }
