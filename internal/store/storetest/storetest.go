// Package storetest is what every way of running the store has to pass: the
// same contracts on a real Redis and on the one inside the process.
package storetest

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/store"
)

// Harness is one empty Redis.
type Harness struct {
	// Options open a store on it. Tests change a copy.
	Options store.Options
	// Client speaks to the same Redis, past the store.
	Client redis.UniversalClient
}

// Run runs the suite. fresh returns an empty Redis that lives until the end of
// its test.
func Run(t *testing.T, fresh func(t *testing.T) *Harness) {
	t.Helper()
	for name, test := range map[string]func(*bundle){
		"meta/first start and the next":             metaStart,
		"meta/another number of shards":             metaShards,
		"meta/a newer schema":                       metaSchema,
		"meta/another keyset":                       metaKeyset,
		"meta/a rotated keyset":                     metaRotation,
		"meta/garbage":                              metaGarbage,
		"meta/unusable options":                     metaOptions,
		"begin/grants what is due":                  beginGrants,
		"begin/repeated with its nonce":             beginTwice,
		"begin/refusals":                            beginRefusals,
		"begin/refusals put the score right":        beginScores,
		"begin/takes over a doubt":                  beginDoubt,
		"begin/answers in the order asked":          beginOrder,
		"begin/a record that cannot be opened":      beginUnreadable,
		"begin/an unreadable recovery":              beginUnreadableRecovery,
		"begin/a newer record":                      beginNewer,
		"begin/one of fifty wins":                   beginRace,
		"begin/as the domain decides":               beginAsGranted,
		"apply/stores everything":                   applyStores,
		"apply/repeated":                            applyTwice,
		"apply/decided ahead of the clock":          applyAhead,
		"apply/compares the revision":               applyRevision,
		"apply/compares the attempt":                applyAttempt,
		"apply/one of many wins":                    applyRace,
		"apply/same nonce, another outcome":         applySameNonce,
		"apply/twice in one list":                   applySameID,
		"apply/opens and closes attempts":           applyAttempts,
		"apply/alternates outlive generations":      applyAlternates,
		"apply/remembers spent tokens":              applySpent,
		"apply/logout erases the secrets":           applyLogout,
		"apply/delete leaves a tombstone":           applyDelete,
		"apply/a tombstone is continued":            applyRecreate,
		"apply/moves to another provider":           applyProvider,
		"apply/clients are not listed":              applyClient,
		"apply/the limit":                           applyFull,
		"apply/members fail independently":          applyItems,
		"apply/unusable writes":                     applyUnusable,
		"apply/a record that vanished":              applyVanished,
		"sealed/logins and user data":               sealedLogins,
		"sealed/erased with their login":            sealedErased,
		"sealed/bound to their record":              sealedBound,
		"sealed/a paused provider":                  sealedClient,
		"touch/moves the clock":                     touchMoves,
		"touch/answers":                             touchAnswers,
		"touch/each from the one before":            touchChain,
		"touch/in the background":                   touchBackground,
		"touch/after its user has left":             touchLeft,
		"touch/while an attempt is open":            touchAttempt,
		"touch/writes that do not know of it":       touchWrites,
		"touch/scores that mean something else":     touchRests,
		"touch/ends with the session":               touchEnds,
		"touch/in time":                             touchInTime,
		"touch/claims, releases, heals, expiries":   touchScripts,
		"touch/a foreign due index":                 touchForeign,
		"touch/among writes":                        touchRace,
		"touch/as the domain decides":               touchAsUsed,
		"load/unknown and many shards":              loadMany,
		"load/one that cannot be opened":            loadUnreadable,
		"due/overdue in order":                      dueOverdue,
		"due/claims hold":                           dueClaim,
		"due/a claim repeated":                      dueClaimTwice,
		"due/claims never overlap":                  dueClaimRace,
		"due/claims end by themselves":              dueClaimEnds,
		"due/release":                               dueRelease,
		"due/wake":                                  dueWake,
		"due/heal":                                  dueHeal,
		"due/heal leaves what moved on":             dueHealMoved,
		"due/next":                                  dueNext,
		"open/by owner":                             openByOwner,
		"owners/heartbeats":                         ownersBeat,
		"walk/visits every live credential":         walkAll,
		"walk/bad cursors":                          walkCursor,
		"list/pages are exact":                      listPages,
		"list/filters":                              listFilters,
		"list/of one subject":                       listSubject,
		"list/bad cursors":                          listCursor,
		"list/unreadable records hide no others":    listUnreadable,
		"events/in order, with their moments":       eventsOrder,
		"events/waiting for one":                    eventsBlock,
		"events/unreadable entries can be passed":   eventsUnreadable,
		"events/trimming":                           eventsTrim,
		"subscriptions/saved, read, removed":        subsStored,
		"subscriptions/one of many writers wins":    subsRace,
		"subscriptions/what cannot be read":         subsUnreadable,
		"subscriptions/turned off and forgotten":    subsStopped,
		"permits/concurrency":                       permitsConcurrency,
		"permits/rate":                              permitsRate,
		"permits/a lease ends by itself":            permitsLease,
		"permits/without limits":                    permitsNone,
		"permits/free":                              permitsFree,
		"permits/hold":                              permitsHold,
		"permits/free counts ended leases":          permitsFreeCountsEndedLeases,
		"permits/reclaim":                           permitsReclaim,
		"permits/never more than allowed":           permitsRace,
		"keys/added, looked up, revoked":            keysLife,
		"keys/an unreadable one":                    keysUnreadable,
		"keys/limited to a subject":                 keysSubject,
		"tickets/taken once":                        ticketsOnce,
		"tickets/end by themselves":                 ticketsEnd,
		"tickets/one of many takes it":              ticketsRace,
		"tickets/no more than allowed":              ticketsMost,
		"tickets/an unreadable one":                 ticketsUnreadable,
		"lanes/notify, take, advance, done":         lanesLife,
		"lanes/one holder at a time":                lanesOneHolder,
		"lanes/failures wait":                       lanesFail,
		"lanes/a lease that passed":                 lanesLease,
		"lanes/more came while it was worked on":    lanesAgain,
		"lanes/disabled subscriptions":              lanesDisabled,
		"lanes/where a subscription starts":         lanesStart,
		"lanes/news":                                lanesNews,
		"lanes/replay":                              lanesReplay,
		"lanes/a subscription that lags":            lanesLag,
		"breaker/opens, and one lane makes a probe": breakerLife,
		"breaker/a success closes it":               breakerCloses,
		"breaker/what was under way":                breakerUnderWay,
		"breaker/one event that nobody takes":       breakerPoison,
		"breaker/asked to be left alone":            breakerRetryAfter,
		"breaker/the end of the schedule":           breakerEnds,
		"gaps/told once, and again after the next":  gapsOnce,
		"gaps/the one who tells dies":               gapsTaken,
		"signing/sealed, and changed as a whole":    signingLife,
		"signing/bound to their revision":           signingBound,
		"signing/one makes the first":               signingRace,
		"poll/progress":                             pollLife,
		"slots/run once":                            slotsOnce,
		"slots/resumed after a death":               slotsResume,
		"slots/never back":                          slotsBack,
		"foreign/keys of another type":              foreignTypes,
		"foreign/a hash in place of a record":       foreignHash,
		"foreign/names that would break out of one": foreignNames,
		"runs/gate":                                 runs,
		"secrets/none in Redis or in errors":        noSecrets,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(setup(t, fresh(t)))
		})
	}
}
