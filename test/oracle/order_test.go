package oracle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/practice"
)

// seen is what was seen of a call before its process; left 0: it did not leave.
func seen(asked, left time.Duration) Call {
	c := Call{Asked: at(asked)}
	if left != 0 {
		c.Left = at(left)
	}
	return c
}

// unheard is a call about alice whose reply nobody got: what the provider did at
// which moment, 0: nothing.
func unheard(e practice.Entry) practice.Entry {
	e.Delivered, e.RepliedAt = false, 0
	return e
}

// first is what each row begins with: alice's first generation is presented, and
// the second comes. Its access token is served until 10 s.
func first() practice.Entry { return rotation(1, "g1", 1, 4*time.Second) }

// abandoned is a third presentation at which the provider did not look, for
// nobody was there any more.
func abandoned() practice.Entry {
	e := unheard(refusal(3, 2, 9600*time.Millisecond, ""))
	e.Outcome = practice.OutcomeAbandoned
	return e
}

// Calls are in the order in which they were asked where the sender of the earlier
// one had left before, and in the provider's everywhere else.
func TestACallThatIsLookedAtLate(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	reuse := func(seq uint64, after time.Duration) practice.Entry {
		return unheard(refusal(seq, 2, after, practice.OutcomeReuse))
	}
	together := func(e practice.Entry) practice.Entry {
		e.Concurrent = 2
		return e
	}
	once := func(seq uint64, after time.Duration) practice.Entry { return rotation(seq, "g1", 2, after) }
	for _, row := range []struct {
		name   string
		grace  time.Duration
		ledger []practice.Entry // after the first
		calls  map[uint64]Call
		broken string
	}{
		{
			name:   "asked and left, then asked again, and looked at after that",
			ledger: []practice.Entry{once(2, 9500*ms), abandoned()},
			calls:  map[uint64]Call{2: seen(9500*ms, 0), 3: seen(8*time.Second, 9*time.Second)},
		},
		{
			name:   "it left in the moment in which the other one was asked",
			ledger: []practice.Entry{once(2, 9500*ms), abandoned()},
			calls:  map[uint64]Call{2: seen(9500*ms, 0), 3: seen(8*time.Second, 9500*ms)},
		},
		{
			name:   "it left after the other one was asked",
			ledger: []practice.Entry{once(2, 9500*ms), abandoned()},
			calls:  map[uint64]Call{2: seen(9500*ms, 0), 3: seen(8*time.Second, 9500*ms+1)},
			broken: "P1",
		},
		{
			name:   "it did not leave",
			ledger: []practice.Entry{once(2, 9500*ms), abandoned()},
			calls:  map[uint64]Call{2: seen(9500*ms, 0), 3: seen(8*time.Second, 0)},
			broken: "P1",
		},
		{
			name:   "nobody saw when the other one was asked",
			ledger: []practice.Entry{once(2, 9500*ms), abandoned()},
			calls:  map[uint64]Call{3: seen(8*time.Second, 9*time.Second)},
			broken: "P1",
		},
		{
			name:   "nobody saw either",
			ledger: []practice.Entry{once(2, 9500*ms), abandoned()},
			broken: "P1",
		},
		{
			name:   "it is looked at after two that were asked later",
			ledger: []practice.Entry{once(2, 9500*ms), rotation(3, "g1", 3, 13*time.Second), reuse(4, 13500*ms)},
			calls:  map[uint64]Call{2: seen(9500*ms, 0), 3: seen(13*time.Second, 0), 4: seen(8*time.Second, 9*time.Second)},
		},
		{
			name:   "the later one was a last resort",
			ledger: []practice.Entry{once(2, 9*time.Second), reuse(3, 9600*ms)},
			calls:  map[uint64]Call{2: seen(9*time.Second, 0), 3: seen(7900*ms, 8900*ms)},
		},
		{
			name:   "the later one was asked while the access token was still good",
			ledger: []practice.Entry{once(2, 8800*ms), reuse(3, 9600*ms)},
			calls:  map[uint64]Call{2: seen(8800*ms, 0), 3: seen(7500*ms, 8500*ms)},
			broken: "P1",
		},
		{
			name:   "a last resort counts from when it was asked, if its sender left",
			ledger: []practice.Entry{unheard(once(2, 7*time.Second)), reuse(3, 9600*ms)},
			calls:  map[uint64]Call{2: seen(7*time.Second, 7500*ms), 3: seen(8800*ms, 9500*ms)},
			broken: "P1",
		},
		{
			name:   "a last resort in time, whose sender left",
			ledger: []practice.Entry{unheard(once(2, 7*time.Second)), reuse(3, 9900*ms)},
			calls:  map[uint64]Call{2: seen(7*time.Second, 7500*ms), 3: seen(9000*ms, 9800*ms)},
		},
		{
			name:   "both at the provider, the sender of the first gone before",
			ledger: []practice.Entry{unheard(once(2, 9100*ms)), together(reuse(3, 9200*ms))},
			calls:  map[uint64]Call{2: seen(7500*ms, 8500*ms), 3: seen(9*time.Second, 0)},
		},
		{
			name:   "both at the provider, the sender of the first gone after",
			ledger: []practice.Entry{unheard(once(2, 9100*ms)), together(reuse(3, 9200*ms))},
			calls:  map[uint64]Call{2: seen(7500*ms, 9001*ms), 3: seen(9*time.Second, 0)},
			broken: "P1",
		},
		{
			name:   "both at the provider, and the one who asked first is still there",
			ledger: []practice.Entry{unheard(once(2, 9100*ms)), together(reuse(3, 9200*ms))},
			calls:  map[uint64]Call{2: seen(7500*ms, 0), 3: seen(9*time.Second, 0)},
			broken: "P1",
		},
		{
			name:  "the grace counts from when the token was spent first",
			grace: 2 * time.Second,
			ledger: []practice.Entry{
				unheard(once(2, 6*time.Second)), unheard(mended(3, 7*time.Second)), mended(4, 8500*ms),
			},
			calls:  map[uint64]Call{2: seen(5500*ms, 5900*ms), 3: seen(5*time.Second, 5200*ms), 4: seen(8500*ms, 0)},
			broken: "P1",
		},
		{
			name:   "who was told that it is dead had not asked before",
			ledger: []practice.Entry{unheard(once(2, 6*time.Second)), refusal(3, 2, 9500*ms, practice.OutcomeReuse), unheard(refusal(4, 2, 9600*ms, practice.OutcomeRevoked))},
			calls:  map[uint64]Call{2: seen(6*time.Second, 7*time.Second), 3: seen(9400*ms, 0), 4: seen(9050*ms, 9300*ms)},
		},
		{
			name:   "who was told that it is dead asks again",
			ledger: []practice.Entry{unheard(once(2, 6*time.Second)), refusal(3, 2, 9500*ms, practice.OutcomeReuse), unheard(refusal(4, 2, 9600*ms, practice.OutcomeRevoked))},
			calls:  map[uint64]Call{2: seen(6*time.Second, 7*time.Second), 3: seen(9400*ms, 0), 4: seen(9550*ms, 9700*ms)},
			broken: "P9",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := Evidence{
				Provider: Grace{Rotates: true, Life: life, Grace: row.grace}, Calls: row.calls, Settled: time.Second,
				Ledger: append([]practice.Entry{first()}, row.ledger...),
				Acked:  []Change{{Credential: alice, Kind: KindLogin, Grant: "g1", Version: 1, At: begin(), ExpiresAt: begin().Add(life)}},
				Log:    []Event{event(alice, 1, "credential.connected", "active")},
				Final:  []Final{{ID: alice, State: "active", Version: 1, Grant: "g1"}},
			}
			found := Check(e)
			if row.broken == "" {
				assert.Empty(t, found)
				return
			}
			if assert.NotEmpty(t, found) {
				assert.Equal(t, row.broken, found[0].Promise, "%v", found)
			}
		})
	}
}

