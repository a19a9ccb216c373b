package model_test

import (
	"os"

	"github.com/refreshd/refreshd/internal/model"
)

// bounds are how much may happen on one way through the model: two rotations,
// two crashes, two lost messages, a store that falls back. All of it on one way
// gives tens of millions of states, so Troubles bounds the mixture, and logins
// and logouts have smaller runs of their own. Under the race detector, which
// makes everything ten times slower, one trouble has to do; with MODEL_DEEP set
// there are three, which takes minutes and some gigabytes.
func bounds() map[string]model.Bounds {
	troubles := uint8(2)
	if raced {
		troubles = 1
	}
	all := map[string]model.Bounds{
		"troubles": {Rotations: 2, Crashes: 2, Faults: 2, Losses: 1, Troubles: troubles},
		"slow":     {Rotations: 2, Crashes: 1, Faults: 1, Losses: 1, Troubles: 1, Delays: 1},
		"login":    {Rotations: 1, Crashes: 1, Losses: 1, Troubles: 1, Logins: 1},
		"logout":   {Rotations: 1, Crashes: 1, Losses: 1, Troubles: 1, Logouts: 1},
		"both":     {Rotations: 1, Logins: 1, Logouts: 1},
	}
	if os.Getenv("MODEL_DEEP") != "" {
		all["deep"] = model.Bounds{Rotations: 2, Crashes: 2, Faults: 2, Troubles: 3}
		all["deep, with a loss"] = model.Bounds{Rotations: 1, Crashes: 1, Faults: 1, Losses: 1, Troubles: 3}
	}
	return all
}
