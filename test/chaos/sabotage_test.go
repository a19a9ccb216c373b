package chaos

import (
	"testing"
	"time"
)

// A campaign that cannot fail proves nothing. Here received tokens are held by
// the journal alone, for Redis cannot be reached; then the process is killed,
// and its journal is deleted. The oracle must see that.
func TestSabotageIsFound(t *testing.T) {
	t.Parallel()
	newCampaign(t, options{
		Seed: 1, Redis: always, Users: 40, Duration: 40 * time.Second, Sabotage: sabotageJournal,
		Latency: 600 * time.Millisecond, Acts: sabotagePlan(),
	}).run()
}

// The same faults with the journal left alone break nothing.
func TestWithoutSabotageNothingIsFound(t *testing.T) {
	t.Parallel()
	newCampaign(t, options{
		Seed: 1, Redis: always, Users: 40, Duration: 40 * time.Second, Latency: 600 * time.Millisecond, Acts: sabotagePlan(),
	}).run()
}

// sabotagePlan cuts the third replica off from Redis and kills it, after the
// replies to what it had sent have come.
func sabotagePlan() []act {
	const (
		between = 45 // steps
		rounds  = 3
	)
	var acts []act
	for n := range rounds {
		at := 15 + n*between
		acts = append(acts,
			act{Step: at, Lane: laneToRedis(thirdHost), Kind: kindRefused + " to redis", Lasts: 12},
			act{Step: at + 9, Lane: laneReplica(thirdHost), Kind: kindKill, Lasts: 5},
		)
	}
	return acts
}
