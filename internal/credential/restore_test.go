package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// chain makes a credential and refreshes it twice, as the writes that did it
// and what each led to.
func chain(t *testing.T) (writes []credential.Write, after []credential.Held) {
	t.Helper()
	policy := credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	secret := func(s string) credential.Token {
		return credential.Token{Access: credential.NewSecret("a" + s), Refresh: credential.NewSecret("r" + s)}
	}
	now := credential.Millis(1_800_000_000_000)
	login := credential.Login{ID: "alice", Provider: "acme", Token: secret("0"), ExpiresIn: time.Hour}
	write := credential.Connect(nil, login, policy, credential.Nonce{1}, now)
	h := write.Result(credential.Held{})
	writes, after = append(writes, write), append(after, h)
	for n := range byte(2) {
		now = now.Add(time.Hour)
		a := credential.Attempt{Nonce: credential.Nonce{10 + n}, Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: now}
		h.Attempt = &a
		write = credential.Install(h, a, credential.Received{Token: secret(string('1' + n)), SentAt: now, ExpiresIn: time.Hour}, policy, credential.BySchedule, now)
		h = write.Result(h)
		writes, after = append(writes, write), append(after, h)
	}
	return writes, after
}

// Whatever the store fell back to, putting the writes back one by one leads to
// the same record with the same versions.
func TestRestoreTheChain(t *testing.T) {
	t.Parallel()
	writes, after := chain(t)
	for lost := range len(writes) + 1 {
		var stored *credential.Held
		if kept := len(writes) - lost; kept > 0 {
			stored = &after[kept-1]
		}
		made := 0
		for i, w := range writes {
			again, what := credential.Restore(stored, w, after[i], false)
			if what == credential.RestoreNone {
				continue
			}
			require.Equal(t, credential.RestoreAgain, what)
			assert.True(t, again.Attempt.IsZero(), "the attempt that was open then need not be now")
			assert.True(t, again.Alone, "none is open")
			var before credential.Held
			if stored != nil {
				before = *stored
			}
			assert.Equal(t, before.Record.Revision, again.Revision)
			assert.Equal(t, w.Events, again.Events)
			stored = new(again.Result(before))
			made++
		}
		assert.Equal(t, lost, made)
		assert.Equal(t, after[len(after)-1], *stored)
	}
}

func TestRestoreWaitsForWhatCameBefore(t *testing.T) {
	t.Parallel()
	writes, after := chain(t)
	_, what := credential.Restore(&after[0], writes[2], after[2], false)
	assert.Equal(t, credential.RestoreLater, what)

	// Its maker is gone: the record is put back as a whole.
	whole, what := credential.Restore(&after[0], writes[2], after[2], true)
	require.Equal(t, credential.RestoreAgain, what)
	assert.Equal(t, after[0].Record.Revision, whole.Revision)
	assert.Equal(t, after[2], whole.Result(after[0]))
	assert.Equal(t, writes[2].Events, whole.Events)

	whole, what = credential.Restore(nil, writes[2], after[2], true)
	require.Equal(t, credential.RestoreAgain, what)
	assert.Zero(t, whole.Revision)
	assert.Equal(t, after[2], whole.Result(credential.Held{}))
}

// Where somebody went on from what the store fell back to, the newer token
// wins, and no version is used twice.
func TestRestoreOverAnotherBranch(t *testing.T) {
	t.Parallel()
	writes, after := chain(t)
	other := after[1]
	other.Record.Revision += 5
	other.Record.Version += 5
	other.Record.LastWrite = credential.Nonce{99}
	write, what := credential.Restore(&other, writes[2], after[2], false)
	require.Equal(t, credential.RestoreAgain, what)
	got := write.Result(other)
	assert.Equal(t, after[2].Token, got.Token)
	assert.Equal(t, other.Record.Revision+1, write.Record.Revision)
	require.Len(t, write.Events, 1)
	assert.Equal(t, other.Record.Version+1, write.Events[0].Version)
	assert.Equal(t, other.Record.State, write.Events[0].PreviousState)
	assert.Equal(t, other.Record.LastEvents, write.Events[0].Last, "it follows what was told last")
	assert.Equal(t, other.Record.Version+1, got.Record.Version)
	assert.Equal(t, got.Record.Version, got.Record.LastEvents[credential.EventRefreshed])
	assert.NotEqual(t, got.Record.Version, after[2].Record.LastEvents[credential.EventRefreshed], "what was kept is not changed")

	bare := after[2]
	bare.Token = credential.Token{} // as it is known where the secrets were not read
	write, what = credential.Restore(&other, writes[2], bare, false)
	require.Equal(t, credential.RestoreAgain, what)
	assert.False(t, write.Erase, "only a write that erases may erase")

	other.Record.Grant++ // a login: what was received before belongs to the past
	_, what = credential.Restore(&other, writes[2], after[2], true)
	assert.Equal(t, credential.RestoreNone, what)
}

