package client

import (
	"context"
	"errors"
	"time"
)

// queued waits for a refresh that another process of refreshd makes, which
// brings a generation above least.
func (c *Client) queued(ctx context.Context, id string, least uint64) (*held, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, queuedFor, errSlow)
	defer cancel()
	tick := time.NewTicker(queuedPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, &UnavailableError{Err: errors.New("refreshd: the refresh that was asked for has not been made yet"), RetryAfter: askAgain}
		}
		h, err := c.fetch(ctx, id, 0)
		switch {
		case err == nil && h.token.Generation > least:
			return h, nil
		case err != nil && !errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
			return nil, err
		}
	}
}