// A call that is looked at after its token was spent by one that was asked when
// its sender had left ends the login, and who asked could not know.
func TestALoginThatALateCallEnds(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		left   time.Duration
		change func(*Evidence)
		over   bool
	}{
		"it was left before":              {left: 7 * time.Second, over: true},
		"it was left after":               {left: 8500 * time.Millisecond},
		"another generation was spent":    {left: 7 * time.Second, change: func(e *Evidence) { e.Ledger[4].Generation = 1 }},
		"nothing was spent by the other":  {left: 7 * time.Second, change: func(e *Evidence) { e.Ledger[1].RotatedAt = 0 }},
		"the login was not ended by that": {left: 7 * time.Second, change: func(e *Evidence) { e.Ledger[4].Verdict = practice.OutcomeRevoked }},
		"there is a grace":                {left: 7 * time.Second, change: func(e *Evidence) { e.Provider.Grace = time.Minute }, over: true},
	} {
		e := sound()
		callsAPerson(&e)
		dies(&e, "reuse")
		e.Ledger = append(e.Ledger, unheard(refusal(5, 2, 9*time.Second, practice.OutcomeReuse)))
		e.Calls = map[uint64]Call{2: seen(8*time.Second, 0), 5: seen(6*time.Second, row.left)}
		if row.change != nil {
			row.change(&e)
		}
		excused := row.over && e.Provider.Grace == 0
		var promises []string
		for _, v := range Check(e) {
			if v.Promise == "P6" {
				promises = append(promises, v.Promise)
			}
		}
		assert.Equal(t, excused, len(promises) == 0, name)
		assert.Equal(t, row.over, Overtaken(e) == 1, name)
	}
}

// What waited on the provider's machine for as long as its sender waits for a
// reply was looked at when its sender had left, if the reply did not arrive.
func TestWhoHadLeftByTheTimeHeWasLookedAt(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	call := func(seq uint64, arrived, received time.Duration, delivered bool) practice.Entry {
		return practice.Entry{Seq: seq, Arrived: at(arrived), Received: at(received), Delivered: delivered}
	}
	inAir := call(5, time.Second, 4*time.Second, false)
	inAir.InAir = true
	assert.Equal(t, map[uint64]Call{
		1: seen(time.Second, 3*time.Second),
		2: seen(time.Second, 0),
		3: seen(time.Second, 0),
		4: seen(time.Second, 3*time.Second),
		5: seen(time.Second, 0),
	}, Late([]practice.Entry{
		call(1, time.Second, 4*time.Second, false),
		call(2, time.Second, 4*time.Second, true),
		call(3, time.Second, 3*time.Second-1, false),
		call(4, time.Second, 3*time.Second, false),
		inAir,
	}, timeout))
}
