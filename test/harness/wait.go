package harness

import (
	"context"
	"testing"
	"time"
)

const (
	// Patience bounds waits for what comes soon unless something is broken, on
	// a machine that is busy with other tests.
	Patience = 60 * time.Second
	// Look is the step of waits that have nothing to wait on.
	Look = 20 * time.Millisecond
)

// Eventually asks until the answer is yes, and fails the test after limit. The
// last word of ask tells why not.
func Eventually(t testing.TB, limit time.Duration, ask func() (ok bool, why string)) {
	t.Helper()
	if why, ok := Until(t.Context(), limit, ask); !ok {
		t.Fatalf("not after %s: %s", limit, why)
	}
}

// Until asks until the answer is yes, and reports false after limit, with the
// last word of ask.
func Until(ctx context.Context, limit time.Duration, ask func() (ok bool, why string)) (string, bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(Look)
	defer tick.Stop()
	for {
		ok, why := ask()
		if ok {
			return "", true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return why, false
		}
	}
}

// Pass lets a time pass that is part of what is tested.
func Pass(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
