package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// user is the owner of one credential.
type user struct {
	id       string
	provider string
	number   int
	busy     sync.Mutex // held while something is done about it
	grant    string     // of the last login; "" while logged out or deleted
}

// owners are all of them, and what they were told.
type owners struct {
	mu    sync.Mutex
	users []*user
	acked []oracle.Change
}

func (o *owners) acknowledge(change oracle.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acked = append(o.acked, change)
}

// has notes which grant a user has now.
func (o *owners) has(u *user, grant string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u.grant = grant
}

func (o *owners) of(provider string) []*user {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(o.users), func(u *user) bool { return u.provider != provider })
}

// settleOwner bounds how long an owner asks again until the answer is clear.
const settleOwner = 90 * time.Second

// insist asks one replica after the other until the answer is clear: done, or
// refused for good. What was asked may have been done although the answer did
// not come.
func (c *campaign) insist(ctx context.Context, first int, ask func(ctx context.Context, api *harness.API) error) error {
	ctx, cancel := context.WithTimeout(ctx, settleOwner)
	defer cancel()
	n := first
	return await(ctx, func() error {
		n++
		api := c.house.anyone(n)
		if api == nil {
			return errors.New("nobody answers")
		}
		return ask(ctx, api)
	})
}

// login is what a user got by one, and when its access token ends.
type login struct {
	practice.Minted

	expires time.Time
}

// login mints a grant and stores it.
func (c *campaign) login(ctx context.Context, u *user) (login, error) {
	asked := time.Now() // the token lives a little longer than is told, never shorter
	minted, err := c.house.providers[u.provider].Mint(practice.MintRequest{Count: 1, Prefix: u.provider + "-", First: u.number})
	if err != nil {
		return login{}, err
	}
	m := login{minted[0], asked.Add(time.Duration(minted[0].ExpiresIn) * time.Second)}
	return m, c.store(ctx, u, m)
}

func (c *campaign) store(ctx context.Context, u *user, m login) error {
	uncertain := false
	return c.insist(ctx, u.number, func(ctx context.Context, api *harness.API) error {
		r, err := put(ctx, api, u.provider, u.id, m.Minted, m.expires)
		refused, isRefusal := errors.AsType[*harness.Refusal](err)
		switch {
		case err == nil:
		case isRefusal && refused.Code == "stale_token" && uncertain:
			r.Version = 0 // it had been stored, and was refreshed since
		case isRefusal && refused.Status < http.StatusInternalServerError:
			c.complain("P3", "%s: a login was refused: %v", u.id, refused)
			return nil
		default:
			uncertain = true
			return err
		}
		c.owners.acknowledge(oracle.Change{
			Credential: u.id, Kind: oracle.KindLogin, Grant: m.Grant, Version: r.Version, At: time.Now(), ExpiresAt: m.expires,
		})
		c.owners.has(u, m.Grant)
		return nil
	})
}

// byOwner does what an owner does.
func (c *campaign) byOwner(ctx context.Context, a act) error {
	c.owners.mu.Lock()
	u := c.owners.users[a.N%uint64(len(c.owners.users))]
	c.owners.mu.Unlock()
	always := context.WithoutCancel(ctx) // what was asked may have been done: the answer is awaited
	u.busy.Lock()
	defer u.busy.Unlock()
	switch a.Kind {
	case kindLogin:
		_, err := c.login(always, u)
		return err
	case kindSame:
		m, err := c.login(always, u)
		for n := range 3 {
			if err == nil {
				err = c.again(always, u, m, n)
			}
		}
		return err
	case kindLogout, kindDelete:
		if err := c.leave(always, u, a.Kind); err != nil {
			return err
		}
		if a.N%8 == 0 {
			return nil // this one stays away
		}
		harness.Pass(ctx, a.length())
		_, err := c.login(always, u)
		return err
	default:
		return fmt.Errorf("an owner knows no %q", a.Kind)
	}
}

