package service

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// fate is what becomes of an exchange in the air.
type fate string

const (
	replyComes  fate = "reply comes"
	replyLost   fate = "reply lost"
	ownerKilled fate = "owner killed"
)

// deed is what the owner of a credential does meanwhile.
type deed string

const (
	logsInAgain  deed = "login"
	logsOut      deed = "logout"
	deletes      deed = "delete and login"
	putsSame     deed = "put of the same token"
	putsSpent    deed = "put of a spent token"
	putsNewAfter deed = "logout and login"
)

func deeds() []deed {
	return []deed{logsInAgain, logsOut, deletes, putsSame, putsSpent, putsNewAfter}
}

// midExchange is one credential with an exchange in the air.
type midExchange struct {
	deed  deed
	id    string
	at    *api // the process that the deed is done through
	first practice.Minted
	grant string    // the one that counts at the end, "" if none does
	done  time.Time // when the deed had been acknowledged
}

// Whatever the owner of a credential does while an exchange is in the air, and
// whatever becomes of the exchange: it is as the owner said last, nothing comes
// back to life, and no number of an event is used twice.
func TestInTheMiddleOfAnExchange(t *testing.T) {
	t.Parallel()
	for _, what := range []fate{replyComes, replyLost, ownerKilled} {
		t.Run(string(what), func(t *testing.T) {
			t.Parallel()
			inTheMiddle(t, what, 0, 1, 1, 5*time.Second, 15*time.Second)
		})
	}
}

func TestSoakInTheMiddleOfAnExchange(t *testing.T) {
	soak(t)
	for _, what := range []fate{replyComes, replyLost, ownerKilled} {
		for _, grace := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprintf("%s, grace %s", what, grace), func(t *testing.T) {
				inTheMiddle(t, what, grace, 10, 2, 15*time.Second, 45*time.Second)
			})
		}
	}
}

func inTheMiddle(t *testing.T, what fate, grace time.Duration, copies, rounds int, takes, life time.Duration) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	o := practice.Options{AccessTTL: life}
	if grace > 0 {
		o.Reuse, o.Grace = practice.ReuseGrace, grace
	}
	p := newProvider(t, providerOptions{Options: o})
	h := newHouse(t, p, server.URL())
	h.acme()["rotation"] = map[string]any{"rotates": "yes", "grace": grace.String()}
	owner, other := h.start(), h.start()
	var living atomic.Pointer[api]
	living.Store(other.api)
	stream := watchAt(t, living.Load)
	for round := range rounds {
		var list []*midExchange
		for n := range 2 * copies {
			for _, d := range deeds() {
				m := &midExchange{deed: d, id: fmt.Sprintf("acme:user-%d-%d", round, len(list)), at: []*api{owner.api, other.api}[n%2]}
				list = append(list, m)
			}
		}
		startExchanges(t, p, owner, list, what, takes)
		for _, m := range list {
			m.do(t, p)
		}
		require.Equal(t, int64(len(list)), p.Summary().InAir, "all of it was done while the exchanges were in the air")
		if what == ownerKilled {
			require.NoError(t, owner.Kill())
			other.says(t, takenUp(owner.owner))
			owner, other = other, h.start()
			living.Store(other.api) // the next one that dies is the other one
		}
		eventually(t, takes+patience, func() (bool, string) { return p.Summary().InAir == 0, "calls are in the air" })
		p.ClearFaults()
		all := settled(t, owner.api, len(list), life+patience)
		for _, m := range list {
			m.judge(t, p, owner.api, all[m.id], what, grace)
		}
		again := presentedOnce(t, p, owner.api)
		t.Logf("round %d: %d exchanges, %d presented again after a lost reply", round+1, len(list), again)
		all = settled(t, owner.api, len(list), life+patience)
		stream.awaitAll(t, patience, all)
		oneEventPerVersion(t, owner.api, owner.list(t), stream)
		for _, m := range list {
			require.NoError(t, owner.Call(t.Context(), http.MethodDelete, harness.CredentialPath(m.id), nil, nil))
		}
	}
}

