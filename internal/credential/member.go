package credential

import (
	"slices"
	"time"
)

// Member is a process that works on the same store.
type Member struct {
	// Beat is its heartbeat, a counter. One that stands still tells that its
	// owner does not reach the store; whether it is dead is another question.
	Beat uint64
	// Place names the folder that its journal is in; "" if it has none, and so
	// begins nothing.
	Place string
	// Ready is the run of the store for which it has put back what it knows, and
	// Round the [Roster.Round] in which it began to look for the last time.
	Ready string
	Round uint64
	// Waiting is the run for which it has put back what it could, while the
	// rest builds on what others have to put back first.
	Waiting string
}

// Roster is who works on the store, as the store knows it.
type Roster struct {
	Members map[string]Member // by owner
	// Settled is the run of the store for which everyone had put back what
	// they knew, in the present round; "" if that was in none, or an earlier one.
	// While it is not the present run, writes may be missing.
	Settled string
	// Round counts how often anybody has changed what the others went by: he has
	// put something back, taken up a journal, given somebody up, or come from another
	// run, where much may have been done since this one was settled. Whoever looked
	// before that, and found something missing, may find it now.
	Round uint64
	// Inherited has, by the owner, the run of the store into which what a dead one
	// left was put back by its heir. Whoever met the run later may know that owner
	// from before, and put it on the roster again.
	Inherited map[string]string
}

// Ready reports whether the owner has put back what it knows into run, and
// nothing has been changed since it looked.
func (r Roster) Ready(owner, run string) bool {
	m := r.Members[owner]
	return m.Ready == run && m.Round == r.Round
}

// Standing is what one process knows of another.
type Standing struct {
	// Silent is how long its heartbeat has stood still, while the judge's own
	// succeeded.
	Silent time.Duration
	// Deserted is how long nobody was heard whose journal is in the same folder
	// as its own, itself included: at most Silent.
	Deserted time.Duration
	// Here tells that its journal is in the judge's own folder. Locked is then
	// whether the journal's lock is held, Left whether there is a file at all.
	Here, Locked, Left bool
	// Unseen tells that its journal could not be looked at, for want of file
	// descriptors or of a right, or not be read: the others are not known, and nothing
	// is proven.
	Unseen bool
}

// Gone reports whether the process is proven to be dead and to have left nothing:
// its folder is the judge's own, there is no journal of it, and its heartbeat has
// stood still for silence. It has stopped in order, or before it began, or was
// adopted. The missing file alone is no proof, for somebody may have removed it
// under the living: whoever beats is alive.
func (s Standing) Gone(silence time.Duration) bool {
	return s.Here && !s.Locked && !s.Left && !s.Unseen && s.Silent >= silence
}

// Dead reports whether the process is proven dead, or was silent for silence and
// then for quarantine: whatever it has sent was answered by then. On the same
// machine the journal's lock is the proof, in either direction: a process that is
// stopped holds it, one that was killed does not. Of one whose file is gone
// [Standing.Gone] tells, of one elsewhere [Standing.Remaining].
func (s Standing) Dead(silence, quarantine time.Duration) bool {
	if s.Unseen {
		return false
	}
	if s.Here {
		return s.Left && !s.Locked || s.Gone(silence)
	}
	return s.Remaining(silence, quarantine) <= 0
}

// Quiet reports whether nothing more is to be expected of the process for now: it is
// dead, or has been silent for silence, and is not known to stand still on this machine.
func (s Standing) Quiet(silence time.Duration) bool {
	return s.Dead(silence, 0) || s.Unseen && s.Silent >= silence
}

// Unheard reports whether nobody waits for the process to be heard before owners are
// answered: it is dead, or has been silent for silence, be it that it stands still on
// this machine and will go on.
func (s Standing) Unheard(silence time.Duration) bool {
	return s.Dead(silence, 0) || s.Silent >= silence
}

// neighbourPatience is how many quarantines a process that is silent is waited
// for while a neighbour of it lives.
const neighbourPatience = 3

// Remaining returns how long it takes until a process elsewhere counts as dead,
// if nobody of its folder is heard any more. While a neighbour lives who can read
// its journal, its quarantine does not run: what the journal holds will come. It
// ends all the same after three times its length, for the journal may be damaged,
// or its owner stopped.
func (s Standing) Remaining(silence, quarantine time.Duration) time.Duration {
	return min(silence+quarantine-s.Deserted, silence+neighbourPatience*quarantine-s.Silent)
}

// Idle reports whether nobody but self has anything left to put back into run
// before somebody else does: who is not ready waits as well, or is dead. What is
// missing then will not come. The rules of [Awaited] hold for who is dead.
func Idle(r Roster, self, run string, silence, quarantine time.Duration, standing func(owner string) Standing) bool {
	for _, owner := range Awaited(r, self, run, silence, quarantine, standing) {
		if r.Members[owner].Waiting != run {
			return false
		}
	}
	return true
}

// Awaited lists, sorted, the members that keep self from beginning on run: they
// may hold the right to present a generation, or a newer token, that the store
// has lost. A heartbeat that stands still for silence starts the quarantine, which
// runs here whether a neighbour lives or not, for it holds up every refresh; a
// process that begins nothing is not waited for any longer than that. One whose journal
// is here and cannot be read counts like one on another machine: its neighbours wait no
// longer for it than those do who do not see it.
func Awaited(r Roster, self, run string, silence, quarantine time.Duration, standing func(owner string) Standing) []string {
	var list []string
	for owner, m := range r.Members {
		if owner == self || r.Ready(owner, run) {
			continue
		}
		patience := silence
		if m.Place != "" {
			patience += quarantine
		}
		s := standing(owner)
		if s.Gone(silence) || (s.Unseen || !s.Here && !s.Left) && s.Silent >= patience {
			continue // Left: its journal is still to be adopted
		}
		list = append(list, owner)
	}
	slices.Sort(list)
	return list
}