// comeBack logs those in again who have to, until ctx ends.
func (c *campaign) comeBack(ctx context.Context) {
	tick := time.NewTicker(5 * stepLength)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		api := c.house.anyone(n)
		if api == nil {
			continue
		}
		all, err := api.List(ctx)
		if err != nil {
			continue // the next round may have more luck
		}
		for _, u := range c.owners.users {
			if all[u.id].State != "reauth_required" || ctx.Err() != nil || !u.busy.TryLock() {
				continue
			}
			if _, err := c.login(context.WithoutCancel(ctx), u); err != nil {
				c.note("%s does not come back: %v", u.id, err)
			}
			u.busy.Unlock()
		}
	}
}

// again stores the same token once more. It is the current one, or one that
// was spent since: nothing else may be said.
func (c *campaign) again(ctx context.Context, u *user, m login, n int) error {
	return c.insist(ctx, n, func(ctx context.Context, api *harness.API) error {
		_, err := put(ctx, api, u.provider, u.id, m.Minted, m.expires)
		if refused, ok := errors.AsType[*harness.Refusal](err); ok && refused.Code == "stale_token" {
			return nil
		}
		return err
	})
}

// leave logs a user out or deletes the credential. That nothing has its ID
// acknowledges neither: it was deleted before. Only a deletion that may have been
// made by a call before, whose answer did not come, is known to be done by it.
func (c *campaign) leave(ctx context.Context, u *user, kind string) error {
	uncertain := false
	return c.insist(ctx, u.number, func(ctx context.Context, api *harness.API) error {
		change := oracle.Change{Credential: u.id, Kind: oracle.KindLogout}
		var r harness.Record
		var err error
		if kind == kindDelete {
			change.Kind = oracle.KindDelete
			err = api.Call(ctx, http.MethodDelete, harness.CredentialPath(u.id), nil, nil)
		} else {
			err = api.Call(ctx, http.MethodPost, harness.CredentialPath(u.id)+"/logout", nil, &r)
		}
		refused, isRefusal := errors.AsType[*harness.Refusal](err)
		absent := isRefusal && refused.Status == http.StatusNotFound
		if err != nil && !absent {
			uncertain = true
			return err
		}
		if !absent || kind == kindDelete && uncertain {
			change.Version, change.At = r.Version, time.Now()
			c.owners.acknowledge(change)
		}
		c.owners.has(u, "")
		return nil
	})
}

// withdraw ends a grant as its user does at the provider.
func (c *campaign) withdraw(p *provider, a act) error {
	users := c.owners.of(p.name)
	c.owners.mu.Lock()
	grant := users[a.N%uint64(len(users))].grant
	c.owners.mu.Unlock()
	if !p.Revoke(grant) {
		return errNothingDone
	}
	return nil
}

// That nothing has the ID acknowledges no leave, but where the deletion may have
// been made by a call before, whose answer did not come.
func TestALeaveOfWhatIsNotThereIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		kind    string
		answers []int // in order
		want    []string
	}{
		"logged out":                              {kindLogout, []int{http.StatusOK}, []string{oracle.KindLogout}},
		"logged out, and was not there":           {kindLogout, []int{http.StatusNotFound}, nil},
		"logged out, once unclear, and not there": {kindLogout, []int{http.StatusServiceUnavailable, http.StatusNotFound}, nil},
		"deleted":                    {kindDelete, []int{http.StatusNoContent}, []string{oracle.KindDelete}},
		"deleted, and was not there": {kindDelete, []int{http.StatusNotFound}, nil},
		"deleted, once unclear, and not there now": {kindDelete, []int{http.StatusServiceUnavailable, http.StatusNotFound}, []string{oracle.KindDelete}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := row.answers
			base := harness.Serve(t, harness.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(left[0])
				if left[0] == http.StatusOK {
					_, _ = w.Write([]byte(`{"version":4}`))
				}
				left = left[1:]
			})))
			c := &campaign{
				owners: &owners{}, house: &house{replicas: []*replica{{api: harness.NewAPI(t, base, "")}}},
			}
			u := &user{id: plain + ":0", provider: plain, grant: "g1"}
			require.NoError(t, c.leave(t.Context(), u, row.kind))
			var kinds []string
			for _, change := range c.owners.acked {
				kinds = append(kinds, change.Kind)
			}
			assert.Equal(t, row.want, kinds)
			assert.Empty(t, u.grant, "it has none in any case")
			assert.Empty(t, left)
		})
	}
}
