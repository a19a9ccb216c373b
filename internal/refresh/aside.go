package refresh

import (
	"context"
	"fmt"
	"time"
)

// aside is a change of what is no credential, which the store has acknowledged.
type aside struct {
	again func(context.Context) error
	since time.Duration // boot time
}

// Acknowledged notes a change of what is no credential, such as an API key, that
// the store has acknowledged and may lose. again makes it once more; it is called
// whenever the store may lack it, also where it does not, or where somebody has
// changed the same thing since: that it has to find out. Of several changes of one
// thing the last alone is made again.
func (e *Engine) Acknowledged(what string, again func(context.Context) error) {
	e.ledger.acknowledged(what, aside{again: again, since: e.clock.Boot()})
}

// putBackAsides makes the changes again that this process knows of beside
// credentials. Their order is of no account, nor who else has put back what.
func (e *Engine) putBackAsides(ctx context.Context) error {
	for what, change := range e.ledger.acknowledgedLately() {
		if err := change.again(ctx); err != nil {
			return fmt.Errorf("put back %s: %w", what, err)
		}
	}
	return nil
}
