package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/store"
)

var (
	errAway  = errors.New("connection refused")
	errFull  = errors.New("no space left on device")
	errSpoil = errors.New("this record cannot be read")
)

// fakeProvider rotates strictly, and counts how often it was shown each
// refresh token. A test may replace what it answers, or hold its answers back.
type fakeProvider struct {
	mu        sync.Mutex
	serial    int
	current   map[string]string // refresh token → family, while it can be spent
	presented map[string]int
	total     int
	revoked   []string
	silent    bool          // revocations get no answer
	asked     chan struct{} // hears of each
	prepare   func() *credential.Outcome
	answer    func(refresh string, rotate func() credential.Token) reply // nil: an ordinary reply
	hold      chan struct{}                                              // answers wait for it to be closed, if set
	entered   chan string                                                // hears of each presentation

	passwords map[string]string // by user name
	logins    int
	sessions  map[string]bool // by access token: whether it lives
	extended  int
	login     func(credential.SignIn) *credential.Outcome // answers instead, unless nil
	user      string                                      // the user data that is told, if a target asks for it
	dead      map[string]bool                             // access tokens that Verify refuses
	verified  int
	vouch     func() credential.Outcome                        // answers for a token that Verify takes, unless nil
	profile   func() (credential.UserData, credential.Outcome) // answers a call for user data, unless nil
	profiled  int                                              // such calls
}

// reply is what the provider answers, and how much of it arrives.
type reply struct {
	found   credential.Found // handed to keep, unless it is empty
	outcome credential.Outcome
}

func newFakeProvider() *fakeProvider {
	return &fakeProvider{
		current: map[string]string{}, presented: map[string]int{}, entered: make(chan string, 10_000),
	}
}

// grant logs a user in.
func (p *fakeProvider) grant(family string) credential.Token {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issue(family)
}

func (p *fakeProvider) issue(family string) credential.Token {
	p.serial++
	refresh := fmt.Sprintf("%srt-%s-%d", mark, family, p.serial)
	p.current[refresh] = family
	return credential.Token{
		Access:  credential.NewSecret(fmt.Sprintf("%sat-%s-%d", mark, family, p.serial)),
		Refresh: credential.NewSecret(refresh), Type: "Bearer", Scope: "read",
	}
}

func (p *fakeProvider) Prepare(context.Context) *credential.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.prepare == nil {
		return nil
	}
	return p.prepare()
}

func (p *fakeProvider) Exchange(_ context.Context, in credential.Presentation) credential.Outcome {
	if in.Start != nil && in.Start() != nil || in.MaySend() != nil {
		return credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonTimeout}
	}
	switch in.Method {
	case credential.MethodLogin:
		return p.late(in, p.signIn)
	case credential.MethodExtend:
		return p.late(in, p.extend)
	case credential.MethodRefresh, credential.MethodNone:
	}
	token := in.Token.Refresh.Reveal()
	p.mu.Lock()
	p.presented[token]++
	p.total++
	family, valid := p.current[token]
	rotate := func() credential.Token {
		delete(p.current, token)
		return p.issue(family)
	}
	var r reply
	switch {
	case p.answer != nil:
		r = p.answer(token, rotate)
	case valid:
		r = whole(rotate())
	default:
		r = reply{outcome: credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant}}
	}
	hold := p.hold
	p.mu.Unlock()
	p.entered <- token
	if hold != nil {
		<-hold
	}
	if !r.found.IsZero() {
		_ = in.Keep(r.found) // a reply is used even where it could not be journaled
	}
	return r.outcome
}

// whole is the reply that has all of token.
func whole(token credential.Token) reply {
	return reply{
		found:   credential.Found{Token: token, ExpiresIn: "3600", Complete: true},
		outcome: credential.Outcome{Class: credential.ClassOK, Token: token, ExpiresIn: life},
	}
}

func (p *fakeProvider) Revoke(ctx context.Context, token credential.Token) error {
	p.mu.Lock()
	silent, asked := p.silent, p.asked
	p.mu.Unlock()
	if asked != nil {
		asked <- struct{}{}
	}
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	victim := token.Refresh
	if victim.IsZero() {
		victim = token.Access
	}
	p.revoked = append(p.revoked, victim.Reveal())
	return nil
}