// startExchanges stores the credentials and returns when the exchange of each is
// in the air, and its token spent.
func startExchanges(t *testing.T, p *provider, owner *instance, list []*midExchange, what fate, takes time.Duration) {
	t.Helper()
	minted, err := p.Mint(practice.MintRequest{Count: len(list)})
	require.NoError(t, err)
	for n, m := range list {
		m.first, m.grant = minted[n], minted[n].Grant
		owner.put(t, m.id, m.first, m.first.ExpiresIn)
		if m.deed == putsSpent {
			require.NoError(t, owner.Refresh(t.Context(), m.id))
		}
	}
	f := practice.Fault{Kind: practice.KindSlow, Rotate: practice.MomentBefore, Delay: takes, Count: 1}
	switch what {
	case replyLost:
		f.Kind = practice.KindLost
	case ownerKilled:
		f.Delay = time.Minute
	case replyComes:
	}
	for _, m := range list { // the next call of each, and no other
		f.Grant = m.grant
		_, err = p.AddFault(f)
		require.NoError(t, err)
	}
	var asks sync.WaitGroup
	t.Cleanup(asks.Wait)
	for _, m := range list {
		asks.Go(func() { _ = owner.Refresh(context.WithoutCancel(t.Context()), m.id) })
	}
	eventually(t, patience, func() (bool, string) {
		have := p.Summary().InAir
		return have == int64(len(list)), fmt.Sprintf("%d in the air", have)
	})
}

// login stores a grant that was minted just now.
func (m *midExchange) login(t *testing.T, p *provider) {
	t.Helper()
	minted, err := p.Mint(practice.MintRequest{Count: 1, Prefix: m.id})
	require.NoError(t, err)
	m.at.put(t, m.id, minted[0], minted[0].ExpiresIn)
	m.grant = minted[0].Grant
}

func (m *midExchange) do(t *testing.T, p *provider) {
	t.Helper()
	path := harness.CredentialPath(m.id)
	before := m.at.get(t, m.id)
	switch m.deed {
	case logsInAgain:
		m.login(t, p)
	case logsOut:
		require.NoError(t, m.at.Call(t.Context(), http.MethodPost, path+"/logout", nil, nil))
		m.grant = ""
	case putsNewAfter:
		require.NoError(t, m.at.Call(t.Context(), http.MethodPost, path+"/logout", nil, nil))
		m.login(t, p)
	case deletes:
		require.NoError(t, m.at.Call(t.Context(), http.MethodDelete, path, nil, nil))
		m.login(t, p)
	case putsSame:
		for range 2 {
			status, detail := m.at.answers(t, http.MethodPut, path, login(m.first, m.first.ExpiresIn))
			assert.Equal(t, http.StatusOK, status, "%s %s: %s", m.deed, m.id, detail)
		}
		assert.Equal(t, before.Version, m.at.get(t, m.id).Version, "%s: changes nothing", m.deed)
	case putsSpent:
		for range 2 {
			status, detail := m.at.answers(t, http.MethodPut, path, login(m.first, m.first.ExpiresIn))
			assert.Equal(t, http.StatusConflict, status, "%s %s: %s", m.deed, m.id, detail)
		}
		assert.Equal(t, before.Version, m.at.get(t, m.id).Version, "%s: changes nothing", m.deed)
	}
	m.done = time.Now()
}

// judge holds a credential against what its owner said last.
func (m *midExchange) judge(t *testing.T, p *provider, at *api, r harness.Record, what fate, grace time.Duration) {
	t.Helper()
	name := fmt.Sprintf("%s, %s, %s", what, m.deed, m.id)
	if m.grant == m.first.Grant {
		if what == replyComes || grace > 0 {
			assert.Equal(t, "active", r.State, name)
			works(t, p, at, []string{m.id})
			return
		}
		assert.Equal(t, "reauth_required", r.State, "%s: its reply was lost, without a grace", name)
		assert.Equal(t, "lost_rotation", r.Reason, name)
		return
	}
	for _, e := range p.Ledger(practice.LedgerQuery{Grant: m.first.Grant}) {
		assert.Less(t, e.Received, m.done.UnixNano(), "%s: the token of the ended login was presented afterwards", name)
	}
	if what == replyComes {
		eventually(t, patience, func() (bool, string) {
			g, ok := p.Grant(m.first.Grant)
			return ok && !g.Alive, name + ": the token that came for an ended login was not revoked"
		})
	}
	if m.grant != "" {
		assert.Equal(t, "active", r.State, name)
		works(t, p, at, []string{m.id})
		g, ok := p.Grant(m.grant)
		assert.True(t, ok && g.Alive, "%s: the new login lives", name)
		return
	}
	assert.Equal(t, "logged_out", r.State, name)
	status, _ := at.answers(t, http.MethodGet, harness.CredentialPath(m.id)+"/token", nil)
	assert.Equal(t, http.StatusConflict, status, name)
}
