package client

import (
	"context"
	"errors"
	"iter"
	"time"
)

// StateDeleted is the state of an ID under which nothing is stored, in events
// and from [Client.State]. No [Record] has it.
const StateDeleted State = "deleted"

// A CredentialState is how it stands with a credential.
type CredentialState struct {
	ID        string // of the credential
	State     State
	Reason    string    // why, such as invalid_grant; may be empty
	Since     time.Time // when it came into the state; zero where nothing is stored
	Provider  string
	User      string    // the user's UID at the provider; may be empty
	ExpiresAt time.Time // end of the access token's life; a session's idle deadline, as of this version: use moves it without an event
	Version   uint64    // of the credential; 0 where nothing is stored

	// Event is what made it so. It is nil where the state was read: the first
	// one, and one after events were missing.
	Event *Event
}

// SignedIn reports whether there is a credential, and its user does not have
// to sign in.
func (s CredentialState) SignedIn() bool {
	switch s.State {
	case StateDeleted, StateLoggedOut, StateReauthRequired:
		return false
	default:
		return true
	}
}

// State tells how it stands with a credential, first as it is and then after
// every change, without a hole in between and in the order of its versions. An
// ID under which nothing is stored has [StateDeleted], and is watched until
// something is.
//
// It goes on like [Client.Watch], through broken connections and outages of
// refreshd; where events are missing, the state is read again, and told if it
// is another. It ends without an error when ctx does, and with one, which comes
// last, where going on cannot help. The key needs the scopes token:read, or
// credential:write, and event:read.
func (c *Client) State(ctx context.Context, id string) iter.Seq2[CredentialState, error] {
	return func(yield func(CredentialState, error) bool) {
		f := &stateFollower{client: c, id: id, yield: yield}
		if err := f.run(ctx); err != nil && !f.left && ctx.Err() == nil {
			yield(CredentialState{}, err)
		}
	}
}

// stateFollower is one ranging over a credential's states.
type stateFollower struct {
	client *Client
	id     string
	yield  func(CredentialState, error) bool
	again  backoff

	last    CredentialState // handed out last
	told    bool            // one was
	reached bool            // refreshd has answered before
	missed  bool            // the state was read anew since the last event
	left    bool            // yield has returned false
}

// errMissed says that events are missing.
var errMissed = errors.New("events are missing")

// run goes on until yield returns false or ctx is done, or an error lasts.
func (f *stateFollower) run(ctx context.Context) error {
	living, end := f.client.living(ctx)
	defer end()
	for {
		err := f.readAndFollow(living)
		switch {
		case f.left, ctx.Err() != nil:
			return nil
		case f.client.life.Err() != nil:
			return ErrClosed
		case errors.Is(err, errMissed):
			if !f.missed { // at once, unless reading it did not help
				f.missed = true
				continue
			}
		case lasting(err, f.reached):
			return err
		}
		if !f.again.pause(living, err) && ctx.Err() == nil {
			return ErrClosed
		}
	}
}

// readAndFollow reads the state and follows its changes from there. It returns
// [errMissed] where that has to be done again.
func (f *stateFollower) readAndFollow(ctx context.Context) error {
	now, cursor, err := f.read(ctx)
	if err != nil {
		return err
	}
	f.reached = true
	if !f.missed {
		f.again.failures = 0
	}
	if unchanged := f.told && now.Version == f.last.Version && now.State == f.last.State; !unchanged && !f.tell(now) {
		return nil
	}
	for e, err := range f.client.Watch(ctx, Filter{Prefix: f.id}, cursor) {
		switch {
		case err != nil:
			return err
		case e.IsReset():
			return errMissed
		case e.Credential != f.id, e.Version <= f.last.Version: // another with that prefix, or in what was read
			continue
		}
		f.missed = false
		if !f.tell(changedBy(e, f.last)) {
			return nil
		}
	}
	return ctx.Err()
}

// tell hands out a state, and reports whether another is wanted.
func (f *stateFollower) tell(s CredentialState) bool {
	f.last, f.told = s, true
	f.left = !f.yield(s, nil)
	return !f.left
}

// read returns the state with a cursor from before it. Where nothing is stored
// there is no version to know earlier events by, such as those of a deletion a
// moment ago: the cursor is then taken anew, so that they are behind it.
func (f *stateFollower) read(ctx context.Context) (CredentialState, string, error) {
	cursor, now, err := f.readOnce(ctx)
	if err == nil && now.State == StateDeleted {
		cursor, now, err = f.readOnce(ctx)
	}
	return now, cursor, err
}

func (f *stateFollower) readOnce(ctx context.Context) (string, CredentialState, error) {
	if err := checkID(f.id); err != nil {
		return "", CredentialState{}, err
	}
	cursor, err := f.client.Cursor(ctx)
	if err != nil {
		return "", CredentialState{}, err
	}
	r, err := f.client.Get(ctx, f.id)
	switch {
	case errors.Is(err, ErrNotFound):
		return cursor, CredentialState{ID: f.id, State: StateDeleted}, nil
	case err != nil:
		return "", CredentialState{}, err
	}
	return cursor, CredentialState{
		ID: r.ID, State: r.State, Reason: r.Reason, Since: r.Since, Provider: r.Provider, User: r.Subject,
		ExpiresAt: r.ExpiresAt, Version: r.Version,
	}, nil
}

// changedBy returns the state after an event.
func changedBy(e Event, before CredentialState) CredentialState {
	after := CredentialState{
		ID: e.Credential, State: e.State, Reason: e.Reason, Since: before.Since, Provider: e.Provider, User: e.User,
		ExpiresAt: e.ExpiresAt, Version: e.Version, Event: &e,
	}
	if after.State != before.State {
		after.Since = e.Time
	}
	return after
}
