package credential_test

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// world is one credential with everything that happens to it: owners that log
// in and out, processes that refresh and die, journals that turn up late. It
// does what the engine does with the package's decisions, and remembers what
// must be true of them.
type world struct {
	t      *rapid.T
	now    credential.Millis
	policy credential.Policy
	store  memStore
	nonces uint64
	tokens int

	flying []flight // begun by processes that live
	orphan []flight // begun by processes that died; their journals may turn up

	expiry   map[string]credential.Millis // of each access token, as its issuer means it
	spent    map[string]bool              // refresh tokens whose presentation may have rotated them
	received []credential.Token           // read from the wire, under the present grant
	kept     map[string]bool              // refresh tokens that the store has held
	last     *credential.Write            // the last one that was written
	start    map[string]credential.Millis // of the session that each access token is
	refused  bool                         // the backend refused the stored name and password
	left     clock                        // of the session whose user left when its extension had come due
}

// clock tells the idle timeouts of a session apart: each use starts another.
type clock struct {
	grant          uint64
	used, extended credential.Millis
}

func clockOf(r credential.Record) clock {
	return clock{r.Grant, r.IssuedAt, r.LastAttempt.SucceededAt}
}

// livesAt reports whether r is of a session that is not over at a moment.
func livesAt(r credential.Record, at credential.Millis) bool {
	on := r.State == credential.StateActive || r.State == credential.StateDegraded
	return r.Session.Sliding() && !r.Session.Ended && on && at < r.ExpiresAt
}

// flight is one attempt that was begun.
type flight struct {
	attempt credential.Attempt
	method  credential.Method
	held    credential.Held      // as begin handed it out
	got     *credential.Received // in the journal of a process that died
	heard   *credential.Outcome  // likewise: that what was presented is dead
	silent  bool                 // its owner was taken for dead after it had presented
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, now: noon, expiry: map[string]credential.Millis{}, spent: map[string]bool{}, kept: map[string]bool{}, start: map[string]credential.Millis{}}
	w.policy = credential.Policy{
		RefreshAt: 2.0 / 3, Jitter: 0.1, Times: credential.DefaultTimes(0),
		Rotates:         rapid.SampledFrom([]credential.Rotates{credential.RotatesYes, credential.RotatesAuto, credential.RotatesNo}).Draw(t, "rotates"),
		Grace:           rapid.SampledFrom([]time.Duration{0, 10 * time.Second, 30 * time.Second, 10 * time.Minute}).Draw(t, "grace"),
		RefreshAbsolute: rapid.SampledFrom([]time.Duration{0, 24 * time.Hour}).Draw(t, "absolute"),
		WarnBefore:      time.Hour,
		DefaultLifetime: rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "default life"),
		CanLogin:        rapid.Bool().Draw(t, "can log in"),
	}
	if rapid.Bool().Draw(t, "sessions") {
		w.policy.Sessions = credential.SessionPolicy{
			Idle:       rapid.SampledFrom([]time.Duration{10 * time.Second, 15 * time.Minute, 2 * time.Hour}).Draw(t, "idle"),
			Absolute:   rapid.SampledFrom([]time.Duration{0, time.Minute, 3 * time.Hour}).Draw(t, "session's limit"),
			Extend:     rapid.IntRange(0, 3).Draw(t, "can be extended") > 0,
			WarnBefore: rapid.SampledFrom([]time.Duration{0, 2 * time.Minute}).Draw(t, "countdown"),
			OnActive:   rapid.SampledFrom([]credential.OnActive{credential.ActiveExtend, credential.ActiveEnd}).Draw(t, "on active"),
			OnDeath:    rapid.SampledFrom([]credential.OnDeath{credential.DeathReauth, credential.DeathLogout}).Draw(t, "on death"),
		}
	}
	return w
}

// sliding reports whether the backend's tokens are sliding sessions.
func (w *world) sliding() bool { return w.policy.Sessions.Idle > 0 }

// use is what the backend makes of a use of the session that access is.
func (w *world) use(access credential.Secret, at credential.Millis) {
	name := access.Reveal()
	end := at.Add(w.policy.Sessions.Idle)
	if limit := w.policy.Sessions.Absolute; limit > 0 {
		end = min(end, w.start[name].Add(limit))
	}
	w.expiry[name] = max(w.expiry[name], end)
}

// issued notes how long an access token lives by its issuer's word. A session
// that goes on under another name keeps its limit.
func (w *world) issued(access credential.Secret, at, dies credential.Millis, before credential.Secret) {
	name := access.Reveal()
	if !w.sliding() {
		w.expiry[name] = dies
		return
	}
	w.start[name] = at
	if !before.IsZero() {
		w.start[name] = w.start[before.Reveal()]
	}
	w.use(access, at)
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf(format, args...)
}

func (w *world) nonce() credential.Nonce {
	w.nonces++
	return nonceOf(1_000_000 + w.nonces)
}

func (w *world) newSecret(kind string) credential.Secret {
	w.tokens++
	return credential.NewSecret(fmt.Sprintf("%s-%d", kind, w.tokens))
}

