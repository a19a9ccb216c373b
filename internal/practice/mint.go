package practice

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxMint is how many grants one call may ask for.
const maxMint = 5_000_000

// MintRequest asks for grants as if Count users had logged in.
type MintRequest struct {
	Count     int            `json:"count"`                // at least 1
	Prefix    string         `json:"prefix,omitempty"`     // subjects are Prefix and a number; "" is "user-"
	First     int            `json:"first,omitempty"`      // the first number
	Client    string         `json:"client,omitempty"`     // "" is the first client of the options
	Scope     string         `json:"scope,omitempty"`      // "" is "read write"
	AccessTTL *time.Duration `json:"access_ttl,omitempty"` // nil is the setting; 0: already expired
}

type plainMint MintRequest

type mintJSON struct {
	*plainMint
	AccessTTL *jsonDuration `json:"access_ttl,omitempty"`
}

// MarshalJSON writes the duration as a string.
func (m MintRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(mintJSON{plainMint: (*plainMint)(&m), AccessTTL: (*jsonDuration)(m.AccessTTL)})
}

// UnmarshalJSON reads what MarshalJSON writes; unknown keys are refused.
func (m *MintRequest) UnmarshalJSON(data []byte) error {
	w := mintJSON{plainMint: (*plainMint)(m)}
	if err := decodeStrict(data, &w); err != nil {
		return err
	}
	m.AccessTTL = (*time.Duration)(w.AccessTTL)
	return nil
}

// Minted is one new grant with its first tokens.
type Minted struct {
	Grant        string `json:"grant"`
	Subject      string `json:"subject"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"` // seconds, rounded down
}

// Mint makes new grants. Its errors wrap [ErrInvalid].
func (s *Server) Mint(req MintRequest) ([]Minted, error) {
	settings := *s.settings.Load()
	if req.Count < 1 || req.Count > maxMint {
		return nil, fmt.Errorf("%w: count is %d; allowed: 1 to %d", ErrInvalid, req.Count, maxMint)
	}
	if req.Client == "" {
		req.Client = s.firstClient
	}
	if _, ok := s.clients.get(req.Client); !ok {
		return nil, fmt.Errorf("%w: there is no client %q", ErrInvalid, req.Client)
	}
	if req.Scope == "" {
		req.Scope = defaultScope
	}
	if !validScope(req.Scope) {
		return nil, fmt.Errorf("%w: scope %q; allowed: words of visible ASCII without quote and backslash (RFC 6749, 3.3)", ErrInvalid, req.Scope)
	}
	if req.Prefix == "" {
		req.Prefix = "user-"
	}
	if req.AccessTTL != nil {
		settings.AccessTTL = *req.AccessTTL
	}
	if settings.AccessTTL < 0 {
		return nil, fmt.Errorf("%w: access_ttl is %s; allowed: 0 and above", ErrInvalid, settings.AccessTTL)
	}
	return s.mint(req, settings), nil
}

func (s *Server) mint(req MintRequest, settings Settings) []Minted {
	now := time.Now()
	client, scope := s.labels.of(req.Client), s.labels.of(req.Scope)
	list := make([]*grant, req.Count)
	for i := range list {
		list[i] = &grant{
			subject:     req.Prefix + strconv.Itoa(req.First+i),
			client:      client,
			scope:       req.Scope,
			generations: []generation{newGeneration(now, settings.RefreshTTL)},
		}
	}
	s.grants.add(list)
	minted := make([]Minted, req.Count)
	for i, g := range list {
		access, refresh := newKeys()
		s.refresh.put(refresh, refreshRef{grant: g.index, generation: 1}, nil)
		s.putAccess(access, accessRef{
			expires:    now.Add(settings.AccessTTL).UnixNano(),
			grant:      g.index,
			generation: 1,
			client:     client,
			scope:      scope,
		}, now)
		minted[i] = Minted{
			Grant:        g.id(),
			Subject:      g.subject,
			AccessToken:  accessPrefix + string(access[:]),
			RefreshToken: refreshPrefix + string(refresh[:]),
			ExpiresIn:    int64(settings.AccessTTL / time.Second),
		}
	}
	return minted
}

func newGeneration(now time.Time, ttl time.Duration) generation {
	var gen generation
	if ttl > 0 {
		gen.expires = now.Add(ttl).UnixNano()
	}
	return gen
}

func (s *Server) putAccess(k key, ref accessRef, now time.Time) {
	nano := now.UnixNano()
	s.access.put(k, ref, func(r accessRef) bool { return r.expired(nano) })
}

// validScope reports whether scope is one word or more in the grammar of
// RFC 6749, 3.3, with single spaces between.
func validScope(scope string) bool {
	for word := range strings.SplitSeq(scope, " ") {
		if word == "" {
			return false
		}
		for i := range len(word) {
			if c := word[i]; c <= ' ' || c == '"' || c == '\\' || c > '~' {
				return false
			}
		}
	}
	return true
}

// narrowed returns those words of granted that asked names, in granted's
// order, and whether asked names none besides. No scope asked for is all of it
// (RFC 6749, 6).
func narrowed(granted, asked string) (string, bool) {
	if asked == "" || asked == granted {
		return granted, true
	}
	want := make(map[string]bool)
	for word := range strings.FieldsSeq(asked) {
		want[word] = true
	}
	var kept []string
	for word := range strings.SplitSeq(granted, " ") {
		if want[word] {
			kept = append(kept, word)
			delete(want, word)
		}
	}
	return strings.Join(kept, " "), len(want) == 0 && len(kept) > 0
}
