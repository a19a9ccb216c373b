package app

import (
	"cmp"
	"context"
	"slices"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// mostDoubts bounds how many open attempts are looked into when somebody asks
// how the service is.
const mostDoubts = 1000

// recovery tells who works on this Redis, and what they have not finished.
func (s apiService) recovery(ctx context.Context) (api.RecoveryStatus, error) {
	run, err := s.store.Run(ctx)
	if err != nil {
		return api.RecoveryStatus{}, err
	}
	roster, err := s.store.Roster(ctx)
	if err != nil {
		return api.RecoveryStatus{}, err
	}
	open, err := s.store.OpenOwners(ctx)
	if err != nil {
		return api.RecoveryStatus{}, err
	}
	status := recoveryOf(s.owner, run, roster, open)
	status.Gate = s.engine.Gate()
	var ids []credential.ID
	for _, list := range open {
		ids = append(ids, list[:min(len(list), mostDoubts-len(ids))]...)
	}
	records, err := s.store.Records(ctx, ids...)
	if err != nil {
		return api.RecoveryStatus{}, err
	}
	for _, held := range records {
		if held != nil && held.Attempt != nil && held.Attempt.Doubt {
			status.InDoubt++
		}
	}
	return status, nil
}

// recoveryOf puts the roster and the open attempts side by side. This process
// comes first, then the others in the order of their names.
func recoveryOf(self, run string, roster credential.Roster, open map[string][]credential.ID) api.RecoveryStatus {
	status := api.RecoveryStatus{Settled: roster.Settled == run, Processes: []api.ProcessStatus{}}
	for owner, m := range roster.Members {
		status.Processes = append(status.Processes, api.ProcessStatus{
			Owner: owner, Self: owner == self, Listed: true, Journal: m.Place != "", Ready: m.Ready == run, Open: len(open[owner]),
		})
	}
	for owner, list := range open {
		status.Open += len(list)
		if _, listed := roster.Members[owner]; !listed {
			status.Processes = append(status.Processes, api.ProcessStatus{Owner: owner, Self: owner == self, Open: len(list)})
		}
	}
	slices.SortFunc(status.Processes, func(a, b api.ProcessStatus) int {
		return cmp.Or(cmp.Compare(one(b.Self), one(a.Self)), cmp.Compare(a.Owner, b.Owner))
	})
	return status
}
