package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/provider"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/store"
)

// apiEngine answers the API's calls with the engine, and tells its errors in
// the API's words.
type apiEngine struct {
	*refresh.Engine

	canLogin   func(provider string) bool // there is a call that logs in, or no such provider
	providerOf func(ctx context.Context, id credential.ID) string
}

func (e apiEngine) Token(ctx context.Context, id credential.ID, minTTL time.Duration) (credential.Held, error) {
	held, err := e.Engine.Token(ctx, id, minTTL)
	return held, e.unserved(ctx, id, err)
}

func (e apiEngine) Refresh(ctx context.Context, id credential.ID, rejected uint64) (api.Refreshed, error) {
	held, err := e.Engine.Refresh(ctx, id, rejected)
	return api.Refreshed{Held: held}, e.unserved(ctx, id, err)
}

// Put refuses a login that could never be made also where it comes beside a
// token.
func (e apiEngine) Put(ctx context.Context, login credential.Login, expect api.Expect) (api.Stored, error) {
	if !login.SignIn.IsZero() && !e.canLogin(login.Provider) {
		return api.Stored{}, fault(refresh.ErrNoLogin)
	}
	put, err := e.Engine.Put(ctx, login, refresh.Expect(expect))
	stored := api.Stored{Held: put.Held, Created: put.Created, Unchanged: put.Unchanged}
	for _, absent := range put.Missing {
		stored.Missing = append(stored.Missing, absent.String())
	}
	return stored, unstored(err, login)
}

func (e apiEngine) Logout(ctx context.Context, id credential.ID, expect api.Expect) (credential.Held, error) {
	held, err := e.Engine.Logout(ctx, id, refresh.Expect(expect))
	return held, faultOf(err, id)
}

func (e apiEngine) Delete(ctx context.Context, id credential.ID, expect api.Expect, revoke bool) error {
	return faultOf(e.Engine.Delete(ctx, id, refresh.Expect(expect), revoke), id)
}

// apiControl carries out with the engine what changes no token.
type apiControl struct{ engine *refresh.Engine }

func (c apiControl) Touch(ctx context.Context, ids []credential.ID) ([]credential.Touch, error) {
	answers, err := c.engine.Touch(ctx, ids)
	return answers, fault(err)
}

func (c apiControl) SetPresence(ctx context.Context, id credential.ID, presence credential.Presence, subject string) (credential.Held, error) {
	held, err := c.engine.SetPresence(ctx, id, presence, subject)
	return held, faultOf(err, id)
}

func (c apiControl) PlanOnce(ctx context.Context, id credential.ID, after time.Duration, subject string) (credential.Held, error) {
	held, err := c.engine.PlanOnce(ctx, id, after, subject)
	return held, faultOf(err, id)
}

func (c apiControl) SetPaused(ctx context.Context, id credential.ID, paused bool, subject string) (credential.Held, error) {
	held, err := c.engine.SetPaused(ctx, id, paused, subject)
	return held, faultOf(err, id)
}

func (c apiControl) PauseProvider(ctx context.Context, provider string, paused bool) (bool, error) {
	changed, err := c.engine.PauseProvider(ctx, provider, paused)
	return changed, fault(err)
}

// canLogin reports whether a provider has a call that logs in. What is wrong
// with one that does not exist is told elsewhere.
func (s *service) canLogin(provider string) bool {
	set, ok := s.conf.Load().Providers[provider]
	return !ok || set.Login.Declared()
}

// sendOf tells how requests carry the tokens of a provider.
func (s *service) sendOf(provider string) api.Send {
	send := sendOf(s.conf.Load().Providers[provider])
	return api.Send{As: string(send.As), Name: send.Name}
}