// late holds the answer to a login or an extension back, if answers are.
func (p *fakeProvider) late(in credential.Presentation, answer func(credential.Presentation) credential.Outcome) credential.Outcome {
	p.mu.Lock()
	hold := p.hold
	p.mu.Unlock()
	if hold == nil {
		return answer(in)
	}
	keep, found := in.Keep, credential.Found{}
	in.Keep = func(f credential.Found) error {
		found = f
		return nil
	}
	o := answer(in)
	p.entered <- string(in.Method)
	<-hold
	if !found.IsZero() {
		_ = keep(found) // as above
	}
	return o
}

// signIn logs a user in, with a refresh token if the provider has no sessions.
func (p *fakeProvider) signIn(in credential.Presentation) credential.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logins++
	name := in.SignIn.Username.Reveal()
	if p.login != nil {
		if o := p.login(in.SignIn); o != nil {
			return *o
		}
	}
	if want, known := p.passwords[name]; !known || want != in.SignIn.Password.Reveal() {
		return credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonLoginRefused}
	}
	token := p.issue(name)
	if p.sessions != nil {
		token.Refresh = credential.Secret{}
		p.sessions[token.Access.Reveal()] = true
	}
	_ = in.Keep(credential.Found{Token: token, Complete: true}) // a reply is used even where it could not be journaled
	return credential.Outcome{Class: credential.ClassOK, Token: token, Subject: "uid-" + name, UserData: p.told()}
}

func (p *fakeProvider) extend(in credential.Presentation) credential.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.extended++
	if !p.sessions[in.Token.Access.Reveal()] {
		return credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonSessionEnded}
	}
	return credential.Outcome{Class: credential.ClassOK}
}

// told is the user data that replies tell, nil where they tell none.
func (p *fakeProvider) told() credential.UserData {
	if p.user == "" {
		return nil
	}
	return credential.UserData(p.user)
}

func (p *fakeProvider) UserData(_ context.Context, _ credential.Token, _ string, start func() error) (credential.UserData, credential.Outcome) {
	if start != nil && start() != nil {
		return nil, credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonTimeout}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.profiled++
	if p.profile != nil {
		return p.profile()
	}
	return p.told(), credential.Outcome{Class: credential.ClassOK}
}

func (p *fakeProvider) Verify(_ context.Context, token credential.Token, _ string, start func() error) credential.Outcome {
	if start != nil && start() != nil {
		return credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonTimeout}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verified++
	if p.dead[token.Access.Reveal()] {
		return credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonRejected}
	}
	if p.vouch != nil {
		return p.vouch()
	}
	return credential.Outcome{Class: credential.ClassOK}
}

// counted returns how many logins and extensions there were.
func (p *fakeProvider) counted() (logins, extended int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logins, p.extended
}

// withdraw ends every grant as its user does.
func (p *fakeProvider) withdraw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.current)
}

// set changes how the provider behaves.
func (p *fakeProvider) set(change func(*fakeProvider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// failing answers every presentation with o, rotating nothing.
func (p *fakeProvider) failing(o credential.Outcome) {
	p.set(func(p *fakeProvider) {
		p.answer = func(string, func() credential.Token) reply { return reply{outcome: o} }
	})
}

// refusing answers presentations of those families with o, and others as usual.
func (p *fakeProvider) refusing(o credential.Outcome, families ...string) {
	p.set(func(p *fakeProvider) {
		p.answer = func(token string, rotate func() credential.Token) reply {
			if slices.Contains(families, p.current[token]) {
				return reply{outcome: o}
			}
			return whole(rotate())
		}
	})
}

// losing rotates, and lets no reply arrive.
func (p *fakeProvider) losing() {
	p.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			rotate()
			return reply{outcome: credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}}
		}
	})
}

// refreshAlone is what the provider check says of such a reply.
const refreshAlone = "HTTP 200, no access_token at accessToken"

