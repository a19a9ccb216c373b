package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"
)

// lifecycle undoes what a start did: each cleanup is registered right after
// its resource was acquired, and they run last to first.
type lifecycle struct {
	log   zerolog.Logger
	steps []step
}

type step struct {
	name string
	stop func(context.Context) error
}

// add registers the cleanup of something that was just acquired.
func (l *lifecycle) add(name string, stop func(context.Context) error) {
	l.steps = append(l.steps, step{name, stop})
}

// stop runs the cleanups, all of them, whatever fails.
func (l *lifecycle) stop(ctx context.Context) error {
	var trouble error
	for len(l.steps) > 0 {
		last := l.steps[len(l.steps)-1]
		l.steps = l.steps[:len(l.steps)-1]
		l.log.Debug().Str("step", last.name).Msg("stopping")
		if err := last.stop(ctx); err != nil {
			trouble = errors.Join(trouble, fmt.Errorf("%s: %w", last.name, err))
		}
	}
	return trouble
}