func TestReopen(t *testing.T) {
	t.Parallel()
	_, after := chain(t)
	h := after[2]
	now := h.Record.ExpiresAt
	a := credential.Attempt{Nonce: credential.Nonce{7}, Owner: "me", Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: now, Deadline: now + 1}
	write, ok := credential.Reopen(h, a)
	require.True(t, ok)
	assert.Equal(t, h.Record, write.Record, "nothing but the attempt changes")
	assert.True(t, write.Alone, "what is begun meanwhile stays")
	assert.Empty(t, write.Events)
	assert.Equal(t, &a, write.Result(h).Attempt)

	for name, change := range map[string]func(*credential.Held, *credential.Attempt){
		"it is open":         func(h *credential.Held, a *credential.Attempt) { h.Attempt = a },
		"another generation": func(h *credential.Held, _ *credential.Attempt) { h.Record.Generation++ },
		"another login":      func(h *credential.Held, _ *credential.Attempt) { h.Record.Grant++ },
		"logged out":         func(h *credential.Held, _ *credential.Attempt) { h.Record.State = credential.StateLoggedOut },
	} {
		h, a := h, a
		change(&h, &a)
		_, ok := credential.Reopen(h, a)
		assert.False(t, ok, name)
	}
	h.Attempt = &credential.Attempt{Nonce: credential.Nonce{3}, Generation: a.Generation, Grant: a.Grant, BegunAt: now - 1, Doubt: true}
	a.Recovery = true
	write, ok = credential.Reopen(h, a)
	require.True(t, ok, "the doubt that it recovers had come back")
	assert.Equal(t, &a, write.Open)
}

// What may be open in the place of an attempt that its owner still holds, by
// whatever the store's clock made of it: one that ended before, or one that
// somebody began who had taken the owner for dead.
func TestReopenWithoutAClock(t *testing.T) {
	t.Parallel()
	_, after := chain(t)
	h := after[2]
	now := h.Record.ExpiresAt
	held := credential.Attempt{Nonce: credential.Nonce{7}, Owner: "me", Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: now}
	for name, c := range map[string]struct {
		recovery        bool // the one that is held
		doubt, recovers bool // the open one
		reopened        bool
	}{
		"an ordinary one, of which it is known that it ended":        {reopened: true},
		"an ordinary one from before the doubt that it recovers":     {recovery: true, reopened: true},
		"the doubt that it recovers":                                 {recovery: true, doubt: true, reopened: true},
		"a recovery: it is the later one, where no write is missing": {recovery: true, recovers: true},
		"the recovery before it, whose end was put back":             {recovery: true, recovers: true, doubt: true, reopened: true},
		"a doubt that arose when its owner had been taken for dead":  {doubt: true},
		"the recovery of that doubt":                                 {recovers: true},
		"the recovery of that doubt, which ended in doubt once more": {recovers: true, doubt: true},
	} {
		for clock, at := range map[string]credential.Millis{"fell back": now - 60_000, "stood still": now, "went on": now + 60_000} {
			a, stored := held, h
			a.Recovery = c.recovery
			stored.Attempt = &credential.Attempt{
				Nonce: credential.Nonce{8}, Owner: "other", Generation: a.Generation, Grant: a.Grant, BegunAt: at, Doubt: c.doubt, Recovery: c.recovers,
			}
			write, ok := credential.Reopen(stored, a)
			assert.Equal(t, c.reopened, ok, "%s, the clock %s", name, clock)
			if ok {
				assert.Equal(t, &a, write.Open)
			}
		}
	}
}