// refreshAlone lets every refresh bring a new refresh token and nothing else, as where
// the place of the access token is declared wrongly.
func (p *fakeProvider) refreshAlone() {
	p.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			alone := credential.Token{Refresh: rotate().Refresh}
			return reply{
				found:   credential.Found{Token: alone, Complete: true},
				outcome: credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonMalformedReply, Detail: refreshAlone, Token: alone},
			}
		}
	})
}

func (p *fakeProvider) ordinary() { p.set(func(p *fakeProvider) { p.answer = nil }) }

// holding keeps replies back until the returned function is called.
func (p *fakeProvider) holding() (let func()) {
	hold := make(chan struct{})
	p.set(func(p *fakeProvider) { p.hold = hold })
	return sync.OnceFunc(func() {
		p.set(func(p *fakeProvider) { p.hold = nil })
		close(hold)
	})
}

func (p *fakeProvider) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// shown returns how often a refresh token was presented.
func (p *fakeProvider) shown(refresh credential.Secret) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.presented[refresh.Reveal()]
}

// most returns how often the token that was presented most often was.
func (p *fakeProvider) most() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := 0
	for _, n := range p.presented {
		most = max(most, n)
	}
	return most
}

func (p *fakeProvider) withdrawn() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.revoked...)
}

// faultyStore is the real store behind a line that fails when told to.
type faultyStore struct {
	*store.Store

	mu        sync.Mutex
	away      bool                                // nothing gets through
	lostBegin bool                                // the next Begin is carried out and its reply lost
	lostApply int                                 // so many Applies are carried out and their replies lost
	failApply int                                 // so many Applies do not get through
	spoilt    map[credential.ID]bool              // records that cannot be read or written
	applied   func(credential.Write)              // hears of each write that gets through
	scripted  func(want int) (int, time.Duration) // grants, if set
	refused   chan struct{}                       // hears of each Apply that did not get through
	began     chan struct{}                       // hears of each Begin that got through
	meanwhile func()                              // called once, before a Restore
	ahead     func()                              // called once, before an Apply
	onTop     func()                              // called once, after an Apply whose answer is lost
	moved     func()                              // called under the lock once the run was asked for after an Apply that moved
	stale     bool
	returned  int
	unplaced  int // those with a lapsed permit that found no place
	loads     int
	begins    int
	touches   int
	silent    bool          // Load gets no answer
	waited    int           // Loads that got none
	lastLook  bool          // the first Load after a Begin is the last one that gets an answer
	loaded    chan struct{} // hears of the next Load that got an answer
	behind    func()        // called once, after a Load and before its answer
	beaten    func()        // hears of each heartbeat that got through
}

// spoiltError says which items of a list failed by themselves.
type spoiltError struct{ at []bool }

func (e *spoiltError) Error() string { return errSpoil.Error() }

func (e *spoiltError) At(i int) error {
	if e.at[i] {
		return errSpoil
	}
	return nil
}

func (s *faultyStore) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.lostBegin, s.lostApply, s.failApply, s.spoilt, s.silent = false, false, 0, 0, nil, false
}

func (s *faultyStore) set(change func(*faultyStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *faultyStore) gone() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errAway
	}
	return nil
}

func (s *faultyStore) Begin(ctx context.Context, requests []credential.Begin) ([]credential.Begun, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	answers, err := s.Store.Begin(ctx, requests)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begins++
	s.began <- struct{}{}
	if s.lostBegin {
		s.lostBegin = false
		return nil, errAway
	}
	return answers, err
}

