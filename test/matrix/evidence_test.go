package matrix

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// held is what the provider says about an access token.
type held struct {
	grant      string
	generation uint32
}

// evidence gathers what everybody saw until one moment, in which nothing was
// under way.
func (c *cell) evidence() oracle.Evidence {
	c.t.Helper()
	e := oracle.Evidence{
		Provider: oracle.Grace{Rotates: c.kind != still, Life: life}, Cut: map[uint64]bool{},
		Kills: c.kills, Settled: c.settled, Send: send,
	}
	if c.kind == grace {
		e.Provider.Grace = graceTime
	}
	c.enough.Store(true)
	harness.Eventually(c.t, harness.Patience, func() (bool, string) { return c.snapshot(&e) })
	e.Calls = oracle.Late(e.Ledger, timeout)
	var last uint64 // of main, when A came to the point
	for _, entry := range e.Ledger {
		if entry.Fault != "" || c.tooLate(entry) {
			e.Cut[entry.Seq] = true
		}
		// A file's time is some ms behind, and what was just sent may not have
		// arrived.
		if strings.HasPrefix(entry.Subject, "main-") && entry.Received < c.stood.Add(time.Second).UnixNano() {
			last = entry.Seq
		}
	}
	if !c.stood.IsZero() {
		e.Cut[last] = true
	}
	e.Seen = map[string][]oracle.Event{"stream": c.awaited("stream", c.stream, e)}
	assert.Empty(c.t, c.stream.Faults(), "stream")
	if c.hook != nil {
		e.Seen["webhook"] = c.awaited("webhook", c.hook, e)
		assert.Empty(c.t, c.hook.Faults(), "webhook")
	}
	c.cancel()
	c.calls.Wait()
	e.Canaries = c.canaries()
	return e
}

// snapshot reads all that changes, and reports false if any of it did
// meanwhile.
func (c *cell) snapshot(e *oracle.Evidence) (bool, string) {
	at := c.b.API
	e.Ledger = c.provider.Ledger(practice.LedgerQuery{})
	var err error
	if e.Final, err = c.final(at); err != nil {
		return false, err.Error()
	}
	tokens := map[string]held{}
	for _, f := range e.Final {
		grant, generation := c.provider.Holds(f.AccessToken)
		tokens[f.AccessToken] = held{grant, generation}
	}
	e.Live = func(token string) bool { return tokens[token].grant != "" }
	e.Holds = func(token string) (string, uint32) { return tokens[token].grant, tokens[token].generation }
	if e.Log, err = at.Log(c.ctx); err != nil {
		return false, err.Error()
	}
	c.mu.Lock()
	e.Reads, e.Acked = slices.Clone(c.reads), slices.Clone(c.acked)
	c.mu.Unlock()
	e.Grants = c.provider.Grants()
	if sum := c.provider.Summary(); len(c.provider.Ledger(practice.LedgerQuery{})) != len(e.Ledger) || sum.InAir > 0 {
		return false, "presentations go on all the time"
	}
	again, err := at.List(c.ctx)
	if err != nil {
		return false, err.Error()
	}
	for _, f := range e.Final {
		if again[f.ID].Version != f.Version {
			return false, f.ID + " changes all the time"
		}
	}
	return true, ""
}

// subscriber is one who remembers what came.
type subscriber interface {
	Seen() []oracle.Event
	Last(credential string) uint64
}

// awaited waits until a subscriber has what the log has, and returns what it
// got of that; what does not come is for the oracle to judge.
func (c *cell) awaited(name string, s subscriber, e oracle.Evidence) []oracle.Event {
	c.t.Helper()
	why, ok := harness.Until(c.ctx, harness.Patience, func() (bool, string) {
		for _, event := range e.Log {
			if have := s.Last(event.Credential); have < event.Version {
				return false, fmt.Sprintf("%s at version %d of %d", event.Credential, have, event.Version)
			}
		}
		return true, ""
	})
	if !ok {
		c.t.Logf("%s is behind: %s", name, why)
	}
	end := map[string]uint64{}
	for _, f := range e.Final {
		end[f.ID] = f.Version
	}
	return slices.DeleteFunc(s.Seen(), func(event oracle.Event) bool {
		version, there := end[event.Credential]
		return there && event.Version > version
	})
}

// final reads every credential as it is.
func (c *cell) final(at *harness.API) ([]oracle.Final, error) {
	all, err := at.List(c.ctx)
	if err != nil {
		return nil, err
	}
	list := make([]oracle.Final, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		r := all[id]
		f := oracle.Final{
			ID: id, State: r.State, Reason: r.Reason, Version: r.Version, Generation: r.Generation, InDoubt: r.InDoubt,
			ExpiresAt: r.ExpiresAt, Grant: c.grantOf(id),
		}
		if r.State == "active" && !strings.HasPrefix(id, filler) {
			read, got := at.Read(c.ctx, "final", id)
			if read.Err != "" {
				return nil, fmt.Errorf("%s: %s", id, read.Err)
			}
			c.keep(read, got)
			f.AccessToken = got.AccessToken
			// A login that was not acknowledged may have been stored or not.
			if grant, _ := c.provider.Holds(got.AccessToken); grant != f.Grant && slices.Contains(c.unacknowledged(id), grant) {
				f.Grant = grant
			}
		}
		list = append(list, f)
	}
	return list, nil
}

// grantOf is the grant of a credential's last login that was acknowledged.
func (c *cell) grantOf(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	grant := ""
	for _, a := range c.acked {
		if a.Credential == id && a.Kind == oracle.KindLogin {
			grant = a.Grant
		}
	}
	return grant
}

// unacknowledged are the grants of logins that were made after the last one
// that was acknowledged.
func (c *cell) unacknowledged(id string) []string {
	last := c.grantOf(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.pending[id]
	return all[slices.Index(all, last)+1:]
}

// canaries looks for tokens in what anybody may see: logs, the append-only
// file, journals.
func (c *cell) canaries() []string {
	c.t.Helper()
	search := harness.NewCanaries()
	search.Add("client secret", c.provider.Secret)
	for token, name := range c.tokens {
		search.Add(name, token)
	}
	heaps := map[string][]byte{"append-only file and dumps": tree(c, c.server.Dir()), "journals": tree(c, filepath.Join(c.house.Dir, "data", "journal"))}
	for name, process := range map[string]*testproc.Process{"log of A": c.armed, "log of B": c.b.Process} {
		heaps[name] = []byte(process.String())
	}
	var found []string
	for name, heap := range heaps {
		for _, what := range search.Find(heap) {
			found = append(found, name+": "+what)
		}
	}
	return found
}

// tree reads every file under a folder, without the zeros of reserved room.
func tree(c *cell, dir string) []byte {
	c.t.Helper()
	var all []byte
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // taken up meanwhile
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // a folder of this test
		if os.IsNotExist(err) {
			return nil
		}
		end := len(data)
		for end > 0 && data[end-1] == 0 {
			end--
		}
		all = append(all, data[:end]...)
		return err
	})
	require.NoError(c.t, err)
	return all
}
