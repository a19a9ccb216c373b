package api_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// noon is what the fake clock shows.
const noon = credential.Millis(1_800_000_000_000)

// fakeEngine is an engine and its records, in memory. It knows no time: what
// it shall answer beyond what is stored is told to it.
type fakeEngine struct {
	mu        sync.Mutex
	stored    map[credential.ID]*credential.Held
	err       error    // that the next calls return
	besides   error    // that List returns beside its page
	queued    bool     // Refresh only enqueues
	missing   []string // that Put tells of
	unchanged bool     // that Put tells of
	asked     []string // calls, as text
	panics    any
	paused    map[string]bool
	moved     func(*fakeEngine)
	reached   chan struct{} // if set, Token closes it and waits for its context
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{stored: map[credential.ID]*credential.Held{}, paused: map[string]bool{}}
}

func (e *fakeEngine) enter(format string, args ...any) (func(), error) {
	e.mu.Lock()
	e.asked = append(e.asked, fmt.Sprintf(format, args...))
	if e.panics != nil {
		defer e.mu.Unlock()
		panic(e.panics)
	}
	return e.mu.Unlock, e.err
}

func (e *fakeEngine) calls() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.asked)
}

func (e *fakeEngine) set(change func(*fakeEngine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

func (e *fakeEngine) find(id credential.ID) (*credential.Held, error) {
	if h := e.stored[id]; h != nil {
		return h, nil
	}
	return nil, &api.FaultError{Kind: api.FaultNotFound, Detail: "no credential has this ID"}
}

// findOf is find for a subject.
func (e *fakeEngine) findOf(id credential.ID, subject string) (*credential.Held, error) {
	h, err := e.find(id)
	if err == nil && subject != "" && h.Record.Subject != subject {
		return nil, &api.FaultError{Kind: api.FaultNotFound, Detail: "no credential has the ID " + string(id)}
	}
	return h, err
}

// OfSubject is not noted among the calls: it changes nothing. It calls moved
// afterwards, if that is set.
func (e *fakeEngine) OfSubject(_ context.Context, ids []credential.ID, subject string) ([]bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	own := make([]bool, len(ids))
	for i, id := range ids {
		own[i] = e.stored[id] != nil && e.stored[id].Record.Subject == subject
	}
	if e.moved != nil {
		e.moved(e)
	}
	return own, nil
}

func (e *fakeEngine) Token(ctx context.Context, id credential.ID, minTTL time.Duration) (credential.Held, error) {
	e.mu.Lock()
	reached := e.reached
	e.mu.Unlock()
	if reached != nil {
		close(reached)
		<-ctx.Done()
		return credential.Held{}, ctx.Err()
	}
	leave, err := e.enter("token %s %s", id, minTTL)
	defer leave()
	if err != nil {
		return credential.Held{}, err
	}
	h, err := e.find(id)
	if err != nil {
		return credential.Held{}, err
	}
	return *h, nil
}

func (e *fakeEngine) Refresh(_ context.Context, id credential.ID, rejected uint64) (api.Refreshed, error) {
	leave, err := e.enter("refresh %s %d", id, rejected)
	defer leave()
	if err != nil {
		return api.Refreshed{}, err
	}
	h, err := e.find(id)
	if err != nil {
		return api.Refreshed{}, err
	}
	return api.Refreshed{Held: *h, Queued: e.queued}, nil
}

func (e *fakeEngine) Put(_ context.Context, login credential.Login, expect api.Expect) (api.Stored, error) {
	leave, err := e.enter("put %s %s %v %d %s", login.ID, login.Provider, login.ExpiresIn, login.ExpiresAt, slices.Sorted(maps.Keys(login.Labels)))
	defer leave()
	if err != nil {
		return api.Stored{}, err
	}
	before := e.stored[login.ID]
	if before != nil && expect.Subject != "" && before.Record.Subject != expect.Subject {
		return api.Stored{}, &api.FaultError{Kind: api.FaultForbidden, Detail: "another subject's"}
	}
	if expect.Absent && before != nil || expect.Version != 0 && (before == nil || before.Record.Version != expect.Version) {
		return api.Stored{}, &api.FaultError{Kind: api.FaultConflict, Detail: "it is at another version"}
	}
	write := credential.Connect(before, login, credential.Policy{RefreshAt: 0.66, Jitter: 0.1, CanLogin: true}, credential.Nonce{1}, noon)
	var held credential.Held
	if before != nil {
		held = *before
	}
	held = write.Result(held)
	e.stored[login.ID] = &held
	return api.Stored{Held: held, Created: before == nil, Unchanged: e.unchanged, Missing: e.missing}, nil
}

func (e *fakeEngine) Logout(_ context.Context, id credential.ID, expect api.Expect) (credential.Held, error) {
	leave, err := e.enter("logout %s %d", id, expect.Version)
	defer leave()
	if err != nil {
		return credential.Held{}, err
	}
	h, err := e.findOf(id, expect.Subject)
	if err != nil {
		return credential.Held{}, err
	}
	*h = credential.Logout(*h, credential.Nonce{2}, noon).Result(*h)
	return *h, nil
}

func (e *fakeEngine) Delete(_ context.Context, id credential.ID, expect api.Expect, revoke bool) error {
	leave, err := e.enter("delete %s %d %t", id, expect.Version, revoke)
	defer leave()
	if err != nil {
		return err
	}
	if _, err := e.findOf(id, expect.Subject); err != nil {
		return err
	}
	delete(e.stored, id)
	return nil
}

func (e *fakeEngine) Record(_ context.Context, id credential.ID) (*credential.Held, error) {
	leave, err := e.enter("record %s", id)
	defer leave()
	if err != nil {
		return nil, err
	}
	if h := e.stored[id]; h != nil {
		bare := *h
		bare.Token = credential.Token{}
		return &bare, nil
	}
	return nil, nil
}

func (e *fakeEngine) UserData(_ context.Context, id credential.ID) (*credential.Held, error) {
	leave, err := e.enter("user data %s", id)
	defer leave()
	if err != nil {
		return nil, err
	}
	if h := e.stored[id]; h != nil {
		bare := *h
		bare.Token = credential.Token{}
		return &bare, nil
	}
	return nil, nil
}

func (e *fakeEngine) Touch(_ context.Context, ids []credential.ID) ([]credential.Touch, error) {
	leave, err := e.enter("touch %v", ids)
	defer leave()
	if err != nil {
		return nil, err
	}
	answers := make([]credential.Touch, len(ids))
	for i, id := range ids {
		answers[i] = credential.Touch{ID: id, Result: credential.TouchUnknown}
		switch h := e.stored[id]; {
		case h == nil:
		case !h.Record.Session.Sliding():
			answers[i].Result = credential.TouchNoSession
		case h.Record.Session.Ended:
			answers[i].Result = credential.TouchOver
		default:
			h.Record = h.Record.Touched(noon)
			answers[i] = credential.Touch{ID: id, Result: credential.TouchDone, At: noon, Deadline: h.Record.ExpiresAt}
		}
	}
	return answers, nil
}

// amend changes a stored credential as decide says.
func (e *fakeEngine) amend(id credential.ID, subject string, decide func(credential.Held) (credential.Write, bool)) (credential.Held, error) {
	h, err := e.findOf(id, subject)
	if err != nil {
		return credential.Held{}, err
	}
	if write, wanted := decide(*h); wanted {
		*h = write.Result(*h)
	}
	return *h, nil
}

func (e *fakeEngine) SetPresence(_ context.Context, id credential.ID, presence credential.Presence, subject string) (credential.Held, error) {
	leave, err := e.enter("presence %s %s", id, presence)
	defer leave()
	if err != nil {
		return credential.Held{}, err
	}
	if h := e.stored[id]; h != nil && !h.Record.Session.Sliding() && (subject == "" || h.Record.Subject == subject) {
		return credential.Held{}, &api.FaultError{Kind: api.FaultNoSession, Detail: "no session"}
	}
	return e.amend(id, subject, func(h credential.Held) (credential.Write, bool) {
		return credential.SetPresence(h, presence, credential.Policy{Sessions: credential.SessionPolicy{Idle: h.Record.Session.Idle}}, credential.Nonce{3}, noon)
	})
}

func (e *fakeEngine) PlanOnce(_ context.Context, id credential.ID, after time.Duration, subject string) (credential.Held, error) {
	leave, err := e.enter("plan %s %s", id, after)
	defer leave()
	if err != nil {
		return credential.Held{}, err
	}
	return e.amend(id, subject, func(h credential.Held) (credential.Write, bool) {
		at := credential.Millis(0)
		if after >= 0 {
			at = noon.Add(after)
		}
		return credential.PlanOnce(h, at, credential.Nonce{4}, noon)
	})
}

func (e *fakeEngine) SetPaused(_ context.Context, id credential.ID, paused bool, subject string) (credential.Held, error) {
	leave, err := e.enter("paused %s %t", id, paused)
	defer leave()
	if err != nil {
		return credential.Held{}, err
	}
	return e.amend(id, subject, func(h credential.Held) (credential.Write, bool) {
		return credential.SetPaused(h, paused, credential.Nonce{5}, noon)
	})
}

func (e *fakeEngine) PauseProvider(_ context.Context, provider string, paused bool) (bool, error) {
	leave, err := e.enter("provider %s %t", provider, paused)
	defer leave()
	if err != nil {
		return false, err
	}
	if provider != "acme" && provider != credential.AllClients {
		return false, &api.FaultError{Kind: api.FaultUnknownProvider, Detail: "no such provider; it has acme"}
	}
	changed := e.paused[provider] != paused
	e.paused[provider] = paused
	return changed, nil
}

func (e *fakeEngine) List(_ context.Context, want api.RecordFilter, cursor string, limit int) ([]credential.Held, string, error) {
	leave, err := e.enter("list %+v %q %d", want, cursor, limit)
	defer leave()
	if err != nil {
		return nil, "", err
	}
	var page []credential.Held
	for _, id := range slices.Sorted(maps.Keys(e.stored)) {
		h := e.stored[id]
		if string(id) <= cursor || !strings.HasPrefix(string(id), want.Prefix) ||
			want.Provider != "" && want.Provider != h.Record.Provider || want.State != "" && want.State != h.Record.State || want.Subject != "" && want.Subject != h.Record.Subject {
			continue
		}
		if len(page) == limit {
			return page, string(page[limit-1].Record.ID), e.besides
		}
		page = append(page, *h)
	}
	return page, "", e.besides
}

// fakeKeys stores keys in memory.
type fakeKeys struct {
	mu    sync.Mutex
	keys  map[[sha256.Size]byte]api.Key
	err   error
	finds int
}

func newFakeKeys() *fakeKeys { return &fakeKeys{keys: map[[sha256.Size]byte]api.Key{}} }

// add stores a key and returns its text.
func (k *fakeKeys) add(prefix string, scopes ...api.Scope) string {
	text, hash, id := api.NewKey()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[hash] = api.Key{ID: id, Name: "test", Scopes: scopes, Prefix: prefix, CreatedAt: noon}
	return text.Reveal()
}

// addOf stores a key that is limited to a subject.
func (k *fakeKeys) addOf(subject, prefix string, scopes ...api.Scope) string {
	text, hash, id := api.NewKey()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[hash] = api.Key{ID: id, Name: "test", Scopes: scopes, Prefix: prefix, Subject: subject, CreatedAt: noon}
	return text.Reveal()
}

// idOf returns the ID of a key.
func (k *fakeKeys) idOf(text string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[sha256.Sum256([]byte(text))].ID
}

func (k *fakeKeys) Find(_ context.Context, hash [sha256.Size]byte) (*api.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.finds++
	if k.err != nil {
		return nil, k.err
	}
	if key, ok := k.keys[hash]; ok {
		return &key, nil
	}
	return nil, nil
}

func (k *fakeKeys) Create(_ context.Context, hash [sha256.Size]byte, key api.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[hash] = key
	return k.err
}

func (k *fakeKeys) List(context.Context) ([]api.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Values(k.keys)), k.err
}

func (k *fakeKeys) Revoke(_ context.Context, id string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for hash, key := range k.keys {
		if key.ID == id {
			delete(k.keys, hash)
			return true, k.err
		}
	}
	return false, k.err
}

// fakeEvents is an event log in memory. A cursor is the number of events
// before it.
type fakeEvents struct {
	mu      sync.Mutex
	list    []api.StreamedEvent
	trimmed int // events that are gone
	changed chan struct{}
	err     error             // of the next reads
	subject map[string]string // of the events, by cursor
	endless bool              // every read finds one more
	opened  []api.EventFilter
	readers chan struct{} // closed and replaced when one is opened
	read    int           // how far anybody has read
}

func newFakeEvents() *fakeEvents {
	return &fakeEvents{changed: make(chan struct{}), readers: make(chan struct{})}
}

// add appends an event of that type for that credential, with a payload of
// size bytes.
func (f *fakeEvents) add(kind, id string, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := json.Marshal(map[string]any{"specversion": "1.0", "type": kind, "subject": id, "filler": strings.Repeat("x", size)})
	if err != nil {
		panic(err)
	}
	f.list = append(f.list, api.StreamedEvent{Cursor: strconv.Itoa(len(f.list) + 1), Type: kind, JSON: data})
	close(f.changed)
	f.changed = make(chan struct{})
}

// waitOpened returns once n readers were opened.
func (f *fakeEvents) waitOpened(t testing.TB, n int) {
	t.Helper()
	for {
		f.mu.Lock()
		enough, more := len(f.opened) >= n, f.readers
		f.mu.Unlock()
		if enough {
			return
		}
		<-more
	}
}

func (f *fakeEvents) set(change func(*fakeEvents)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeEvents) Open(_ context.Context, cursor string, want api.EventFilter) (api.EventReader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened = append(f.opened, want)
	close(f.readers)
	f.readers = make(chan struct{})
	r := &fakeReader{log: f, want: want, at: len(f.list)}
	if cursor != "" {
		at, err := f.parse(cursor)
		if err != nil {
			return nil, err
		}
		r.at = at
		if at < f.trimmed && at != 0 {
			r.at, r.reset = f.trimmed, true
		}
	}
	for _, glob := range want.Types {
		if !strings.Contains(glob, "*") && !slices.Contains(credential.EventTypes(), credential.EventType(glob)) {
			return nil, &api.FaultError{Kind: api.FaultBadFilter, Detail: "there is no such event type"}
		}
	}
	return r, nil
}

func (f *fakeEvents) Check(cursor string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.parse(cursor)
	return err
}

func (f *fakeEvents) parse(cursor string) (int, error) {
	at, err := strconv.Atoi(cmp.Or(cursor, "0"))
	if err != nil || at < 0 || at > len(f.list) {
		return 0, &api.FaultError{Kind: api.FaultBadCursor, Detail: "this is no cursor"}
	}
	return at, nil
}

func (f *fakeEvents) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

type fakeReader struct {
	log   *fakeEvents
	want  api.EventFilter
	at    int
	reset bool
}

func (r *fakeReader) Reset() bool    { return r.reset }
func (r *fakeReader) Cursor() string { return strconv.Itoa(r.at) }

func (r *fakeReader) Read(_ context.Context, most, bytes int) ([]api.StreamedEvent, bool, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.log.err != nil {
		return nil, false, r.log.err
	}
	if r.log.endless {
		return []api.StreamedEvent{{Cursor: r.Cursor(), Type: "credential.refreshed", JSON: []byte("{}")}}, false, nil
	}
	at, end := r.at, min(r.at+most, len(r.log.list))
	var found []api.StreamedEvent
	for _, e := range r.log.list[at:end] {
		if bytes <= 0 {
			break
		}
		r.at++
		if r.want.Subject != "" && r.log.subject[e.Cursor] != r.want.Subject {
			continue
		}
		if len(r.want.Types) == 0 || slices.Contains(r.want.Types, e.Type) || slices.Contains(r.want.Types, "*") {
			e.JSON = slices.Clone(e.JSON) // a real one is encoded for each reader
			found = append(found, e)
			bytes -= len(e.JSON)
		}
	}
	r.log.read = max(r.log.read, r.at)
	return found, at == end, nil
}

// fakeTickets keeps tickets in memory.
type fakeTickets struct {
	mu    sync.Mutex
	kept  map[[sha256.Size]byte]api.Ticket
	err   error
	again time.Duration // that Issue answers
	life  time.Duration // of the last one
	taken int           // calls
}

func newFakeTickets() *fakeTickets {
	return &fakeTickets{kept: map[[sha256.Size]byte]api.Ticket{}}
}

func (f *fakeTickets) Issue(_ context.Context, hash [sha256.Size]byte, ticket api.Ticket, life time.Duration, _ int) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.again == 0 {
		f.kept[hash], f.life = ticket, life
	}
	return f.again, f.err
}