func (s *faultyStore) Apply(ctx context.Context, writes []credential.Write) ([]credential.Status, error) {
	if err := s.gone(); err != nil {
		s.refused <- struct{}{}
		return nil, err
	}
	s.mu.Lock()
	if s.failApply > 0 {
		s.failApply--
		s.mu.Unlock()
		s.refused <- struct{}{}
		return nil, errAway
	}
	bad := &spoiltError{at: make([]bool, len(writes))}
	var good []credential.Write
	for i, w := range writes {
		if bad.at[i] = s.spoilt[w.Record.ID]; !bad.at[i] {
			good = append(good, w)
		}
	}
	hear := s.applied
	s.mu.Unlock()
	s.mu.Lock()
	ahead, onTop := s.ahead, s.onTop
	s.ahead, s.onTop = nil, nil
	s.mu.Unlock()
	if ahead != nil {
		ahead()
	}
	some, err := s.Store.Apply(ctx, good)
	if onTop != nil {
		onTop()
		return nil, errors.Join(err, errAway)
	}
	if err != nil {
		return nil, err
	}
	if hear != nil {
		for _, w := range good {
			hear(w)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lostApply > 0 {
		s.lostApply--
		return nil, errAway
	}
	s.stale = s.stale || len(some) > 0 && some[0] == credential.StatusMoved
	if len(good) == len(writes) {
		return some, nil
	}
	statuses := make([]credential.Status, len(writes))
	for i := range writes {
		if !bad.at[i] {
			statuses[i], some = some[0], some[1:]
		}
	}
	return statuses, bad
}

func (s *faultyStore) Load(ctx context.Context, ids ...credential.ID) ([]*credential.Held, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.silent {
		s.waited++
		s.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.loads++
	bad, some := &spoiltError{at: make([]bool, len(ids))}, false
	for i, id := range ids {
		bad.at[i] = s.spoilt[id]
		some = some || bad.at[i]
	}
	s.mu.Unlock()
	list, err := s.Store.Load(ctx, ids...)
	s.mu.Lock()
	s.silent = s.silent || s.lastLook && s.begins > 0
	if s.loaded != nil {
		close(s.loaded)
		s.loaded = nil
	}
	behind := s.behind
	s.behind = nil
	s.mu.Unlock()
	if behind != nil {
		behind()
	}
	if err == nil && some {
		for i := range list {
			if bad.at[i] {
				list[i] = nil
			}
		}
		return list, bad
	}
	return list, err
}

func (s *faultyStore) Release(ctx context.Context, provider string, ids []credential.ID, at credential.Millis) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.Release(ctx, provider, ids, at)
}

func (s *faultyStore) Introduce(ctx context.Context, owner, place string) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.Introduce(ctx, owner, place)
}

func (s *faultyStore) StandIn(ctx context.Context, run string, owners ...string) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.StandIn(ctx, run, owners...)
}

func (s *faultyStore) NextRound(ctx context.Context) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.NextRound(ctx)
}

func (s *faultyStore) Beat(ctx context.Context, ready string, round uint64, waiting string) error {
	if err := s.gone(); err != nil {
		return err
	}
	err := s.Store.Beat(ctx, ready, round, waiting)
	s.mu.Lock()
	hear := s.beaten
	s.mu.Unlock()
	if err == nil && hear != nil {
		hear()
	}
	return err
}

func (s *faultyStore) HoldsInstallation(ctx context.Context) (ours, another bool, err error) {
	if err := s.gone(); err != nil {
		return false, false, err
	}
	return s.Store.HoldsInstallation(ctx)
}

func (s *faultyStore) Run(ctx context.Context) (string, error) {
	if err := s.gone(); err != nil {
		return "", err
	}
	run, err := s.Store.Run(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale && s.moved != nil {
		s.moved()
	}
	return run, err
}

func (s *faultyStore) Restore(ctx context.Context, run string, writes []credential.Write, again bool) ([]credential.Status, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	hear, meanwhile := s.applied, s.meanwhile
	s.meanwhile = nil
	s.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	statuses, err := s.Store.Restore(ctx, run, writes, again)
	if err == nil && hear != nil {
		for _, w := range writes {
			hear(w)
		}
	}
	return statuses, err
}

func (s *faultyStore) Roster(ctx context.Context) (credential.Roster, error) {
	if err := s.gone(); err != nil {
		return credential.Roster{}, err
	}
	return s.Store.Roster(ctx)
}

func (s *faultyStore) OpenOwners(ctx context.Context) (map[string][]credential.ID, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	return s.Store.OpenOwners(ctx)
}

func (s *faultyStore) Take(ctx context.Context, provider string, limits Limits, want int, lease time.Duration) (Taken, error) {
	if err := s.gone(); err != nil {
		return Taken{}, err
	}
	s.mu.Lock()
	scripted := s.scripted
	s.mu.Unlock()
	if scripted != nil {
		n, wait := scripted(want)
		return Taken{Count: n, ID: "lease", Wait: wait}, nil
	}
	n, id, wait, err := s.Permits(ctx, provider, store.Limits(limits), want, lease)
	if lease == 0 && n == 0 {
		s.mu.Lock()
		s.unplaced++
		s.mu.Unlock()
	}
	return Taken{Count: n, ID: id, Within: store.Limits(limits).Within(), Wait: wait}, err
}

func (s *faultyStore) Reclaim(ctx context.Context, provider, owner string) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.ReclaimPermits(ctx, provider, owner)
}

