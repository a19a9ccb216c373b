package app

import (
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/doctor"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/store"
)

// unconfiguredWithin bounds a look at all keys of Redis. A million take about a
// second.
const unconfiguredWithin = 15 * time.Second

// lookForUnconfigured warns of live credentials of providers that the
// configuration does not have, such as one that was renamed. It is no error and
// changes nothing: during an upgrade another process may know them already.
func (s *service) lookForUnconfigured(ctx context.Context) {
	log := logging.Component(s.log, "app")
	list, err := searchUnconfigured(ctx, s.store, s.conf.Load())
	if err != nil {
		if ctx.Err() == nil {
			log.Warn().Err(err).Msg("it could not be told whether live credentials belong to providers that the configuration does not have; the next start or reload looks again")
		}
		return
	}
	names := make([]string, len(list))
	for i, one := range list {
		names[i] = one.Name
	}
	s.unconfigured.Store(&names)
	for _, one := range list {
		log.Warn().Str("provider", one.Name).Int("credentials", one.Credentials).Str("config", s.opts.Config).
			Msg("live credentials belong to a provider that the configuration does not have: they are kept as they are, and neither refreshed nor is their end told; put it back under this name and send SIGHUP, or delete them")
	}
}

// unconfiguredNow counts again what the last look has found.
func (s *service) unconfiguredNow(ctx context.Context) ([]api.UnconfiguredProvider, error) {
	names := s.unconfigured.Load()
	if names == nil {
		return nil, nil
	}
	return countUnconfigured(ctx, s.store, s.conf.Load(), *names)
}

// searchUnconfigured looks at all keys of Redis.
func searchUnconfigured(ctx context.Context, s *store.Store, conf *config.Config) ([]api.UnconfiguredProvider, error) {
	ctx, cancel := context.WithTimeout(ctx, unconfiguredWithin)
	defer cancel()
	names, err := s.DueProviders(ctx)
	if err != nil {
		return nil, err
	}
	return countUnconfigured(ctx, s, conf, names)
}

// countUnconfigured counts the live credentials of those of the providers that the
// configuration does not have, and leaves out who has none.
func countUnconfigured(ctx context.Context, s *store.Store, conf *config.Config, names []string) ([]api.UnconfiguredProvider, error) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := conf.Providers[name]; return ok })
	counts, err := s.DueCounts(ctx, names...)
	if err != nil {
		return nil, err
	}
	var list []api.UnconfiguredProvider
	for i, name := range names {
		if counts[i] > 0 {
			list = append(list, api.UnconfiguredProvider{Name: name, Credentials: counts[i]})
		}
	}
	return list, nil
}

// examineProviders tells of them as findings. file is where the configuration is.
func examineProviders(ctx context.Context, s *store.Store, conf *config.Config, file string) []Finding {
	found, err := searchUnconfigured(ctx, s, conf)
	if err != nil {
		return []Finding{doctor.UnknownOwners(err)}
	}
	var list []Finding
	for _, one := range found {
		list = append(list, doctor.Unconfigured(one.Name, one.Credentials, file))
	}
	return list
}