// Where a doubt was taken over without a write, and the recovery ended, what comes
// back beside the doubt is the doubt that the recovery left.
func TestRestoreBesideTheDoubtThatWasTakenOver(t *testing.T) {
	t.Parallel()
	policy := credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	_, after := chain(t)
	h := after[2]
	now := h.Record.RefreshAt
	doubt := credential.Attempt{Nonce: credential.Nonce{7, 8: 7}, Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: now - 90_000, FirstSent: now - 90_000, RecoverAt: now - 2000, Doubt: true}
	recovery := credential.Attempt{Nonce: credential.Nonce{8, 8: 8}, Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: now - 1000, FirstSent: now - 90_000, Recovery: true}
	begun, stored := h, h
	begun.Attempt, stored.Attempt = &recovery, &doubt
	w := credential.Fail(begun, recovery, credential.Outcome{Class: credential.ClassRateLimited, RetryAfter: time.Hour}, policy, credential.BySchedule, now)
	led := w.Result(begun)
	require.GreaterOrEqual(t, led.Attempt.RecoverAt, now.Add(time.Hour))
	again, what := credential.Restore(&stored, w, led, false)
	require.Equal(t, credential.RestoreAgain, what)
	assert.Equal(t, led.Attempt, again.Result(stored).Attempt)
	assert.Equal(t, w.Due, again.Due)

	// One that arose in another way stays, whatever the write has ended.
	plain := recovery
	plain.Recovery = false
	begun.Attempt = &plain
	w = credential.Fail(begun, plain, credential.Outcome{Class: credential.ClassRateLimited}, policy, credential.BySchedule, now)
	again, _ = credential.Restore(&stored, w, w.Result(begun), false)
	assert.Equal(t, &doubt, again.Result(stored).Attempt)
}

// An attempt that was put back before the write that it follows stays, whatever
// the store's clock made of its moment; the one that the write settled does not.
func TestRestoreBesideAnAttempt(t *testing.T) {
	t.Parallel()
	policy := credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	_, after := chain(t)
	h := after[2]
	now := h.Record.RefreshAt
	ended := credential.Attempt{Nonce: credential.Nonce{7, 8: 7}, Owner: "me", Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: now - 1}
	before := h
	before.Attempt = &ended
	for name, o := range map[string]credential.Outcome{
		"failed":   {Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited},
		"in doubt": {Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout},
	} {
		w := credential.Fail(before, ended, o, policy, credential.BySchedule, now)
		led := w.Result(before)
		for clock, at := range map[string]credential.Millis{"fell back": now - 60_000, "stood still": now, "went on": now + 60_000} {
			stored := before
			next := credential.Attempt{Nonce: credential.Nonce{8, 8: 8}, Owner: "other", Generation: ended.Generation, Grant: ended.Grant, BegunAt: at, Recovery: led.Attempt != nil}
			stored.Attempt = &next
			again, what := credential.Restore(&stored, w, led, false)
			require.Equal(t, credential.RestoreAgain, what)
			assert.Equal(t, &next, again.Result(stored).Attempt, "%s, the clock %s", name, clock)
			assert.Equal(t, next.Nonce, again.Attempt, "another one may be begun meanwhile")
			assert.False(t, again.Alone)
			once, what := credential.Restore(&stored, again, again.Result(stored), false)
			require.Equal(t, credential.RestoreAgain, what)
			assert.Equal(t, &next, once.Result(stored).Attempt, "put back once more it has ended nothing")

			stored.Attempt = &ended
			again, _ = credential.Restore(&stored, w, led, false)
			assert.Equal(t, led.Attempt, again.Result(stored).Attempt, "%s, the clock %s", name, clock)
		}
	}
}