func (s *faultyStore) Return(ctx context.Context, provider, id string, n int) error {
	s.mu.Lock()
	s.returned += n
	s.mu.Unlock()
	if err := s.gone(); err != nil {
		return err
	}
	return s.ReturnPermits(ctx, provider, id, n)
}

func (s *faultyStore) Free(ctx context.Context, provider string, limits Limits, horizon time.Duration) (free, most int, err error) {
	if err := s.gone(); err != nil {
		return 0, 0, err
	}
	free, most, err = s.FreePermits(ctx, provider, store.Limits(limits), horizon)
	return min(free, math.MaxInt32), most, err
}

func (s *faultyStore) Hold(ctx context.Context, provider string, lasts time.Duration, why credential.Outcome) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.HoldPermits(ctx, provider, lasts, store.Hold{Reason: why.Reason, Detail: why.Detail})
}

// testJournal is a real journal; its records are not sealed.
type testJournal struct {
	file  *journal.Journal
	dir   string
	owner string

	mu     sync.Mutex
	intend error // what Intend answers, if set
	keep   error
	note   error
	adopt  error
	damage bool // what is adopted counts as damaged

	written *sync.Map // of all processes: Written by the nonce of its record
	drops   []credential.Nonce
}

type keptForm struct {
	Access    string `json:"a"`
	Refresh   string `json:"r"`
	Type      string `json:"t"`
	Scope     string `json:"s"`
	ExpiresIn string `json:"e"`
	Complete  bool   `json:"c"`

	Method credential.Method `json:"m"`
	Ended  credential.Reason `json:"d"`
}

type loginForm struct {
	Provider  string            `json:"p"`
	Token     keptForm          `json:"t"`
	ExpiresIn time.Duration     `json:"e"`
	ExpiresAt credential.Millis `json:"x"`
	AskedAt   credential.Millis `json:"q"`
}

func formOf(f credential.Found) keptForm {
	return keptForm{
		Access: f.Token.Access.Reveal(), Refresh: f.Token.Refresh.Reveal(), Type: f.Token.Type, Scope: f.Token.Scope,
		ExpiresIn: f.ExpiresIn, Complete: f.Complete,
	}
}

func (f keptForm) found() credential.Found {
	return credential.Found{
		Token: credential.Token{
			Access: credential.NewSecret(f.Access), Refresh: credential.NewSecret(f.Refresh), Type: f.Type, Scope: f.Scope,
		},
		ExpiresIn: f.ExpiresIn, Complete: f.Complete,
	}
}

func (f keptForm) ended() credential.Outcome {
	if f.Ended == credential.ReasonNone {
		return credential.Outcome{}
	}
	return credential.Outcome{Class: credential.ClassPermanent, Reason: f.Ended}
}

func (j *testJournal) set(change func(*testJournal)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(j)
}

func (j *testJournal) dropped(n credential.Nonce) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Contains(j.drops, n)
}

func (j *testJournal) Intend(ctx context.Context, intents []Intent) error {
	j.mu.Lock()
	err := j.intend
	j.mu.Unlock()
	if err != nil {
		return err
	}
	list := make([]journal.Intent, len(intents))
	for i, in := range intents {
		list[i] = journal.Intent(in)
	}
	return j.file.Intent(ctx, list)
}

