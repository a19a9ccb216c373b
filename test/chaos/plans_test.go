package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// plannedAfter is when a refresh is asked for that does not come within a campaign,
// also by a clock that jumps ahead: a year is the furthest.
const plannedAfter = "366d"

// planners are how many owners say at any time when calls are made: few of them meet
// an exchange, and fewer a restart of Redis beside it.
const planners = 16

// longestPlan is how long what was acknowledged has to stand before it is looked at.
const longestPlan = 3 * time.Second

// plans counts what owners have planned.
type plans struct{ held, asked atomic.Int64 }

func (p *plans) String() string {
	return fmt.Sprintf("%d times paused and resumed, %d times a refresh asked for and taken back", p.held.Load(), p.asked.Load())
}

// planAhead does what owners do who say when calls are made, one after the other,
// until ctx ends. What was begun is ended.
func (c *campaign) planAhead(ctx context.Context) {
	for ctx.Err() == nil {
		u := c.owners.users[rand.IntN(len(c.owners.users))]
		if !u.busy.TryLock() {
			continue
		}
		plan, count := c.hold, &c.plans.held
		if rand.IntN(3) == 0 {
			plan, count = c.planOnce, &c.plans.asked
		}
		switch err := plan(ctx, u, rand.N(longestPlan)); {
		case errors.Is(err, errNothingDone):
			harness.Pass(ctx, stepLength)
		case err != nil:
			c.complain("P8", "%s: a plan could not be made: %v", u.id, err)
		default:
			count.Add(1)
		}
		u.busy.Unlock()
	}
}

// hold pauses a credential for a while and resumes it. Each must stand, whatever
// happens meanwhile, a login as well.
func (c *campaign) hold(ctx context.Context, u *user, lasts time.Duration) error {
	always := context.WithoutCancel(ctx) // what was asked may have been done: the answer is awaited
	if _, err := c.tell(always, u, "/pause", nil); err != nil {
		return err
	}
	c.owners.acknowledge(oracle.Change{Credential: u.id, Kind: oracle.KindPause, At: time.Now()})
	harness.Pass(ctx, lasts)
	if u.number%4 == 3 {
		if _, err := c.login(always, u); err != nil {
			c.note("%s is paused, and no login is taken: %v", u.id, err)
		}
	}
	c.expect(always, u, "paused", func(r harness.Record) bool { return r.Paused })
	c.owners.acknowledge(oracle.Change{Credential: u.id, Kind: oracle.KindResume, At: time.Now()})
	_, err := c.tell(always, u, "/resume", nil)
	if errors.Is(err, errNothingDone) { // it has ended meanwhile, and goes on as it was
		if _, err = c.login(always, u); err == nil {
			_, err = c.tell(always, u, "/resume", nil)
		}
	}
	if err != nil {
		return err
	}
	harness.Pass(ctx, lasts/2)
	c.expect(always, u, "resumed", func(r harness.Record) bool { return !r.Paused })
	return nil
}

// planOnce asks for a refresh on a day to come and takes that back after a while.
func (c *campaign) planOnce(ctx context.Context, u *user, lasts time.Duration) error {
	always := context.WithoutCancel(ctx)
	told, err := c.tell(always, u, "/refresh", map[string]any{"after": plannedAfter})
	if err != nil {
		return err
	}
	harness.Pass(ctx, lasts)
	c.expect(always, u, "to be refreshed at "+told.DueAt.Format(time.RFC3339Nano), func(r harness.Record) bool { return r.OnceAt.Equal(told.DueAt) })
	if _, err := c.tell(always, u, "/refresh", map[string]any{"cancel": true}); err != nil {
		return err
	}
	harness.Pass(ctx, lasts/2)
	c.expect(always, u, "without a refresh that was asked for", func(r harness.Record) bool { return r.OnceAt.IsZero() })
	return nil
}

