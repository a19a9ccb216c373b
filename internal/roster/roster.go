package roster

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// mostDoubts bounds how many open attempts are looked into.
const mostDoubts = 1000

// Store is where the processes meet. Its methods return an error while it
// cannot be reached.
type Store interface {
	// Run names the present run of Redis.
	Run(ctx context.Context) (string, error)
	Roster(ctx context.Context) (credential.Roster, error)
	// OpenOwners returns the credentials with an open attempt, by its owner.
	OpenOwners(ctx context.Context) (map[string][]credential.ID, error)
	// Records returns a record for each ID, nil where none is stored.
	Records(ctx context.Context, ids ...credential.ID) ([]*credential.Held, error)
}

// Picture is who works on this Redis, and what they have not finished.
type Picture struct {
	Settled   bool      // everyone has put back what they knew into this run of Redis
	Open      int       // attempts
	InDoubt   int       // of these, the ones whose reply is unknown
	Processes []Process // the one that looks first, then by their names
}

// Process is one process that works on this Redis, or has.
type Process struct {
	Owner   string
	Self    bool          // it is the one that looks
	Listed  bool          // it has a heartbeat
	Journal bool          // it refreshes, and has a journal
	Ready   bool          // it has put back what it knows, and its heartbeat moves
	Silent  time.Duration // since its heartbeat last moved, as this process saw it
	Still   bool          // for so long that it is stopped, cut off, or dead
	Here    bool          // its journal is, or was, in the folder of the one that looks: it is of this machine
	Locked  bool          // its journal is locked: it lives, if only stopped, or an heir has it
	Open    int           // attempts
	InDoubt int           // of these, the ones whose reply is unknown
}

// Watch looks at a store for one process.
type Watch struct {
	Store Store
	Self  string
	Beats *Heartbeats
	Boot  func() time.Duration
	// Folder is where the one that looks has its journal.
	Folder Folder
}

// Folder is a folder of journals of this machine's processes.
type Folder interface {
	Place() string // its name on the roster; "" if there is none
	// Look tells whether the owner's journal is there, and whether its lock is
	// held. An error tells neither.
	Look(owner string) (there, locked bool, err error)
}

// Look notes the heartbeats.
func (w Watch) Look(ctx context.Context) error {
	_, err := w.look(ctx)
	return err
}

func (w Watch) look(ctx context.Context) (credential.Roster, error) {
	r, err := w.Store.Roster(ctx)
	if err == nil {
		w.Beats.Look(r, w.Boot())
	}
	return r, err
}

// Keep looks once a second until ctx ends. What it cannot see it leaves to the
// next look: the engine tells of an outage.
func (w Watch) Keep(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		within, cancel := context.WithTimeout(ctx, lookEvery)
		_ = w.Look(within) // as above
		cancel()
	}
}

// Picture looks at everything.
func (w Watch) Picture(ctx context.Context) (Picture, error) {
	run, err := w.Store.Run(ctx)
	if err != nil {
		return Picture{}, err
	}
	r, err := w.look(ctx)
	if err != nil {
		return Picture{}, err
	}
	open, err := w.Store.OpenOwners(ctx)
	if err != nil {
		return Picture{}, err
	}
	p := w.picture(run, r, open)
	var ids []credential.ID
	var owners []string // of each
	for owner, list := range open {
		list = list[:min(len(list), mostDoubts-len(ids))]
		ids = append(ids, list...)
		owners = append(owners, slices.Repeat([]string{owner}, len(list))...)
	}
	records, err := w.Store.Records(ctx, ids...)
	if err != nil {
		return Picture{}, err
	}
	doubts := make(map[string]int)
	for i, held := range records {
		if held != nil && held.Attempt != nil && held.Attempt.Doubt {
			p.InDoubt++
			doubts[owners[i]]++
		}
	}
	for i := range p.Processes {
		p.Processes[i].InDoubt = doubts[p.Processes[i].Owner]
	}
	return p, nil
}

// picture puts the roster and the open attempts side by side.
func (w Watch) picture(run string, r credential.Roster, open map[string][]credential.ID) Picture {
	p := Picture{Settled: r.Settled == run, Processes: []Process{}}
	for owner, m := range r.Members {
		silent, still := w.Beats.silent(owner)
		p.Processes = append(p.Processes, Process{
			Owner: owner, Self: owner == w.Self, Listed: true, Journal: m.Place != "", Ready: r.Ready(owner, run) && !still,
			Silent: silent, Still: still, Open: len(open[owner]),
		})
	}
	for owner, list := range open {
		p.Open += len(list)
		if _, listed := r.Members[owner]; !listed {
			p.Processes = append(p.Processes, Process{Owner: owner, Self: owner == w.Self, Open: len(list)})
		}
	}
	for i := range p.Processes {
		one := &p.Processes[i]
		place := r.Members[one.Owner].Place
		there, locked, err := w.Folder.Look(one.Owner)
		one.Here = err == nil && there || place != "" && place == w.Folder.Place()
		one.Locked = err == nil && locked
	}
	slices.SortFunc(p.Processes, func(a, b Process) int {
		if a.Self != b.Self {
			if a.Self {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Owner, b.Owner)
	})
	return p
}