func (j *testJournal) Keep(kept Kept) (durable func() error) {
	j.mu.Lock()
	err := j.keep
	j.mu.Unlock()
	if err != nil {
		return func() error { return err }
	}
	form := formOf(kept.Found)
	form.Method, form.Ended = kept.Method, kept.Ended.Reason
	data, err := json.Marshal(form)
	if err != nil {
		return func() error { return err }
	}
	return j.file.Hand(journal.Keep{
		Nonce: kept.Nonce, ID: kept.ID, Generation: kept.Generation, Grant: kept.Grant, At: kept.At, Sealed: data,
	})
}

func (j *testJournal) Note(ctx context.Context, changes ...Change) error {
	j.mu.Lock()
	err := j.note
	j.mu.Unlock()
	if err != nil {
		return err
	}
	records := make([]journal.Change, len(changes))
	for i, change := range changes {
		records[i] = journal.Change{
			Nonce: change.Nonce, ID: change.ID, Grant: change.Grant, Kind: journal.ChangeKind(change.Kind), At: change.At,
		}
		if change.Write != nil {
			j.written.Store(change.Nonce, *change.Write)
		}
		if in := change.Login; in != nil {
			form := loginForm{
				Provider: in.Provider, Token: formOf(credential.Found{Token: in.Token}), ExpiresIn: in.ExpiresIn, ExpiresAt: in.ExpiresAt,
				AskedAt: in.AskedAt,
			}
			if records[i].Payload, err = json.Marshal(form); err != nil {
				return err
			}
		}
	}
	return j.file.Change(ctx, records...)
}

func (j *testJournal) Drop(nonces ...credential.Nonce) {
	j.mu.Lock()
	j.drops = append(j.drops, nonces...)
	j.mu.Unlock()
	j.file.Drop(nonces...)
}

func (j *testJournal) Adopt(context.Context) ([]Dead, error) {
	j.mu.Lock()
	trouble, damage := j.adopt, j.damage
	j.mu.Unlock()
	found, err := journal.Adopt(j.dir, j.owner)
	trouble = errors.Join(trouble, err)
	var list []Dead
	for _, dead := range found {
		one := Dead{Owner: dead.Owner, Damaged: damage, Remove: dead.Remove, Release: dead.Release, Order: dead.Order}
		for _, in := range dead.Intents {
			one.Intents = append(one.Intents, Intent(in))
		}
		for _, k := range dead.Keeps {
			var form keptForm
			if err := json.Unmarshal(k.Sealed, &form); err != nil {
				return nil, err
			}
			one.Kept = append(one.Kept, Kept{
				Intent: Intent{Nonce: k.Nonce, ID: k.ID, Generation: k.Generation, Grant: k.Grant, At: k.At},
				Method: form.Method, Found: form.found(), Ended: form.ended(),
			})
		}
		for _, c := range dead.Changes {
			if w, ok := j.written.Load(c.Nonce); ok && c.Kind == journal.Write {
				one.Writes = append(one.Writes, w.(Written)) //nolint:errcheck,forcetypeassert // only these are stored
				continue
			}
			change := Change{Nonce: c.Nonce, ID: c.ID, Kind: ChangeKind(c.Kind), Grant: c.Grant, At: c.At}
			if c.Kind == journal.Put {
				var form loginForm
				if err := json.Unmarshal(c.Payload, &form); err != nil {
					return nil, err
				}
				change.Login = &credential.Login{
					ID: c.ID, Provider: form.Provider, Token: form.Token.found().Token,
					ExpiresIn: form.ExpiresIn, ExpiresAt: form.ExpiresAt, AskedAt: form.AskedAt,
				}
			}
			one.Changes = append(one.Changes, change)
		}
		list = append(list, one)
	}
	return list, trouble
}

func (s *faultyStore) Touch(ctx context.Context, ids []credential.ID) ([]credential.Touch, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.touches++
	s.mu.Unlock()
	statuses, err := s.Store.Touch(ctx, ids)
	touches := make([]credential.Touch, len(statuses))
	for i, status := range statuses {
		touches[i] = credential.Touch{ID: ids[i], Result: credential.TouchOver, Deadline: status.Deadline}
		if status.Answer == store.TouchTaken {
			touches[i].Result = credential.TouchDone
		}
	}
	return touches, err
}