func (f *fakeTickets) Take(_ context.Context, hash [sha256.Size]byte) (*api.Ticket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken++
	ticket, ok := f.kept[hash]
	if !ok || f.err != nil {
		return nil, f.err
	}
	delete(f.kept, hash)
	return &ticket, nil
}

// fakeService tells what it was told.
type fakeService struct {
	mu     sync.Mutex
	ready  api.Readiness
	paused bool
	err    error
}

func (s *fakeService) Ready(context.Context) api.Readiness {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

func (s *fakeService) Status(context.Context) (api.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return api.Status{
		Service: "refreshd", Version: "1.2.3", Owner: "owner-1", Roles: []string{"api"}, StartedAt: noon.Time(),
		Redis:     api.RedisStatus{Kind: "external", Durability: "appendfsync always", Shards: 1, Reachable: true},
		Providers: []api.ProviderStatus{{Provider: api.Provider{Name: "acme", Kind: "oauth2"}}},
		Queues:    []api.QueueStatus{{Name: "refresh-00", Pending: 3}},
		Subscriptions: []api.SubscriptionStatus{{
			Name: "ui", ManagedBy: api.ManagedByConfig, State: "disabled", Reason: "gone", Detail: "the receiver answered 410",
			Since: new(noon.Time()), Lag: 90,
		}},
	}, s.err
}

func (s *fakeService) Providers(context.Context) ([]api.Provider, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []api.Provider{
		{Name: "acme", Kind: "oauth2", Breaker: api.Breaker{Open: true, Reason: "client_misconfigured"}},
		{Name: "busy", Kind: "http", Hold: &api.Hold{Until: noon.Time(), Reason: "rate_limited", Detail: "HTTP 429"}},
	}, s.paused, s.err
}