// tell makes a call about a credential until it is answered. Of one that has ended,
// or is not there, nothing can be planned.
func (c *campaign) tell(ctx context.Context, u *user, what string, body any) (r harness.Record, err error) {
	var refused error
	err = c.insist(ctx, u.number, func(ctx context.Context, api *harness.API) error {
		r = harness.Record{}
		err := api.Call(ctx, http.MethodPost, harness.CredentialPath(u.id)+what, body, &r)
		no, ok := errors.AsType[*harness.Refusal](err)
		switch {
		case !ok || no.Status >= http.StatusInternalServerError:
			return err
		case no.Status == http.StatusNotFound || no.Status == http.StatusConflict:
			refused = errors.Join(errNothingDone, err)
		default:
			refused = err
		}
		return nil
	})
	return r, errors.Join(refused, err)
}

// expect holds a credential as it is read now against what its owner was told. One
// that has ended has no plans.
func (c *campaign) expect(ctx context.Context, u *user, want string, met func(harness.Record) bool) {
	var r harness.Record
	err := c.insist(ctx, u.number, func(ctx context.Context, api *harness.API) error {
		r = harness.Record{}
		return api.Call(ctx, http.MethodGet, harness.CredentialPath(u.id), nil, &r)
	})
	switch {
	case err != nil:
		c.complain("P3", "%s cannot be read, and should be %s: %v", u.id, want, err)
	case r.State == "reauth_required", met(r):
	default:
		c.complain("P3", "%s: its owner was told that it is %s, and at version %d, which is %s, it is not", u.id, want, r.Version, r.State)
	}
}

// What an owner was told is held against what is read later, whatever was asked.
func TestAPlanThatDoesNotStandIsTold(t *testing.T) {
	t.Parallel()
	const told, paused, running = `{"due_at":"2030-01-01T00:00:00Z"}`, `{"state":"active","paused":true}`, `{"state":"active","paused":false}`
	hold, planOnce := (*campaign).hold, (*campaign).planOnce
	for name, row := range map[string]struct {
		plan    func(*campaign, context.Context, *user, time.Duration) error
		answers []string // in order
		want    string   // of the complaint
		err     error
	}{
		"paused and resumed":      {hold, []string{paused, paused, running, running}, "", nil},
		"the pause is gone":       {hold, []string{paused, running, running, running}, "it is paused", nil},
		"the resumption is gone":  {hold, []string{paused, paused, running, paused}, "it is resumed", nil},
		"it has ended meanwhile":  {hold, []string{paused, `{"state":"reauth_required"}`, running, running}, "", nil},
		"it had ended before":     {hold, []string{""}, "", errNothingDone},
		"asked for, and not":      {planOnce, []string{told, `{"refresh_once_at":"2030-01-01T00:00:00Z"}`, `{"cancelled":true}`, `{}`}, "", nil},
		"the plan is gone":        {planOnce, []string{told, `{}`, `{"cancelled":true}`, `{}`}, "to be refreshed at 2030-01-01T00:00:00Z", nil},
		"the plan is another one": {planOnce, []string{told, `{"refresh_once_at":"2030-01-01T00:00:01Z"}`, `{"cancelled":true}`, `{}`}, "to be refreshed at 2030-01-01T00:00:00Z", nil},
		"the plan is back":        {planOnce, []string{told, `{"refresh_once_at":"2030-01-01T00:00:00Z"}`, `{"cancelled":true}`, `{"refresh_once_at":"2030-01-01T00:00:00Z"}`}, "without a refresh", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := row.answers
			base := harness.Serve(t, harness.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if left[0] == "" {
					w.WriteHeader(http.StatusConflict)
				}
				_, _ = w.Write([]byte(left[0]))
				left = left[1:]
			})))
			u := &user{id: plain + ":0", provider: plain}
			c := &campaign{
				owners: &owners{}, house: &house{replicas: []*replica{{api: harness.NewAPI(t, base, "")}}},
			}
			require.ErrorIs(t, row.plan(c, t.Context(), u, time.Millisecond), row.err)
			assert.Empty(t, left)
			if row.want == "" {
				assert.Empty(t, c.problems)
				return
			}
			require.Len(t, c.problems, 1)
			assert.Contains(t, c.problems[0].String(), row.want)
		})
	}
}
