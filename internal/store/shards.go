package store

import (
	"errors"
	"sync"

	"github.com/refreshd/refreshd/internal/credential"
)

// perScript bounds how many credentials one run of a script treats: Redis does
// nothing else meanwhile.
const perScript = 512

// group is a part of a list that one script can treat: positions in the list,
// all of one shard.
type group struct {
	shard int
	at    []int
}

// groups splits a list of n IDs by shard, into parts of at most perScript and
// without an ID twice in one part: a script decides on what was stored before
// it began. The order of the list holds within each ID.
func (s *Store) groups(n int, id func(int) credential.ID) []group {
	if n == 1 {
		return []group{{shard: s.ShardOf(id(0)), at: []int{0}}}
	}
	seen := make(map[credential.ID]int, n) // the part that holds the ID last
	var list []group
	open := make([]int, len(s.shards)) // the part being filled, +1
	for i := range n {
		shard := s.ShardOf(id(i))
		part := open[shard] - 1
		last, twice := seen[id(i)]
		if part < 0 || len(list[part].at) == perScript || (twice && last == part) {
			part = len(list)
			list = append(list, group{shard: shard})
			open[shard] = part + 1
		}
		list[part].at = append(list[part].at, i)
		seen[id(i)] = part
	}
	return list
}

// eachGroup calls f for every group: those of one shard one after the other,
// those of different shards at the same time.
func (s *Store) eachGroup(groups []group, f func(group) error) error {
	if len(groups) == 1 {
		return f(groups[0])
	}
	byShard := make(map[int][]group, len(s.shards))
	for _, g := range groups {
		byShard[g.shard] = append(byShard[g.shard], g)
	}
	errs := make([]error, 0, len(byShard))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, list := range byShard {
		wg.Go(func() {
			for _, g := range list {
				if err := f(g); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