// fault translates an error of the engine or the store.
func fault(err error) error {
	if err == nil {
		return nil
	}
	if full, ok := errors.AsType[*store.FullError](err); ok {
		return &api.FaultError{Kind: api.FaultFull, Detail: full.Error(), Err: err}
	}
	if state, ok := errors.AsType[*refresh.StateError](err); ok {
		if state.State == credential.StateDeleted { // its tombstone is nobody's business
			return &api.FaultError{Kind: api.FaultNotFound, Detail: refresh.ErrNotFound.Error()}
		}
		return &api.FaultError{
			Kind: api.FaultState, Detail: state.Error(), State: state.State, Reason: state.Reason, Since: state.Since,
		}
	}
	if ttl, ok := errors.AsType[*refresh.MinTTLError](err); ok {
		return &api.FaultError{Kind: api.FaultMinTTL, Detail: ttl.Error()}
	}
	if refused, ok := errors.AsType[*refresh.LoginRefusedError](err); ok {
		detail := "the backend does not take this user name and password; nothing was stored"
		switch refused.Reason {
		case credential.ReasonAccountLocked:
			detail = "the backend has locked this account; nothing was stored. Its owner, or the backend's operator, has to unlock it"
		case credential.ReasonInteractionRequired, credential.ReasonConsentRequired:
			detail = fmt.Sprintf("the backend wants the user for this login (%s); nothing was stored", refused.Reason)
		default:
		}
		if refused.Detail != "" {
			detail += " (" + refused.Detail + ")"
		}
		return &api.FaultError{Kind: api.FaultLoginRefused, Detail: detail, Reason: refused.Reason}
	}
	if odd, ok := errors.AsType[*refresh.LoginUnclearError](err); ok {
		return &api.FaultError{Kind: api.FaultLoginRefused, Detail: unclear(odd), Reason: odd.Reason}
	}
	if value, ok := errors.AsType[*provider.ValueError](err); ok {
		field := "body.token." + value.Name
		if value.Name == "subject" {
			field = "body.subject"
		}
		return &api.FaultError{Kind: api.FaultInvalid, Field: field, Detail: value.Sentence()}
	}
	if errors.Is(err, refresh.ErrDeadLogin) {
		return &api.FaultError{Kind: api.FaultLoginRefused, Detail: refresh.ErrDeadLogin.Error(), Reason: credential.ReasonMalformedReply}
	}
	if off, ok := errors.AsType[*refresh.LoginPutOffError](err); ok {
		return &api.FaultError{Kind: api.FaultUnavailable, Detail: putOff(off), Reason: off.Reason, RetryAfter: off.RetryAfter}
	}
	if away, ok := errors.AsType[*refresh.UnavailableError](err); ok {
		detail := fmt.Sprintf("it cannot be done now (%s): %s", away.Reason, meaning(away, ""))
		if word := wrongHere(away.Err); word != "" {
			detail = "it cannot be done now: " + word
		}
		if away.Unsure {
			detail = "it is not known whether this was done (" + sendAgain + "), for an answer of Redis is missing"
		}
		return &api.FaultError{Kind: api.FaultUnavailable, Detail: detail, Err: away.Err, Reason: away.Reason, RetryAfter: away.RetryAfter}
	}
	for _, row := range []struct {
		err  error
		kind api.FaultKind
	}{
		{refresh.ErrNotFound, api.FaultNotFound},
		{refresh.ErrUnknownProvider, api.FaultUnknownProvider},
		{refresh.ErrStaleToken, api.FaultStaleToken},
		{refresh.ErrNoLogin, api.FaultNoLogin},
		{refresh.ErrDeadOnArrival, api.FaultDeadOnArrival},
		{refresh.ErrConflict, api.FaultConflict},
		{refresh.ErrOtherSubject, api.FaultForbidden},
		{refresh.ErrNotRefreshable, api.FaultNotRefreshable},
		{refresh.ErrFreshRejected, api.FaultFreshRejected},
		{refresh.ErrNoSession, api.FaultNoSession},
		{store.ErrBadCursor, api.FaultBadCursor},
		{event.ErrBadCursor, api.FaultBadCursor},
	} {
		if errors.Is(err, row.err) {
			detail := err.Error()
			if row.kind == api.FaultNoLogin {
				detail = row.err.Error() + "; send a token that it has issued, or declare login for this provider in config.yaml"
			}
			return &api.FaultError{Kind: row.kind, Detail: detail}
		}
	}
	if errors.Is(err, refresh.ErrStopping) {
		return &api.FaultError{Kind: api.FaultUnavailable, Detail: err.Error()}
	}
	return err
}

// apiRecords reads records for the API.
type apiRecords struct {
	store     *store.Store
	engine    *refresh.Engine // has most of them in memory
	installed func(context.Context) error
}

func (r apiRecords) OfSubject(ctx context.Context, ids []credential.ID, subject string) ([]bool, error) {
	own, err := r.engine.OfSubject(ctx, ids, subject)
	return own, fault(err)
}