// live returns what is stored, and skips the action if nothing is that could
// be acted on.
func (w *world) live() credential.Held {
	h := w.store.load()
	if h == nil || h.Record.State == credential.StateDeleted {
		w.t.Skip("nothing is stored")
	}
	return *h
}

// growth is what a kind of write may do to the numbers, and to the refresh token.
type growth struct{ generation, grant, drops bool }

// commit applies a write that was decided on h and checks what it changed.
func (w *world) commit(h credential.Held, write credential.Write, may growth) credential.Status {
	w.t.Helper()
	checkUnshared(w.t, h, write)
	var before credential.Held
	if stored := w.store.load(); stored != nil {
		before = *stored
	}
	if write.Erase && !w.store.done(write) { // a session that ends may take everything with it
		if !may.grant && (!w.sliding() || w.policy.Sessions.OnDeath != credential.DeathLogout) {
			w.fatalf("everything is erased at nobody's word")
		}
		may.grant = true
	}
	logged, again := len(w.store.log), w.store.done(write)
	status := w.store.apply(write)
	var after credential.Held
	if stored := w.store.load(); stored != nil {
		after = *stored
	}
	if status != credential.StatusWritten || again {
		if !reflect.DeepEqual(before, after) || len(w.store.log) != logged {
			w.fatalf("%s changed the store", status)
		}
		return status
	}
	b, a := before.Record, after.Record
	w.grew("revision", b.Revision, a.Revision, 1)
	w.grew("version", b.Version, a.Version, uint64(len(w.store.log[logged:])))
	w.grew("generation", b.Generation, a.Generation, count(may.generation))
	w.grew("grant", b.Grant, a.Grant, count(may.grant))
	dropped := may.drops && b.HasRefresh && !a.HasRefresh
	if (write.Token != nil) != (may.generation || dropped) && !write.Erase {
		w.fatalf("a token is stored without a new generation, or none with one")
	}
	if result := write.Result(h); !reflect.DeepEqual(withoutSpent(result), withoutSpent(*w.store.held)) {
		w.fatalf("Result foretold\n%+v\nand stored is\n%+v", result, after)
	}
	if !after.Token.Refresh.IsZero() {
		w.kept[after.Token.Refresh.Reveal()] = true
	}
	for _, alt := range after.Alternates {
		w.kept[alt.Token.Refresh.Reveal()] = true
	}
	if may.grant {
		w.received = nil // replies of an earlier login are not to come back
	}
	w.last = &write
	return status
}

func count(grows bool) uint64 {
	if grows {
		return 1
	}
	return 0
}

func (w *world) grew(what string, before, after, by uint64) {
	w.t.Helper()
	if after != before+by {
		w.fatalf("%s went from %d to %d, expected %d more", what, before, after, by)
	}
}

func withoutSpent(h credential.Held) credential.Held {
	h.Record.Spent = nil
	if len(h.Alternates) == 0 {
		h.Alternates = nil
	}
	return h
}

// unchanged runs decide on a copy of h and checks that h stays as it was.
func (w *world) unchanged(h credential.Held, decide func(credential.Held) credential.Write) credential.Write {
	w.t.Helper()
	before := copyHeld(h)
	write := decide(h)
	if !reflect.DeepEqual(before, h) {
		w.fatalf("a decision changed what it was made on")
	}
	return write
}

// check is run after every action.
func (w *world) check() {
	h := w.store.load()
	if h == nil {
		return
	}
	w.checkHistory(h.Record)
	r := h.Record
	checkNextDue(w.t, r, h.Attempt)
	if r.State.Terminal() && (w.store.due != 0 || h.Attempt != nil) {
		w.fatalf("%s, and due at %d with %+v open", r.State, w.store.due, h.Attempt)
	}
	if w.store.due == 0 && credential.NextDue(r, h.Attempt) != 0 {
		w.fatalf("lost from the due index: %+v, open %+v", r, h.Attempt)
	}
	asleep := r.Session.Sliding() && r.Presence == credential.PresenceBackground
	if asleep {
		w.checkAway(*h)
	}
	if w.store.due == 0 && !r.State.Terminal() && !r.Paused && !asleep {
		w.fatalf("never due again: %+v, open %+v", r, h.Attempt)
	}
	if _, differs := credential.Tune(*h, w.policy, nonceOf(3), w.now); differs {
		w.fatalf("it lives by other settings than there are: %+v", r)
	}
	w.checkLimit(*h)
	if way := w.policy.Method(r) != credential.MethodNone; way && !r.Refreshable && r.ValidAt(w.now, 0) {
		w.fatalf("refreshable is %t, and %q the way: %+v", r.Refreshable, w.policy.Method(r), r)
	}
	if r.HasRefresh == h.Token.Refresh.IsZero() || r.HasLogin == h.SignIn.IsZero() {
		w.fatalf("the record tells of other secrets than there are: %+v", r)
	}
	if len(r.Spent) > credential.MaxSpent {
		w.fatalf("%d spent tokens are remembered", len(r.Spent))
	}
	w.checkServed(*h)
	for _, token := range w.received {
		if !w.kept[token.Refresh.Reveal()] {
			w.fatalf("%s was read from the wire and never stored", token.Refresh.Reveal())
		}
	}
	if r.State == credential.StateLoggedOut || r.State == credential.StateDeleted {
		if !h.Token.Access.IsZero() || len(h.Alternates) > 0 || !h.SignIn.IsZero() || h.UserData != nil {
			w.fatalf("%s, and secrets are left", r.State)
		}
	}
}

