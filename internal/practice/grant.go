package practice

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The causes of a grant's death, as [GrantState] shows them.
const (
	deathReuse   = "reuse"             // a spent refresh token came back
	deathUser    = "revoked_by_user"   // through the admin interface
	deathClient  = "revoked_by_client" // through /revoke
	defaultScope = "read write"
)

// generation is one issued refresh token of a grant.
type generation struct {
	expires   int64 // Unix ns; 0 is never
	spent     int64 // Unix ns; 0 is unspent
	presented uint32
}

// grant is one user's login at one client: a family of refresh tokens.
type grant struct {
	index   uint32
	subject string
	client  label
	scope   string
	inAir   atomic.Int32

	mu          sync.Mutex
	generations []generation // of number 1 and up
	diedAt      int64        // Unix ns; 0 is alive
	death       string
}

// count32 narrows the length of a list that memory keeps far below 2³².
func count32(n int) uint32 {
	return uint32(n) //nolint:gosec // see above
}

// id is the grant's name: "g" and its number.
func (g *grant) id() string { return grantID(g.index) }

func grantID(index uint32) string {
	if index == 0 {
		return ""
	}
	return "g" + strconv.FormatUint(uint64(index), 10)
}

func parseGrantID(id string) (uint32, bool) {
	digits, ok := strings.CutPrefix(id, "g")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || grantID(uint32(n)) != id {
		return 0, false
	}
	return uint32(n), true
}

// kill ends the grant and reports whether it had been alive.
func (g *grant) kill(now int64, cause string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.killLocked(now, cause)
}

func (g *grant) killLocked(now int64, cause string) bool {
	if g.diedAt != 0 {
		return false
	}
	g.diedAt, g.death = now, cause
	return true
}

func (g *grant) alive() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.diedAt == 0
}

// usable reports whether the refresh token of that generation would work now.
func (g *grant) usable(number uint32, now int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen := g.generations[number-1]
	return g.diedAt == 0 && gen.spent == 0 && !gen.expired(now)
}

func (gen generation) expired(now int64) bool { return gen.expires != 0 && now >= gen.expires }

// grants is the list of all grants; number n is at n-1.
type grants struct {
	mu   sync.RWMutex
	list []*grant
	dead atomic.Int64
}

func (gs *grants) get(index uint32) *grant {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	if index == 0 || int(index) > len(gs.list) {
		return nil
	}
	return gs.list[index-1]
}

func (gs *grants) byID(id string) *grant {
	index, ok := parseGrantID(id)
	if !ok {
		return nil
	}
	return gs.get(index)
}

// add gives each of the new grants its number.
func (gs *grants) add(fresh []*grant) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for _, g := range fresh {
		gs.list = append(gs.list, g)
		g.index = count32(len(gs.list))
	}
}

func (gs *grants) count() int {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return len(gs.list)
}

// snapshot returns the grants there are now, in order.
func (gs *grants) snapshot() []*grant {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return slices.Clip(gs.list)
}

// GrantState is what the server knows of one grant.
type GrantState struct {
	Grant      string `json:"grant"`
	Subject    string `json:"subject"`
	Client     string `json:"client"`
	Generation uint32 `json:"generation"` // of the refresh token issued last
	Alive      bool   `json:"alive"`
	Death      string `json:"death,omitempty"`   // reuse, revoked_by_user or revoked_by_client
	DiedAt     int64  `json:"died_at,omitempty"` // Unix ns
}

// Grant returns the state of one grant.
func (s *Server) Grant(id string) (GrantState, bool) {
	g := s.grants.byID(id)
	if g == nil {
		return GrantState{}, false
	}
	return s.grantState(g), true
}

// Grants returns the state of every grant in the order of minting.
func (s *Server) Grants() []GrantState {
	list := s.grants.snapshot()
	states := make([]GrantState, len(list))
	for i, g := range list {
		states[i] = s.grantState(g)
	}
	return states
}

func (s *Server) grantState(g *grant) GrantState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GrantState{
		Grant:      g.id(),
		Subject:    g.subject,
		Client:     s.labels.text(g.client),
		Generation: count32(len(g.generations)),
		Alive:      g.diedAt == 0,
		Death:      g.death,
		DiedAt:     g.diedAt,
	}
}

// Revoke withdraws a grant as its user would: its tokens of both kinds are dead
// from now on. It reports whether there is such a grant.
func (s *Server) Revoke(id string) bool {
	g := s.grants.byID(id)
	if g == nil {
		return false
	}
	s.kill(g, deathUser)
	return true
}

func (s *Server) kill(g *grant, cause string) {
	if g.kill(time.Now().UnixNano(), cause) {
		s.grants.dead.Add(1)
	}
}