func TestRecall(t *testing.T) {
	t.Parallel()
	_, after := chain(t)
	h := after[2]
	policy := credential.Policy{Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	now := h.Record.RefreshAt
	a := credential.Attempt{Nonce: credential.Nonce{7, 8: 7}, Owner: "dead", Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: now, FirstSent: now}
	write, ok := credential.Recall(h, a, false, policy, now+1)
	require.True(t, ok)
	got := write.Result(h)
	require.NotNil(t, got.Attempt)
	assert.True(t, got.Attempt.Doubt)
	assert.Equal(t, a.Nonce, got.Attempt.Nonce)
	assert.True(t, write.Attempt.IsZero(), "no attempt is open now")
	assert.True(t, write.Alone, "nor may one be by then")

	open := h
	open.Attempt = &a
	_, ok = credential.Recall(open, a, false, policy, now+1)
	assert.False(t, ok, "it is open")
	dead := h
	dead.Record.LastAttempt = credential.Attempts{FailedAt: now + 1, SucceededAt: now + 1}
	_, ok = credential.Recall(dead, a, false, policy, now+1)
	assert.True(t, ok, "a token that was dead when it was installed ended no other attempt")
	moved := h
	moved.Record.Generation++
	_, ok = credential.Recall(moved, a, false, policy, now+1)
	assert.False(t, ok)
}

// The store's clock may have fallen back with the store: what is right does not
// depend on the moments that it gave.
func TestRecallWithoutAClock(t *testing.T) {
	t.Parallel()
	_, after := chain(t)
	policy := credential.Policy{Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	now := after[2].Record.RefreshAt
	a := credential.Attempt{
		Nonce: credential.Nonce{7, 8: 7}, Owner: "dead", Generation: after[2].Record.Generation, Grant: after[2].Record.Grant, BegunAt: now, FirstSent: now,
	}
	other := credential.Attempt{Nonce: credential.Nonce{8, 8: 8}, Owner: "other", Generation: a.Generation, Grant: a.Grant}
	opened := func(change func(b *credential.Attempt)) func(*credential.Held, credential.Millis) {
		return func(h *credential.Held, at credential.Millis) {
			b := other
			b.BegunAt = at
			change(&b)
			h.Attempt = &b
		}
	}
	ended := func(write func(h credential.Held, at credential.Millis) credential.Write) func(*credential.Held, credential.Millis) {
		return func(h *credential.Held, at credential.Millis) { *h = write(*h, at).Result(*h) }
	}
	refused := credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited}
	for name, c := range map[string]struct {
		stored func(h *credential.Held, at credential.Millis)
		later  bool
		put    bool
	}{
		"its recovery":          {stored: opened(func(b *credential.Attempt) { b.Recovery, b.FirstSent = true, now })},
		"a recovery of another": {stored: opened(func(b *credential.Attempt) { b.Recovery, b.FirstSent = true, now-9 })},
		"a doubt":               {stored: opened(func(b *credential.Attempt) { b.Doubt, b.FirstSent = true, now-9 })},
		"begun later":           {stored: opened(func(*credential.Attempt) {}), later: true},
		"one that had ended":    {stored: opened(func(*credential.Attempt) {}), put: true},
		"it failed": {stored: ended(func(h credential.Held, at credential.Millis) credential.Write {
			h.Attempt = &a
			return credential.Fail(h, a, refused, policy, credential.BySchedule, at)
		})},
		"it was never sent": {stored: ended(func(h credential.Held, at credential.Millis) credential.Write {
			h.Attempt = &a
			return credential.Abandon(h, a, credential.BySchedule, at)
		})},
		"another failed before it": {put: true, stored: ended(func(h credential.Held, at credential.Millis) credential.Write {
			b := other
			h.Attempt = &b
			return credential.Fail(h, b, refused, policy, credential.BySchedule, at)
		})},
	} {
		for clock, at := range map[string]credential.Millis{"fell back": now - 60_000, "stood still": now, "went on": now + 60_000} {
			h := after[2]
			c.stored(&h, at)
			write, put := credential.Recall(h, a, c.later, policy, at+1)
			assert.Equal(t, c.put, put, "%s, the clock %s", name, clock)
			if !put {
				continue
			}
			got := write.Result(h)
			require.NotNil(t, got.Attempt)
			assert.True(t, got.Attempt.Doubt)
			assert.Equal(t, a.Nonce, got.Attempt.Nonce)
			if h.Attempt != nil {
				assert.Equal(t, h.Attempt.Nonce, write.Attempt, "it takes the place of that one and no other")
			}
		}
	}
}

// A process elsewhere counts as dead once its whole folder was silent through a
// quarantine, or it alone through three; one of this machine by its lock, and where somebody
// has removed its journal not before its heartbeat stands still.
func TestStandingDead(t *testing.T) {
	t.Parallel()
	const silence, quarantine = 5 * time.Second, time.Minute
	for name, c := range map[string]struct {
		standing credential.Standing
		dead     bool
		left     time.Duration // until it is, where that is a matter of time
	}{
		"heard a moment ago":                   {credential.Standing{Silent: time.Second, Deserted: time.Second}, false, silence + quarantine - time.Second},
		"alone, in quarantine":                 {credential.Standing{Silent: time.Minute, Deserted: time.Minute}, false, silence},
		"alone, quarantine over":               {credential.Standing{Silent: silence + quarantine, Deserted: silence + quarantine}, true, 0},
		"its neighbour lives":                  {credential.Standing{Silent: 2 * quarantine, Deserted: time.Second}, false, silence + quarantine - time.Second},
		"its neighbour died in its quarantine": {credential.Standing{Silent: 2 * quarantine, Deserted: quarantine}, false, silence},
		"its neighbour died long after":        {credential.Standing{Silent: 2*quarantine + time.Minute, Deserted: silence + quarantine}, true, 0},
		"its neighbour lives and does nothing": {credential.Standing{Silent: silence + 3*quarantine, Deserted: time.Second}, true, 0},
		"shortly before":                       {credential.Standing{Silent: silence + 3*quarantine - 1, Deserted: time.Second}, false, 1},
	} {
		assert.Equal(t, c.dead, c.standing.Dead(silence, quarantine), name)
		assert.Equal(t, c.left, c.standing.Remaining(silence, quarantine), name)
		here := c.standing
		here.Here, here.Left = true, true
		assert.True(t, here.Dead(silence, quarantine), "%s, here, the lock is free", name)
		here.Locked = true
		assert.False(t, here.Dead(silence, quarantine), "%s, here, the lock is held", name)
		unseen := c.standing
		unseen.Unseen = true
		assert.False(t, unseen.Dead(silence, quarantine), "%s, its journal cannot be looked at", name)
		unseen.Here = true
		assert.False(t, unseen.Dead(silence, quarantine), "%s, here, its journal cannot be looked at", name)
		assert.False(t, unseen.Gone(silence), name)
		unseen.Unseen = false
		still := c.standing.Silent >= silence
		assert.Equal(t, still, unseen.Gone(silence), "%s, here, without a journal", name)
		assert.Equal(t, still, unseen.Dead(silence, quarantine), "%s, here, without a journal", name)
	}
}

func TestAwaited(t *testing.T) {
	t.Parallel()
	const run, silence, quarantine = "run-2", 5 * time.Second, time.Minute
	for name, c := range map[string]struct {
		member   credential.Member
		standing credential.Standing
		awaited  bool
	}{
		"has put everything back":                 {credential.Member{Place: "p", Ready: run, Round: 3}, credential.Standing{}, false},
		"was ready before somebody brought more":  {credential.Member{Place: "p", Ready: run, Round: 2}, credential.Standing{}, true},
		"was ready for the run before":            {credential.Member{Place: "p", Ready: "run-1"}, credential.Standing{}, true},
		"silent, elsewhere":                       {credential.Member{Place: "p"}, credential.Standing{Silent: silence, Deserted: silence}, true},
		"silent beyond the quarantine":            {credential.Member{Place: "p"}, credential.Standing{Silent: silence + quarantine, Deserted: silence + quarantine}, false},
		"the same, and its neighbour lives":       {credential.Member{Place: "p"}, credential.Standing{Silent: silence + quarantine}, false},
		"silent, and begins nothing":              {credential.Member{}, credential.Standing{Silent: silence, Deserted: silence}, false},
		"lives, and begins nothing":               {credential.Member{}, credential.Standing{Silent: silence - 1, Deserted: silence - 1}, true},
		"killed here, journal to be adopted":      {credential.Member{Place: "p"}, credential.Standing{Here: true, Left: true}, true},
		"killed here, journal adopted":            {credential.Member{Place: "p"}, credential.Standing{Here: true, Silent: silence}, false},
		"here, its journal removed, and it beats": {credential.Member{Place: "p"}, credential.Standing{Here: true, Silent: silence - 1}, true},
		"here, and its journal is not to be seen": {credential.Member{Place: "p"}, credential.Standing{Here: true, Unseen: true, Silent: silence + quarantine - 1}, true},
		"the same, beyond the quarantine":         {credential.Member{Place: "p"}, credential.Standing{Here: true, Unseen: true, Silent: silence + quarantine}, false},
		"lives, and whether it is here unknown":   {credential.Member{}, credential.Standing{Unseen: true, Silent: silence - 1}, true},
		"stopped here with SIGSTOP, for an hour":  {credential.Member{Place: "p"}, credential.Standing{Here: true, Left: true, Locked: true, Silent: time.Hour}, true},
	} {
		roster := credential.Roster{Members: map[string]credential.Member{"me": {Place: "p"}, "other": c.member}, Round: 3}
		list := credential.Awaited(roster, "me", run, silence, quarantine, func(string) credential.Standing { return c.standing })
		assert.Equal(t, c.awaited, len(list) == 1, name)
	}
}

// What a login needs and the user's data come back with the record that is put
// back as a whole, and only where they are known.
func TestRestoreCarriesTheSignIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := b.held
	old.SignIn, old.UserData = signIn("old"), credential.UserData(`1`)
	old.Record.HasLogin = true
	in := login()
	in.SignIn, in.UserData = signIn("new"), credential.UserData(`2`)
	in.Token = credential.Token{}
	b.policy.CanLogin = true
	pending := credential.Connect(&old, in, b.policy, nonceOf(20), noon).Result(old)
	paused, ok := credential.SetPaused(pending, true, nonceOf(21), noon)
	require.True(t, ok)
	after := paused.Result(pending)

	// The login is lost with its maker, and what came after it is put back.
	write, what := credential.Restore(&old, paused, after, true)
	require.Equal(t, credential.RestoreAgain, what)
	got := write.Result(old)
	assert.Equal(t, "new", got.SignIn.Password.Reveal())
	assert.Equal(t, credential.UserData(`2`), got.UserData)
	assert.Equal(t, credential.Token{}, got.Token, "a token of the earlier login cannot be opened any more")
	assert.True(t, got.Record.Paused)

	in.SignIn, in.UserData, in.Token = credential.SignIn{}, nil, token("at-new", "rt-new")
	plain := credential.Connect(&old, in, b.policy, nonceOf(20), noon).Result(old)
	paused, _ = credential.SetPaused(plain, true, nonceOf(21), noon)
	write, _ = credential.Restore(&old, paused, paused.Result(plain), true)
	got = write.Result(old)
	assert.True(t, got.SignIn.IsZero(), "it belonged to the login before")
	assert.Nil(t, got.UserData)

	bare := paused.Result(plain)
	bare.Token = credential.Token{} // as it is known where the secrets were not read
	write, _ = credential.Restore(&old, paused, bare, true)
	assert.Nil(t, write.Token)
	assert.Nil(t, write.SignIn)
	assert.Nil(t, write.UserData)

	gone := credential.Logout(after, nonceOf(22), noon)
	write, _ = credential.Restore(&old, gone, gone.Result(after), true)
	assert.True(t, write.Erase)
	assert.True(t, write.Result(old).SignIn.IsZero())
	assert.Nil(t, write.Result(old).UserData)
}

// The stored writes that change nothing but a plan are put back like any other.
func TestRestorePlans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Attempt = nil
	w, ok := credential.PlanOnce(b.held, noon+minute, b.nonce, noon)
	require.True(t, ok)
	after := w.Result(b.held)
	again, what := credential.Restore(&b.held, w, after, false)
	require.Equal(t, credential.RestoreAgain, what)
	assert.Equal(t, noon+minute, again.Result(b.held).Record.OnceAt)
	assert.Equal(t, noon+minute, again.Due)
	_, what = credential.Restore(&after, w, after, false)
	assert.Equal(t, credential.RestoreNone, what)
}

// A presentation of which only the journal knows is put back in doubt where a
// refresh token is held: what the record says of a session may be older.
func TestRecallOfASession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	b.held.Attempt = nil
	_, wanted := credential.Recall(b.held, b.attempt, false, b.policy, noon)
	assert.False(t, wanted, "an extension can be made again")
	b.policy.Rotates = credential.RotatesYes
	b.held.Record.HasRefresh, b.held.Token.Refresh = true, credential.NewSecret("rt-4")
	w, wanted := credential.Recall(b.held, b.attempt, false, b.policy, noon)
	assert.True(t, wanted)
	assert.True(t, w.Open.Doubt)
}
