package refresh

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// maxHold bounds for how long one reply keeps everybody from calling a
// provider. The credential that got it waits as long as it was told.
const maxHold = 15 * time.Minute

// hold has nobody call a provider whose answer has said when it wants to be called
// again: what it counts are the calls of the client, not of one credential (RFC
// 6585 section 4, RFC 9110 section 10.2.3). It lasts up to a tenth longer, so
// that several services that were told the same do not come back together.
func (e *Engine) hold(ctx context.Context, t *Target, o credential.Outcome) {
	if o.Class != credential.ClassRateLimited || o.RetryAfter <= 0 || t.Limits == (Limits{}) {
		return
	}
	lasts := min(o.RetryAfter, maxHold)
	lasts += rand.N(lasts/10 + 1) //nolint:gosec // jitter
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitDeadline)
	defer cancel()
	if err := e.permits.Hold(ctx, t.Name, lasts, o); err != nil {
		e.log.Warn().Err(err).Str("provider", t.Name).Stringer("retry_after", o.RetryAfter).
			Msg("a provider's Retry-After could not be told to the others; the credential that got it waits")
	}
}
