package keyset

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/seal"
)

// lookWithin bounds how long a new keyset waits for Redis to be told of it.
const lookWithin = 5 * time.Second

// File is the keyset file that a process was started with, under watch.
type File struct {
	Path string
	Keys *seal.Keyset
	// Rotated takes the keyset that is to be used from now on, and refuses it
	// where it cannot open what is stored.
	Rotated func(ctx context.Context, next *seal.Keyset) error
	// Stamps tell whether the file has changed: it is another text then.
	Stamps func(path string) string
	Log    zerolog.Logger

	seen    string // stamps of the file as it was last looked at
	trouble string // with it, "" if it was taken over
}

// Look takes over the file if it has changed, or if somebody asks. One that
// cannot be taken over is looked at every time again, since that may be
// Redis's fault, and complained of once. It is called by one goroutine at a
// time.
func (f *File) Look(ctx context.Context, asked bool) {
	stamps := f.Stamps(f.Path)
	if !asked && stamps == f.seen && f.trouble == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	changed, err := f.Keys.Reload(f.Path, func(next *seal.Keyset) error { return f.Rotated(ctx, next) })
	f.seen = stamps
	switch {
	case err != nil:
		if err.Error() != f.trouble || asked {
			f.Log.Error().Err(err).Str("file", f.Path).Msg("the keyset was not loaded again, the old one stays in force")
		}
		f.trouble = err.Error()
		return
	case changed:
		primary, staged := 0, 0
		for _, key := range f.Keys.Keys() {
			if key.Staged {
				staged++
			}
			if key.Primary && key.Use == seal.UseSeal {
				primary = int(key.ID)
			}
		}
		f.Log.Info().Str("file", f.Path).Str("fingerprint", f.Keys.Fingerprint()).Int("sealing_key", primary).Int("staged", staged).
			Msg("the keyset was loaded again")
	}
	f.trouble = ""
}