// checkLimit checks that a session which can be replaced silently is replaced
// ahead of its limit, and that nobody is told of that unless it fails.
func (w *world) checkLimit(h credential.Held) {
	r := h.Record
	ends := r.Presence == credential.PresenceActive && w.policy.Sessions.OnActive == credential.ActiveEnd
	if !livesAt(r, w.now) || r.LimitAt == 0 || !r.HasLogin || !w.policy.CanLogin || ends || r.Presence == credential.PresenceBackground {
		return
	}
	at := r.ByHandOrLimit()
	if at == 0 || at >= r.LimitAt && r.Session.Successor.Failures == 0 {
		w.fatalf("not replaced ahead of its limit: %+v", r)
	}
	if r.OnceAt == 0 && h.Attempt == nil && !r.Paused && at < r.ExpiresAt && !credential.Due(r, nil, at).Refresh {
		w.fatalf("nothing is due when it is to be replaced: %+v", r)
	}
	if r.OnceAt != 0 || r.Session.Successor.Failures > 0 || w.now >= at {
		return
	}
	if r.ExpiresAt == r.LimitAt && r.Session.CountdownAt != 0 && r.Session.CountdownAt <= at {
		w.fatalf("its users would be told of an end that is prevented: %+v", r)
	}
}

// checkAway checks that of a session in the background nothing is planned but the
// extension that had come due before its user left, and that for as long as it
// can save the session.
func (w *world) checkAway(h credential.Held) {
	r := h.Record
	owed := w.left == clockOf(r)
	switch {
	case !owed && r.RefreshAt != 0:
		w.fatalf("planned although nobody needs it: %+v", r)
	case owed && r.Refreshable && livesAt(r, w.now) && r.RefreshAt == 0:
		w.fatalf("what was due when its user left was taken back: %+v", r)
	}
	if h.Attempt == nil && r.OnceAt == 0 && !livesAt(r, w.now) && credential.Due(r, nil, w.now).Refresh {
		w.fatalf("to be called although that comes too late: %+v", r)
	}
}

// checkServed checks that what may be handed out is alive by its issuer's word.
func (w *world) checkServed(h credential.Held) {
	for _, ttl := range []time.Duration{-time.Hour, 0, time.Minute} {
		if !h.Record.ValidAt(w.now, ttl) {
			continue
		}
		if h.Token.Access.IsZero() {
			w.fatalf("an empty token would be served in state %s", h.Record.State)
		}
		if dies := w.expiry[h.Token.Access.Reveal()]; dies <= w.now.Add(max(ttl, 0)) {
			w.fatalf("a token that dies at %d would be served at %d for %s", dies, w.now, ttl)
		}
	}
}

// checkHistory recomputes from the log what records and events tell of it.
func (w *world) checkHistory(r credential.Record) {
	if uint64(len(w.store.log)) != r.Version {
		w.fatalf("%d events for version %d", len(w.store.log), r.Version)
	}
	last := make(map[credential.EventType]uint64)
	ids := map[string]bool{}
	var state credential.State
	for i, e := range w.store.log {
		if e.Version != uint64(i)+1 || e.PreviousState != state || ids[e.EventID()] {
			w.fatalf("event %d: version %d, from %q although it was %q, ID %s", i+1, e.Version, e.PreviousState, state, e.EventID())
		}
		if !reflect.DeepEqual(last, e.Last) {
			w.fatalf("event %d knows of %v, there were %v", i+1, e.Last, last)
		}
		state, ids[e.EventID()] = e.State, true
		last[e.Type] = e.Version
	}
	if state != r.State || !reflect.DeepEqual(last, r.LastEvents) {
		w.fatalf("the log ends with %q and %v, the record is %q and has %v", state, last, r.State, r.LastEvents)
	}
}

// previous checks the version that a reader of some types is told as the last
// one, against the log.
func (w *world) previous(t *rapid.T) {
	if len(w.store.log) == 0 {
		t.Skip("no events")
	}
	asked := rapid.SliceOfDistinct(rapid.SampledFrom(credential.EventTypes()), rapid.ID[credential.EventType]).Draw(t, "asked")
	wanted := func(kind credential.EventType) bool { return slices.Contains(asked, kind) }
	var before uint64
	for _, e := range w.store.log {
		if got := e.Previous(wanted); got != before {
			w.fatalf("before version %d there was %d among %v, not %d", e.Version, before, asked, got)
		}
		if wanted(e.Type) {
			before = e.Version
		}
	}
}
