package provider

import "github.com/rs/zerolog"

// WarnCrowded returns a function for a client's Crowded setting. It tells the
// operator that replies had to be read before those read earlier were kept: at
// the first, the second, the fourth and so on, for there may be thousands.
func WarnCrowded(log zerolog.Logger) func(so uint64) {
	return func(so uint64) {
		if so&(so-1) == 0 {
			log.Warn().Uint64("replies", so).
				Msg("replies wait long to be kept, and are read all the same: is the journal's disk slow?")
		}
	}
}