func (r apiRecords) Record(ctx context.Context, id credential.ID) (*credential.Held, error) {
	held, err := r.engine.Current(ctx, id, func(ctx context.Context) (*credential.Held, error) {
		return r.one(ctx, id, r.store.Records)
	})
	if err == nil && held == nil {
		err = r.complete(ctx)
	}
	return held, fault(err)
}

func (r apiRecords) UserData(ctx context.Context, id credential.ID) (*credential.Held, error) {
	stored, err := r.one(ctx, id, r.store.Load)
	if err != nil {
		return nil, fault(err)
	}
	if stored == nil {
		return nil, r.complete(ctx)
	}
	held := *stored
	held.Token, held.SignIn, held.Alternates = credential.Token{}, credential.SignIn{}, nil
	return &held, nil
}

// one reads a record from a run of Redis that lacks nothing that is known.
func (r apiRecords) one(ctx context.Context, id credential.ID, read func(context.Context, ...credential.ID) ([]*credential.Held, error)) (*credential.Held, error) {
	var list []*credential.Held
	err := r.engine.OnKnownRun(ctx, func(ctx context.Context) (err error) {
		list, err = read(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

func (r apiRecords) List(ctx context.Context, want api.RecordFilter, cursor string, limit int) (list []credential.Held, next string, err error) {
	err = r.engine.OnKnownRun(ctx, func(ctx context.Context) (err error) {
		list, next, err = r.store.List(ctx, store.Filter(want), cursor, limit)
		return err
	})
	if err == nil {
		err = r.complete(ctx)
	}
	for i, h := range list {
		list[i] = r.engine.Shown(h)
	}
	return list, next, fault(err)
}

// complete fails where Redis has lost what was stored: what is not found there, or
// not listed, may have been stored.
func (r apiRecords) complete(ctx context.Context) error { return incomplete(r.installed(ctx)) }

// incomplete tells callers that Redis has lost what was stored.
func incomplete(err error) error {
	if err == nil {
		return nil
	}
	return &api.FaultError{Kind: api.FaultUnavailable, Detail: err.Error() + "; /readyz has more", Err: err, RetryAfter: time.Second}
}

// apiEvents reads the event log for the API.
type apiEvents struct {
	log    *event.Log
	source string
	now    func() credential.Millis
}

func (e apiEvents) Changed() <-chan struct{} { return e.log.Changed() }

func (e apiEvents) Open(ctx context.Context, cursor string, want api.EventFilter) (api.EventReader, error) {
	filter := event.Filter{Types: want.Types, Prefix: want.Prefix, Subject: want.Subject, Labels: want.Labels}
	if want.Provider != "" {
		filter.Providers = []string{want.Provider}
	}
	if err := filter.Check(); err != nil {
		return nil, &api.FaultError{Kind: api.FaultBadFilter, Detail: err.Error()}
	}
	reader := &eventReader{events: e, filter: filter}
	var err error
	if cursor == "" {
		reader.at, err = e.log.End(ctx)
		return reader, err
	}
	if reader.at, err = e.parse(cursor); err != nil {
		return nil, err
	}
	reader.at, err = e.log.Place(ctx, reader.at)
	if errors.Is(err, event.ErrReset) {
		reader.reset, err = true, nil
	}
	return reader, err
}

func (e apiEvents) Check(cursor string) error {
	_, err := e.parse(cursor)
	return err
}

func (e apiEvents) parse(cursor string) (event.Cursor, error) {
	at, err := e.log.Parse(cursor)
	if err != nil {
		return event.Cursor{}, fault(err)
	}
	if at.Ahead(e.now().Add(cursorSlack)) {
		return event.Cursor{}, &api.FaultError{Kind: api.FaultBadCursor, Detail: "the cursor names a place that this log has not reached; start at 0, or without one"}
	}
	return at, nil
}

// cursorSlack is how far the clock of a Redis that was promoted may be behind
// that of the one before.
const cursorSlack = time.Minute

// eventReader is one subscriber's place in the event log.
type eventReader struct {
	events apiEvents
	filter event.Filter
	at     event.Cursor
	reset  bool
	first  int // the shard whose turn it is
}

func (r *eventReader) Reset() bool    { return r.reset }
func (r *eventReader) Cursor() string { return r.at.String() }

func (r *eventReader) Read(ctx context.Context, most, bytes int) ([]api.StreamedEvent, bool, error) {
	if r.at.Epoch != r.events.log.Epoch() {
		return nil, false, api.ErrLogReplaced
	}
	entries, next, err := r.events.log.Read(ctx, r.at, max(most/len(r.at.Last), 1))
	if err != nil {
		return nil, false, err
	}
	// A read that is full ends with the shard that filled it; the next one
	// begins behind that one, so that a busy shard does not keep the others back.
	turn := max(slices.IndexFunc(entries, func(e event.Numbered) bool { return e.Shard >= r.first }), 0)
	var list []api.StreamedEvent
	for i := range entries {
		entry := entries[(turn+i)%len(entries)]
		r.at.Last[entry.Shard] = entry.Position
		if !r.filter.Wants(entry.Event) {
			continue
		}
		data, err := event.Expand(entry.LogEntry, r.events.source, r.filter).Encode()
		if err != nil {
			return nil, false, err
		}
		list = append(list, api.StreamedEvent{Cursor: r.at.String(), Type: string(entry.Event.Type), JSON: data})
		if bytes -= len(data); bytes <= 0 && i+1 < len(entries) {
			r.first = entry.Shard + 1
			return list, false, nil
		}
	}
	r.at = next
	return list, len(entries) == 0, nil
}

// apiKeys keeps the API's keys.
type apiKeys struct {
	store  *store.Store
	engine *refresh.Engine // puts back what Redis loses of them
	log    zerolog.Logger
	// revoked are the IDs of those that were revoked here: until that is put back,
	// a Redis without its last writes has them again.
	revoked *sync.Map
	// installed fails where Redis has lost what was stored: a key that is not
	// found there has not been revoked.
	installed func(context.Context) error
}

func (k apiKeys) Find(ctx context.Context, hash [sha256.Size]byte) (*api.Key, error) {
	found, err := k.store.KeyByHash(ctx, hash)
	if errors.Is(err, store.ErrKeyNotFound) {
		if err := incomplete(k.installed(ctx)); err != nil {
			return nil, err
		}
		return nil, nil //nolint:nilnil // no such key is an answer
	}
	if err != nil {
		return nil, err
	}
	if _, gone := k.revoked.Load(found.ID); gone {
		return nil, nil //nolint:nilnil // as above
	}
	return new(apiKey(found)), nil
}

func (k apiKeys) Create(ctx context.Context, hash [sha256.Size]byte, key api.Key) error {
	scopes := make([]string, len(key.Scopes))
	for i, scope := range key.Scopes {
		scopes[i] = string(scope)
	}
	added, err := k.store.AddKey(ctx, hash, store.KeySpec{Name: key.Name, Scopes: scopes, Prefix: key.Prefix, Subject: key.Subject})
	if err != nil {
		return err
	}
	k.acknowledged(added.ID, "it was made again", func(ctx context.Context) (bool, error) {
		return k.store.RestoreKey(ctx, hash, added)
	})
	return nil
}

// acknowledged has a change of a key made again where Redis loses it.
func (k apiKeys) acknowledged(id, what string, again func(context.Context) (bool, error)) {
	k.engine.Acknowledged("API key "+id, func(ctx context.Context) error {
		lost, err := again(ctx)
		if lost {
			k.log.Warn().Str("key", id).Msg("Redis had lost what was done with an API key: " + what)
		}
		return err
	})
}

func (k apiKeys) List(ctx context.Context) ([]api.Key, error) {
	stored, err := k.store.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]api.Key, len(stored))
	for i, one := range stored {
		list[i] = apiKey(one)
	}
	return list, nil
}

func (k apiKeys) Revoke(ctx context.Context, id string) (bool, error) {
	// One that is not found in a Redis without its last writes may come back.
	err := k.engine.Surely(ctx, func(ctx context.Context) error {
		return k.store.RevokeKey(ctx, id)
	}, store.ErrKeyNotFound)
	switch {
	case errors.Is(err, store.ErrKeyNotFound):
		return false, nil
	case err != nil:
		return false, fault(err)
	}
	k.revoked.Store(id, nil)
	k.acknowledged(id, "it was revoked again", func(ctx context.Context) (bool, error) {
		return k.store.RevokeKeyAgain(ctx, id)
	})
	return true, nil
}

func apiKey(stored store.Key) api.Key {
	key := api.Key{ID: stored.ID, Name: stored.Name, Prefix: stored.Prefix, Subject: stored.Subject, CreatedAt: stored.CreatedAt}
	for _, scope := range stored.Scopes {
		key.Scopes = append(key.Scopes, api.Scope(scope))
	}
	return key
}
