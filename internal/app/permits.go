package app

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/store"
)

// permits gives the shared limits of providers to the engine.
type permits struct{ store *store.Store }

func (p permits) Take(ctx context.Context, provider string, limits refresh.Limits, want int, lease time.Duration) (refresh.Taken, error) {
	granted, id, wait, err := p.store.Permits(ctx, provider, store.Limits(limits), want, lease)
	return refresh.Taken{Count: granted, ID: id, Within: store.Limits(limits).Within(), Wait: wait}, err
}

func (p permits) Return(ctx context.Context, provider, id string, n int) error {
	return p.store.ReturnPermits(ctx, provider, id, n)
}

func (p permits) Reclaim(ctx context.Context, provider, owner string) error {
	return p.store.ReclaimPermits(ctx, provider, owner)
}

func (p permits) Free(ctx context.Context, provider string, limits refresh.Limits, horizon time.Duration) (free, most int, err error) {
	return p.store.FreePermits(ctx, provider, store.Limits(limits), horizon)
}

func (p permits) Hold(ctx context.Context, provider string, lasts time.Duration, why credential.Outcome) error {
	return p.store.HoldPermits(ctx, provider, lasts, store.Hold{Reason: why.Reason, Detail: why.Detail})
}
