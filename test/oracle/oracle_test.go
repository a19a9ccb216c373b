package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
)

const (
	alice = "acme:alice"
	bob   = "acme:bob"
	life  = 6 * time.Second
)

func begin() time.Time { return time.Unix(1_700_000_000, 0) }

// at is a moment of the run, in Unix ns.
func at(after time.Duration) int64 { return begin().Add(after).UnixNano() }

// rotation is a presentation that went well.
func rotation(seq uint64, grant string, generation uint32, after time.Duration) practice.Entry {
	return practice.Entry{
		Seq: seq, Grant: grant, Generation: generation, NewGeneration: generation + 1, Client: "demo",
		Outcome: practice.OutcomeRotated, Verdict: practice.OutcomeRotated, Delivered: true, TokenSent: true, Concurrent: 1,
		Received: at(after), RotatedAt: at(after + time.Millisecond), RepliedAt: at(after + 2*time.Millisecond),
	}
}

// refusal is a presentation of alice's that was refused.
func refusal(seq uint64, generation uint32, after time.Duration, verdict practice.Outcome) practice.Entry {
	e := rotation(seq, "g1", generation, after)
	e.Outcome, e.Verdict, e.RotatedAt, e.NewGeneration, e.TokenSent = verdict, verdict, 0, 0, false
	return e
}

// mended is another presentation of alice's second generation, within a grace:
// the ledger's nth entry, which brings the nth generation.
func mended(n uint32, after time.Duration) practice.Entry {
	e := rotation(uint64(n), "g1", 2, after)
	e.Outcome, e.Verdict, e.NewGeneration = practice.OutcomeGrace, practice.OutcomeGrace, n
	return e
}

// unrotated is a presentation of alice's third generation that brought an access
// token and no refresh token.
func unrotated(seq uint64, after time.Duration) practice.Entry {
	return refusal(seq, 3, after, practice.OutcomeRefreshed)
}

// newest tells the generations that access tokens named after their grant have.
func newest(of map[string]uint32) func(string) (string, uint32) {
	return func(token string) (string, uint32) { return token, of[token] }
}

func event(credential string, version uint64, kind, state string) Event {
	return Event{
		ID: fmt.Sprintf("%s/%d/0a", credential, version), Credential: credential, Type: kind, State: state,
		Version: version, Previous: version - 1, At: begin(),
	}
}

// sound is a run in which all went well: two credentials, each refreshed twice.
func sound() Evidence {
	e := Evidence{
		Provider: Grace{Rotates: true, Life: life},
		Seen:     map[string][]Event{}, Cut: map[uint64]bool{}, Settled: time.Second,
		Live:  func(string) bool { return true },
		Holds: func(token string) (string, uint32) { return token, 3 },
	}
	for n, id := range []string{alice, bob} {
		grant := fmt.Sprintf("g%d", n+1)
		e.Grants = append(e.Grants, practice.GrantState{Grant: grant, Generation: 3, Alive: true})
		e.Acked = append(e.Acked, Change{Credential: id, Kind: KindLogin, Grant: grant, Version: 1, At: begin(), ExpiresAt: begin().Add(life)})
		e.Ledger = append(e.Ledger, rotation(uint64(2*n+1), grant, 1, 4*time.Second), rotation(uint64(2*n+2), grant, 2, 8*time.Second))
		e.Log = append(e.Log, event(id, 1, "credential.connected", "active"), event(id, 2, "credential.refreshed", "active"), event(id, 3, "credential.refreshed", "active"))
		e.Reads = append(e.Reads,
			Read{Process: "A", ID: id, Version: 1, Generation: 1, At: begin().Add(time.Second), ExpiresAt: begin().Add(life)},
			Read{Process: "A", ID: id, Version: 3, Generation: 3, At: begin().Add(9 * time.Second), ExpiresAt: begin().Add(14 * time.Second)})
		e.Final = append(e.Final, Final{ID: id, State: "active", Version: 3, Generation: 3, AccessToken: grant, Grant: grant, ExpiresAt: begin().Add(14 * time.Second)})
	}
	e.Seen["stream"] = slices.Clone(e.Log)
	return e
}

// lose makes the second reply about alice one that did not arrive.
func lose(e *Evidence) {
	e.Ledger[1].Delivered = false
}

// dies makes alice's grant end for a cause.
func dies(e *Evidence, cause string) {
	e.Grants[0].Alive, e.Grants[0].Death = false, cause
}

// callsAPerson ends alice in reauth_required.
func callsAPerson(e *Evidence) {
	e.Final[0].State, e.Final[0].Version, e.Final[0].AccessToken = "reauth_required", 4, ""
	last := event(alice, 4, "credential.reauth_required", "reauth_required")
	e.Log = append(e.Log, last)
	e.Seen["stream"] = append(e.Seen["stream"], last)
}

// holds has alice paused by her owner from one moment to another.
func holds(from, until time.Duration) func(*Evidence) {
	return func(e *Evidence) {
		e.Send = time.Second
		e.Acked = append(e.Acked,
			Change{Credential: alice, Kind: KindPause, At: begin().Add(from)},
			Change{Credential: alice, Kind: KindResume, At: begin().Add(until)})
	}
}

// logsOut ends alice by her owner.
func logsOut(e *Evidence) {
	e.Acked = append(e.Acked, Change{Credential: alice, Kind: KindLogout, Version: 4, At: begin().Add(10 * time.Second)})
	e.Final[0].State, e.Final[0].Version, e.Final[0].AccessToken = "logged_out", 4, ""
	last := event(alice, 4, "credential.logged_out", "logged_out")
	e.Log = append(e.Log, last)
	e.Seen["stream"] = append(e.Seen["stream"], last)
}

func TestASoundRunBreaksNothing(t *testing.T) {
	t.Parallel()
	assert.Empty(t, Check(sound()))
	lost, excused := Lost(sound())
	assert.Zero(t, lost)
	assert.Zero(t, excused)
}

// Each row breaks one promise, or does what comes near and is allowed.
func TestPromises(t *testing.T) {
	t.Parallel()
	killAt := func(after time.Duration, kept ...string) func(*Evidence) {
		return func(e *Evidence) {
			e.Kills = append(e.Kills, Kill{Owner: "a", At: begin().Add(after), Kept: kept})
		}
	}
	again := func(after time.Duration) func(*Evidence) { // alice's second generation once more
		return func(e *Evidence) {
			e.Ledger = append(e.Ledger, refusal(5, 2, after, practice.OutcomeReuse))
		}
	}
	grace := func(e *Evidence) {
		e.Provider.Grace = 3 * time.Second
		once := rotation(5, "g1", 2, 9*time.Second)
		once.Outcome, once.Verdict, once.NewGeneration = practice.OutcomeGrace, practice.OutcomeGrace, 4
		e.Ledger = append(e.Ledger, once)
		e.Holds = func(token string) (string, uint32) { return token, map[string]uint32{"g1": 4, "g2": 3}[token] }
	}
	read := func(r Read) func(*Evidence) { return func(e *Evidence) { e.Reads = append(e.Reads, r) } }
	for _, row := range []struct {
		name   string
		change []func(*Evidence)
		broken string // promises, "" for none
	}{
		{"a spent generation comes back", []func(*Evidence){again(9 * time.Second)}, "P1 P2"},
		{"in grace, though the reply had come", []func(*Evidence){grace}, "P1 P2"},
		{"in grace, for a reply that was lost", []func(*Evidence){lose, grace}, ""},
		{"in grace, for a reply that was cut", []func(*Evidence){grace, func(e *Evidence) { e.Cut[2] = true }}, ""},
		{"in grace, for a reply without the new refresh token", []func(*Evidence){grace, func(e *Evidence) {
			e.Ledger[1].Fault, e.Ledger[1].TokenSent = "malformed:rt_empty", false
		}}, ""},
		{"in grace, though the malformed reply had the token in it", []func(*Evidence){grace, func(e *Evidence) {
			e.Ledger[1].Fault = "malformed:rt_twice"
		}}, "P1 P2"},
		{"in grace, for a reply that died with its owner", []func(*Evidence){grace, killAt(8*time.Second + 30*time.Millisecond)}, ""},
		{"in grace, though the reply was kept before its owner died", []func(*Evidence){grace, killAt(8*time.Second+30*time.Millisecond, alice)}, "P1 P2"},
		{"in grace, for a call that was sent by the dead", []func(*Evidence){grace, killAt(8*time.Second - 30*time.Millisecond)}, ""},
		{"in grace, for a reply that died with the one who had asked", []func(*Evidence){grace, killAt(8*time.Second + 30*time.Millisecond), madeBy("a")}, ""},
		{"in grace, for a reply that the injector kept from the dead one's disk", []func(*Evidence){grace, func(e *Evidence) {
			e.Kills = []Kill{{Owner: "a", At: begin().Add(8300 * time.Millisecond), Slow: 300 * time.Millisecond}}
		}}, ""},
		{"in grace, though it was another one who died", []func(*Evidence){grace, killAt(8*time.Second + 30*time.Millisecond), madeBy("b")}, "P1 P2"},
		{"in grace, long after the kill", []func(*Evidence){grace, killAt(8*time.Second - 300*time.Millisecond)}, "P1 P2"},
		{"in grace, long before the kill", []func(*Evidence){grace, killAt(8*time.Second + 300*time.Millisecond)}, "P1 P2"},
		{"in grace, twice for one doubt", []func(*Evidence){lose, grace, func(e *Evidence) {
			once := rotation(6, "g1", 2, 9500*time.Millisecond)
			once.Verdict, once.NewGeneration = practice.OutcomeGrace, 5
			e.Ledger = append(e.Ledger, once)
		}}, "P1 P2"},
		{"after the grace, the access token still good", []func(*Evidence){lose, grace, func(e *Evidence) {
			e.Provider.Grace = 300 * time.Millisecond
		}, func(e *Evidence) { e.Ledger[4].Received = at(8400 * time.Millisecond) }}, "P1"},
		{"strict, the access token still good", []func(*Evidence){lose, again(8300 * time.Millisecond), func(e *Evidence) { dies(e, "reuse") }, callsAPerson}, "P1"},
		{"strict, the access token about to expire", []func(*Evidence){lose, again(9500 * time.Millisecond), func(e *Evidence) { dies(e, "reuse") }, callsAPerson}, ""},
		{"in grace, again and again, for replies that were lost each time", []func(*Evidence){lose, grace, func(e *Evidence) {
			e.Provider.Grace = time.Minute
			e.Ledger[4].Delivered = false
			e.Ledger = append(e.Ledger, mended(6, 9500*time.Millisecond), mended(7, 20*time.Second))
			e.Cut[6] = true
			e.Holds = newest(map[string]uint32{"g1": 7, "g2": 3})
		}}, ""},
		{"in grace, again and again, though one reply in between had arrived", []func(*Evidence){lose, grace, func(e *Evidence) {
			e.Provider.Grace = time.Minute
			e.Ledger = append(e.Ledger, mended(6, 9500*time.Millisecond), mended(7, 20*time.Second))
			e.Cut[6] = true
			e.Holds = newest(map[string]uint32{"g1": 7, "g2": 3})
		}}, "P1 P2"},
		{"in grace, for a reply that was spoilt, and used all the same", []func(*Evidence){func(e *Evidence) {
			e.Provider.Grace, e.Cut[2], e.Cut[5] = time.Minute, true, true
			e.Ledger = append(e.Ledger, rotation(5, "g1", 3, 8500*time.Millisecond), mended(6, 9*time.Second))
			e.Holds = newest(map[string]uint32{"g1": 6, "g2": 3})
		}}, "P1"},
		{"in grace, for a reply without a refresh token", []func(*Evidence){func(e *Evidence) {
			e.Provider.Grace = time.Minute
			e.Ledger = append(e.Ledger, unrotated(5, 12*time.Second), rotation(6, "g1", 3, 13*time.Second))
			e.Holds = newest(map[string]uint32{"g1": 4, "g2": 3})
		}}, ""},
		{"after the grace, twice, the access token at its end", []func(*Evidence){lose, grace, func(e *Evidence) {
			e.Provider.Grace = 300 * time.Millisecond
			e.Cut[5] = true
			e.Ledger = append(e.Ledger, mended(6, 9500*time.Millisecond))
			e.Holds = newest(map[string]uint32{"g1": 6, "g2": 3})
		}}, ""},
		{"strict, a second time after the last resort", []func(*Evidence){lose, again(9500 * time.Millisecond), func(e *Evidence) {
			dies(e, "reuse")
			e.Ledger[4].Delivered = false
			e.Ledger = append(e.Ledger, refusal(6, 2, 15*time.Second, practice.OutcomeRevoked))
		}, callsAPerson}, ""},
		{"strict, after a last resort at which the provider did not look", []func(*Evidence){lose, again(9500 * time.Millisecond), func(e *Evidence) {
			dies(e, "reuse")
			e.Ledger[4].Verdict = ""
			e.Ledger = append(e.Ledger, refusal(6, 2, 15*time.Second, practice.OutcomeReuse))
		}, callsAPerson}, ""},
		{"strict, the access token still good, and the provider did not look at it", []func(*Evidence){lose, again(8300 * time.Millisecond), func(e *Evidence) {
			e.Ledger[4].Verdict = ""
		}, callsAPerson}, "P1"},
		{"strict, for a reply without a refresh token, its access token still good", []func(*Evidence){func(e *Evidence) {
			e.Ledger = append(e.Ledger, unrotated(5, 12*time.Second), rotation(6, "g1", 3, 14*time.Second))
			e.Holds = newest(map[string]uint32{"g1": 4, "g2": 3})
		}}, "P1"},
		{"strict, for replies without a refresh token, whose access tokens were about to expire", []func(*Evidence){func(e *Evidence) {
			e.Ledger = append(e.Ledger, unrotated(5, 12*time.Second), unrotated(6, 17*time.Second), rotation(7, "g1", 3, 22*time.Second))
			e.Holds = newest(map[string]uint32{"g1": 4, "g2": 3})
		}}, ""},
		{"strict, the second such reply not delivered, and once more", []func(*Evidence){func(e *Evidence) {
			e.Ledger = append(e.Ledger, unrotated(5, 12*time.Second), unrotated(6, 17*time.Second), rotation(7, "g1", 3, 22*time.Second))
			e.Ledger[5].Delivered = false
			e.Holds = newest(map[string]uint32{"g1": 4, "g2": 3})
		}}, ""},
		{"two in the air", []func(*Evidence){lose, grace, func(e *Evidence) {
			e.Ledger[1].RepliedAt, e.Ledger[4].Concurrent = at(10*time.Second), 2
		}}, "P1"},
		{"two in the air, the sender of one dead", []func(*Evidence){lose, grace, killAt(8500 * time.Millisecond), func(e *Evidence) {
			e.Ledger[1].RepliedAt, e.Ledger[4].Concurrent = 0, 2
		}}, ""},
		{"an older generation than one that had come", []func(*Evidence){func(e *Evidence) {
			e.Ledger = append(e.Ledger, refusal(5, 1, 12*time.Second, practice.OutcomeReuse))
		}}, "P1 P2"},

		{"an older token is served", []func(*Evidence){func(e *Evidence) {
			e.Holds = func(token string) (string, uint32) { return token, 2 }
		}}, "P2"},
		{"a token of another login is served", []func(*Evidence){func(e *Evidence) {
			e.Holds = func(string) (string, uint32) { return "g9", 3 }
		}}, "P2"},
		{"a dead token is served", []func(*Evidence){func(e *Evidence) { e.Live = func(string) bool { return false } }}, "P2"},
		{"a login is gone", []func(*Evidence){func(e *Evidence) { e.Final = e.Final[:1] }}, "P2"},
		{"a login is gone after its deletion", []func(*Evidence){func(e *Evidence) {
			e.Final = e.Final[:1]
			e.Acked = append(e.Acked, Change{Credential: bob, Kind: KindDelete, At: begin().Add(20 * time.Second)})
		}}, ""},
		{"a login is gone after a logout that followed its deletion", []func(*Evidence){func(e *Evidence) {
			e.Final = e.Final[:1]
			e.Acked = append(e.Acked,
				Change{Credential: bob, Kind: KindDelete, At: begin().Add(20 * time.Second)},
				Change{Credential: bob, Kind: KindLogout, At: begin().Add(30 * time.Second)})
		}}, ""},
		{"a login is gone after a logout", []func(*Evidence){func(e *Evidence) {
			e.Final = e.Final[:1]
			e.Acked = append(e.Acked, Change{Credential: bob, Kind: KindLogout, At: begin().Add(20 * time.Second)})
		}}, "P2"},

		{"the record fell behind a reader", []func(*Evidence){read(Read{Process: "B", ID: alice, Version: 4, Generation: 4, At: begin().Add(10 * time.Second), ExpiresAt: begin().Add(time.Hour)})}, "P3"},
		{"the record fell behind its owner's answer", []func(*Evidence){func(e *Evidence) { e.Acked[0].Version = 7 }}, "P3"},
		{"the log goes back", []func(*Evidence){func(e *Evidence) {
			old := event(alice, 1, "credential.connected", "active")
			old.ID += "b"
			e.Log[0], e.Log[1] = e.Log[1], old
			e.Seen = nil
		}}, "P3 P4"},
		{"the log repeats an event", []func(*Evidence){func(e *Evidence) { e.Log = append(e.Log, e.Log[0], e.Log[1]) }}, ""},
		{"alive after a logout", []func(*Evidence){logsOut, func(e *Evidence) { e.Final[0].State = "active" }}, "P3"},
		{"logged out", []func(*Evidence){logsOut}, ""},
		{"an event after a logout", []func(*Evidence){logsOut, func(e *Evidence) {
			e.Log = append(e.Log, event(alice, 5, "credential.refreshed", "active"))
			e.Final[0].Version, e.Seen = 5, nil
		}}, "P3"},
		{"presented after a logout", []func(*Evidence){logsOut, func(e *Evidence) { e.Ledger = append(e.Ledger, rotation(5, "g1", 3, 17*time.Second)) }}, "P3"},
		{"presented in the moment of a logout", []func(*Evidence){logsOut, func(e *Evidence) { e.Ledger = append(e.Ledger, rotation(5, "g1", 3, 11*time.Second)) }}, ""},
		{"served after a logout", []func(*Evidence){logsOut, read(Read{Process: "B", ID: alice, Version: 3, Generation: 3, At: begin().Add(12 * time.Second), ExpiresAt: begin().Add(time.Hour)})}, "P3"},
		{"there after its deletion", []func(*Evidence){logsOut, func(e *Evidence) { e.Acked[2].Kind = KindDelete }}, "P3"},

		{"a gap in the log", []func(*Evidence){func(e *Evidence) { e.Log, e.Seen = slices.Delete(e.Log, 1, 2), nil }}, "P4"},
		{"no first event", []func(*Evidence){func(e *Evidence) { e.Log, e.Seen = slices.Delete(e.Log, 0, 1), nil }}, "P4"},
		{"no last event", []func(*Evidence){func(e *Evidence) { e.Log, e.Seen = e.Log[:5], nil }}, "P4"},
		{"a predecessor that is none", []func(*Evidence){func(e *Evidence) { e.Log[2].Previous, e.Seen = 1, nil }}, "P4"},
		{"two events for a version", []func(*Evidence){func(e *Evidence) {
			other := e.Log[2]
			other.ID += "b"
			e.Log, e.Seen = append(e.Log, other), nil
		}}, "P4"},
		{"a subscriber missed one", []func(*Evidence){func(e *Evidence) { e.Seen["stream"] = slices.Delete(e.Seen["stream"], 1, 2) }}, "P4"},
		{"a subscriber missed the last", []func(*Evidence){func(e *Evidence) { e.Seen["stream"] = e.Seen["stream"][:5] }}, "P4"},
		{"a subscriber has them out of order", []func(*Evidence){func(e *Evidence) {
			s := e.Seen["stream"]
			s[1], s[2] = s[2], s[1]
		}}, "P3 P4"},
		{"a subscriber sees one twice", []func(*Evidence){func(e *Evidence) { e.Seen["stream"] = append(e.Seen["stream"], e.Seen["stream"][0]) }}, ""},
		{"a subscriber was told of a gap", []func(*Evidence){func(e *Evidence) {
			e.Seen["stream"] = slices.Replace(e.Seen["stream"], 1, 2, Event{Type: "stream.reset"})
		}}, ""},
		{"a subscriber has another event than the log", []func(*Evidence){func(e *Evidence) { e.Seen["stream"][1].ID += "b" }}, "P4"},

		{"an expired token is served", []func(*Evidence){read(Read{Process: "A", ID: alice, Version: 3, Generation: 3, At: begin().Add(15 * time.Second), ExpiresAt: begin().Add(14 * time.Second)})}, "P5"},
		{"a reader goes back", []func(*Evidence){read(Read{Process: "A", ID: alice, Version: 2, Generation: 2, At: begin().Add(10 * time.Second), ExpiresAt: begin().Add(14 * time.Second)})}, "P5 P5"},
		{"another process is behind", []func(*Evidence){read(Read{Process: "B", ID: alice, Version: 2, Generation: 2, At: begin().Add(9 * time.Second), ExpiresAt: begin().Add(14 * time.Second)})}, ""},
		{"an end that is the provider's", []func(*Evidence){looked(14*time.Second, 14*time.Second)}, ""},
		{"an end that is later than the provider's", []func(*Evidence){looked(14*time.Second, 14*time.Second-time.Millisecond)}, "P5"},
		{"good, though the provider does not take it", []func(*Evidence){looked(14*time.Second, 0)}, "P5"},
		{"good, though the provider does not take it, for it was withdrawn", []func(*Evidence){looked(14*time.Second, 0), callsAPerson, func(e *Evidence) { dies(e, "revoked_by_user") }}, ""},
		{"at its end while it was asked for", []func(*Evidence){looked(9010*time.Millisecond, 0)}, ""},
		{"a reader is refused", []func(*Evidence){read(Read{Process: "A", ID: alice, At: begin().Add(time.Hour), Err: "503"})}, ""},

		{"a person is called for nothing", []func(*Evidence){callsAPerson}, "P6"},
		{"a person is called, and all is well again", []func(*Evidence){callsAPerson, func(e *Evidence) {
			back := event(alice, 5, "credential.reauthorized", "active")
			e.Log, e.Seen["stream"] = append(e.Log, back), append(e.Seen["stream"], back)
			e.Final[0].State, e.Final[0].Version = "active", 5
		}}, "P6"},
		{"the user withdrew the grant", []func(*Evidence){callsAPerson, func(e *Evidence) { dies(e, "revoked_by_user") }}, ""},
		{"the refresh token expired", []func(*Evidence){callsAPerson, func(e *Evidence) {
			e.Ledger = append(e.Ledger, refusal(5, 3, 12*time.Second, practice.OutcomeExpired))
		}}, ""},
		{"our own second presentation ended the grant", []func(*Evidence){again(9 * time.Second), callsAPerson, func(e *Evidence) { dies(e, "reuse") }}, "P1 P2 P6"},
		{"a lost reply, and no grace", []func(*Evidence){lose, callsAPerson}, ""},
		{"a reply that was spoilt, and used all the same", []func(*Evidence){func(e *Evidence) { e.Cut[1] = true }, callsAPerson}, "P6"},
		{"a lost reply, in spite of a grace", []func(*Evidence){lose, callsAPerson, func(e *Evidence) { e.Provider.Grace = time.Minute }}, "P6"},
		{"a reply that died with its owner", []func(*Evidence){callsAPerson, killAt(8*time.Second + 40*time.Millisecond)}, ""},
		{"a reply that was kept before its owner died", []func(*Evidence){callsAPerson, killAt(8*time.Second+40*time.Millisecond, alice)}, "P6"},

		{"a reply that did not arrive, for a fault", []func(*Evidence){lose, because(2), mend}, ""},
		{"a reply that did not arrive, and no fault", []func(*Evidence){lose, because(1), mend}, "P6"},
		{"a reply that did not arrive, and no fault, though nobody had to come back", []func(*Evidence){func(e *Evidence) {
			e.Ledger[0].Delivered = false
		}, because(2)}, ""},
		{"a reply that nobody saw arrive, and whose token is served", []func(*Evidence){lose, because(1)}, ""},
		{"a reply that nobody saw arrive, and an older token is served", []func(*Evidence){lose, because(1), func(e *Evidence) {
			e.Holds = newest(map[string]uint32{"g1": 2, "g2": 3})
		}}, "P6"},
		{"an injected error that nobody saw arrive", []func(*Evidence){because(1), func(e *Evidence) {
			failed := refusal(9, 3, 10*time.Second, "")
			failed.Fault, failed.Delivered = "status", false
			e.Ledger = append(e.Ledger, failed)
		}}, ""},
		{"a spoilt reply whose token had come is not asked for again", []func(*Evidence){because(2), mend}, "P1 P2"},

		{"a secret shows", []func(*Evidence){func(e *Evidence) { e.Canaries = []string{"the log of A: access token as raw"} }}, "P7"},
		{"never settled", []func(*Evidence){func(e *Evidence) { e.Settled = -1 }}, "P8"},
		{"settled too late", []func(*Evidence){func(e *Evidence) { e.Settled = 61 * time.Second }}, "P8"},

		{"asked after the death", []func(*Evidence){callsAPerson, func(e *Evidence) {
			dies(e, "revoked_by_user")
			e.Ledger = append(e.Ledger, refusal(5, 3, 12*time.Second, practice.OutcomeRevoked), refusal(6, 3, 13*time.Second, practice.OutcomeRevoked))
		}}, "P9"},
		{"asked after the death, which a kill had kept unheard", []func(*Evidence){callsAPerson, killAt(12*time.Second + 30*time.Millisecond), func(e *Evidence) {
			dies(e, "revoked_by_user")
			e.Ledger = append(e.Ledger, refusal(5, 3, 12*time.Second, practice.OutcomeRevoked), refusal(6, 3, 13*time.Second, practice.OutcomeRevoked))
		}}, ""},
		{"asked after the death, which was heard long before the kill", []func(*Evidence){callsAPerson, killAt(12500 * time.Millisecond), func(e *Evidence) {
			dies(e, "revoked_by_user")
			e.Ledger = append(e.Ledger, refusal(5, 3, 12*time.Second, practice.OutcomeRevoked), refusal(6, 3, 13*time.Second, practice.OutcomeRevoked))
		}}, "P9"},
		{"asked after the death, and it was another one who was killed", []func(*Evidence){callsAPerson, killAt(12*time.Second + 30*time.Millisecond), madeBy("b"), func(e *Evidence) {
			dies(e, "revoked_by_user")
			e.Ledger = append(e.Ledger, refusal(5, 3, 12*time.Second, practice.OutcomeRevoked), refusal(6, 3, 13*time.Second, practice.OutcomeRevoked))
		}}, "P9"},
		{"asked twice after the death", []func(*Evidence){callsAPerson, killAt(12*time.Second + 30*time.Millisecond), func(e *Evidence) {
			dies(e, "revoked_by_user")
			for n := range uint64(3) {
				e.Ledger = append(e.Ledger, refusal(5+n, 3, time.Duration(12+n)*time.Second, practice.OutcomeRevoked))
			}
		}}, "P9"},
		{"asked after an answer that was lost", []func(*Evidence){callsAPerson, func(e *Evidence) {
			dies(e, "revoked_by_user")
			e.Ledger = append(e.Ledger, refusal(5, 3, 12*time.Second, practice.OutcomeRevoked), refusal(6, 3, 13*time.Second, practice.OutcomeRevoked))
			e.Ledger[4].Delivered = false
		}}, ""},
		{"one that is paused is called", []func(*Evidence){holds(time.Second, 9*time.Second)}, "P9 P9"},
		{"one that was paused is called once resumed", []func(*Evidence){holds(4500*time.Millisecond, 7900*time.Millisecond)}, ""},
		{"what was begun before the pause is ended", []func(*Evidence){holds(2600*time.Millisecond, 7900*time.Millisecond)}, ""},
		{"it is presented after a logout and a pause", []func(*Evidence){logsOut, holds(20*time.Second, 30*time.Second), again(40 * time.Second)}, "P1 P2 P3"},
		{"a refused client is tried every ten seconds", []func(*Evidence){refused(10 * time.Second)}, "P9 P9"},
		{"a refused client is tried once a minute", []func(*Evidence){refused(time.Minute)}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := sound()
			e.Seen = map[string][]Event{"stream": slices.Clone(e.Log)}
			for _, change := range row.change {
				change(&e)
			}
			found := Check(e)
			promises := make([]string, 0, len(found))
			for _, v := range found {
				promises = append(promises, v.Promise)
			}
			want := strings.Fields(row.broken)
			assert.Equal(t, slices.Compact(want), slices.Compact(promises), "%v", found)
			assert.GreaterOrEqual(t, len(found), len(want), "%v", found)
		})
	}
}

// because gives a reason of a fault for one reply.
func because(seq uint64) func(*Evidence) {
	return func(e *Evidence) {
		e.Reasons = &Reasons{Known: map[uint64]string{seq: "lost"}, Else: map[uint64]string{}}
	}
}

// mend asks again for alice's second reply within a grace, and gets the fourth
// generation.
func mend(e *Evidence) {
	e.Provider.Grace = time.Minute
	e.Ledger = append(e.Ledger, mended(5, 9*time.Second))
	e.Holds = newest(map[string]uint32{"g1": 5, "g2": 3})
}

// looked is a read of alice's token whose end the provider was asked about 20 ms
// later; 0: it did not take the token any more.
func looked(told, ends time.Duration) func(*Evidence) {
	return func(e *Evidence) {
		r := Read{
			Process: "A", ID: alice, Version: 3, Generation: 3, At: begin().Add(9 * time.Second), ExpiresAt: begin().Add(told),
			Looked: begin().Add(9020 * time.Millisecond),
		}
		if ends > 0 {
			r.Ends = begin().Add(ends)
		}
		e.Reads = append(e.Reads, r)
	}
}

// madeBy names the owner of every call about alice.
func madeBy(owner string) func(*Evidence) {
	return func(e *Evidence) { e.Made = map[uint64]string{1: owner, 2: owner, 5: owner, 6: owner} }
}

// refused is a client that is refused from some moment on, and tried every so
// often.
func refused(every time.Duration) func(*Evidence) {
	return func(e *Evidence) {
		for n := range uint64(3) {
			r := refusal(5+n, 3, 20*time.Second+time.Duration(n)*every, "")
			r.Outcome = practice.OutcomeClientError
			e.Ledger = append(e.Ledger, r)
		}
	}
}

func TestLostAndExcused(t *testing.T) {
	t.Parallel()
	count := func(change ...func(*Evidence)) [2]int {
		e := sound()
		for _, f := range change {
			f(&e)
		}
		lost, excused := Lost(e)
		return [2]int{lost, excused}
	}
	assert.Equal(t, [2]int{1, 0}, count(callsAPerson))
	assert.Equal(t, [2]int{1, 1}, count(callsAPerson, lose))
	assert.Equal(t, [2]int{1, 0}, count(callsAPerson, lose, func(e *Evidence) { e.Provider.Grace = time.Minute }))
	assert.Equal(t, [2]int{0, 0}, count(callsAPerson, func(e *Evidence) { dies(e, "revoked_by_user") }))
	assert.Equal(t, [2]int{1, 0}, count(func(e *Evidence) { e.Final = e.Final[:1] }))
}

// A provider that does not rotate takes the same token as often as it comes,
// one at a time.
func TestNotRotating(t *testing.T) {
	t.Parallel()
	e := sound()
	e.Provider = Grace{Life: life}
	e.Holds = func(token string) (string, uint32) { return token, 1 }
	for i := range e.Ledger {
		e.Ledger[i].Generation, e.Ledger[i].NewGeneration, e.Ledger[i].RotatedAt = 1, 0, 0
		e.Ledger[i].Outcome, e.Ledger[i].Verdict = practice.OutcomeRefreshed, practice.OutcomeRefreshed
	}
	assert.Empty(t, Check(e))
	e.Ledger[0].RepliedAt, e.Ledger[1].Concurrent = at(10*time.Second), 2
	found := Check(e)
	require.Len(t, found, 1)
	assert.Equal(t, "P1", found[0].Promise)
	assert.Equal(t, alice, found[0].Credential)
	e.Ledger[1].Concurrent = 1
	callsAPerson(&e)
	found = Check(e)
	require.Len(t, found, 1)
	assert.Equal(t, "P6", found[0].Promise)
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change             []func(*Evidence)
		undelivered, dying int
		unread             int // grants
	}{
		"all came":               {nil, 0, 0, 0},
		"one was not delivered":  {[]func(*Evidence){func(e *Evidence) { e.Ledger[len(e.Ledger)-1].Delivered = false }}, 1, 0, 0},
		"one was cut":            {[]func(*Evidence){func(e *Evidence) { e.Cut = map[uint64]bool{e.Ledger[len(e.Ledger)-1].Seq: true} }}, 1, 0, 0},
		"two came at the kill":   {[]func(*Evidence){killLast(40 * time.Millisecond)}, 0, 2, 2},
		"one came before a kill": {[]func(*Evidence){killLast(time.Second)}, 0, 0, 0},
		"one did not come at it": {[]func(*Evidence){func(e *Evidence) { e.Ledger[len(e.Ledger)-1].Delivered = false }, killLast(40 * time.Millisecond)}, 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := sound()
			for _, change := range row.change {
				change(&e)
			}
			undelivered, dying := Replies(e)
			assert.Equal(t, row.undelivered, undelivered)
			assert.Equal(t, row.dying, dying)
			assert.Len(t, Unread(e), row.unread)
		})
	}
}

// killLast kills whoever made the last rotation, some time after its reply.
func killLast(after time.Duration) func(*Evidence) {
	return func(e *Evidence) {
		last := e.Ledger[len(e.Ledger)-1]
		e.Kills = []Kill{{At: time.Unix(0, max(last.RotatedAt, last.RepliedAt)).Add(after)}}
	}
}

// A login whose answer was lost has no version: it explains no call for a person
// that came before it.
func TestALoginWithoutAVersion(t *testing.T) {
	t.Parallel()
	e := sound()
	lose(&e)
	callsAPerson(&e)
	last := &e.Log[len(e.Log)-1]
	require.Equal(t, "credential.reauth_required", last.Type)
	e.Final[0].State, e.Final[0].Grant = "active", "g9"
	e.Grants = append(e.Grants, practice.GrantState{Grant: "g9", Generation: 1, Alive: true})
	again := Change{Credential: alice, Kind: KindLogin, Grant: "g9", At: last.At.Add(time.Second)}
	e.Acked = append(e.Acked, again)
	assert.Equal(t, "g1", newTrial(e).GrantAt(*last))
	e.Acked[len(e.Acked)-1].At = last.At.Add(-time.Second)
	assert.Equal(t, "g9", newTrial(e).GrantAt(*last))
}

// What is judged of the provider's side alone is judged alike.
func TestPresentations(t *testing.T) {
	t.Parallel()
	e := sound()
	assert.Empty(t, Presentations(e))
	e.Final, e.Log, e.Seen = nil, nil, nil
	e.Ledger = append(e.Ledger, refusal(5, 2, 9*time.Second, practice.OutcomeReuse))
	found := Presentations(e)
	require.Len(t, found, 1)
	assert.Equal(t, "P1", found[0].Promise)
	assert.Equal(t, alice, found[0].Credential)
	e.Acked, e.Provider.Life = nil, 0
	e.Ledger[1].Delivered = false
	assert.Empty(t, Presentations(e), "when the access token expired is not known")
}

// A last resort is early or not by the end that the program served its access
// token to: it counts from when it sent, however long that call was under way,
// and nothing is let go beyond what it told.
func TestALastResortIsNotEarlierThanItsWindow(t *testing.T) {
	t.Parallel()
	const lasting = 40 * time.Second // the window is 4 s
	told := func(sent time.Duration) Event {
		ends := begin().Add(sent + lasting)
		return Event{ID: ends.String(), Credential: alice, Type: "credential.refreshed", ExpiresAt: ends}
	}
	// The second generation comes with a call that arrives after 30 s and is
	// answered 13 s later. It is presented after 60 s, and what came of that is lost.
	for _, row := range []struct {
		name  string
		log   []Event
		life  time.Duration
		again time.Duration // when the second generation comes once more
		early bool
	}{
		{name: "nothing told: in the window of the arrival", again: 66 * time.Second},
		{name: "nothing told: right before the window", again: 66*time.Second - time.Nanosecond, early: true},
		{name: "it came 1.5 s after it was sent: in the window", log: []Event{told(28500 * time.Millisecond)}, again: 64500 * time.Millisecond},
		{name: "it came 1.5 s after it was sent: right before", log: []Event{told(28500 * time.Millisecond)}, again: 64500*time.Millisecond - time.Nanosecond, early: true},
		{name: "that the answer took 13 s makes nothing earlier", log: []Event{told(30 * time.Second)}, again: 65500 * time.Millisecond, early: true},
		{name: "an end that no call before its arrival can have", log: []Event{told(31 * time.Second)}, again: 66*time.Second - time.Nanosecond, early: true},
		{name: "nor is one taken that is later than the arrival's", log: []Event{told(31 * time.Second)}, again: 66 * time.Second},
		{name: "an end from before the login", log: []Event{told(-time.Second)}, again: 35 * time.Second, early: true},
		{name: "the end of the lost call's own token does not count", log: []Event{told(28500 * time.Millisecond), told(59 * time.Second)}, again: 64500 * time.Millisecond},
		{name: "whole seconds are told", life: lasting + 900*time.Millisecond, again: 66 * time.Second},
		{name: "whole seconds are told: right before", life: lasting + 900*time.Millisecond, again: 66*time.Second - time.Nanosecond, early: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			came, lost := rotation(1, "g1", 1, 30*time.Second), rotation(2, "g1", 2, 60*time.Second)
			came.RotatedAt, came.RepliedAt = at(43*time.Second), at(43*time.Second)
			lost.Delivered = false
			e := Evidence{
				Provider: Grace{Rotates: true, Life: max(row.life, lasting)}, Log: row.log,
				Ledger: []practice.Entry{came, lost, refusal(3, 2, row.again, practice.OutcomeReuse)},
				Acked:  []Change{{Credential: alice, Kind: KindLogin, Grant: "g1", At: begin(), ExpiresAt: begin().Add(lasting)}},
			}
			found := Presentations(e)
			if !row.early {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Contains(t, found[0].What, "while its access token was still good")
		})
	}
}

// The end of the token that a login brought is its owner's word.
func TestALastResortAfterALogin(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		after := 36 * time.Second
		if early {
			after -= 2 * time.Millisecond
		}
		lost := rotation(1, "g1", 1, 30*time.Second)
		lost.Delivered = false
		found := Presentations(Evidence{
			Provider: Grace{Rotates: true, Life: 40 * time.Second},
			Ledger:   []practice.Entry{lost, refusal(2, 1, after, practice.OutcomeReuse)},
			Acked: []Change{{ // it was told to be stored after the program had counted from then
				Credential: alice, Kind: KindLogin, Grant: "g1", At: begin().Add(3 * time.Second), ExpiresAt: begin().Add(40*time.Second + 999*time.Microsecond),
			}},
		})
		assert.Equal(t, early, len(found) > 0, "%s: %v", after, found)
	}
}

func TestRepeated(t *testing.T) {
	t.Parallel()
	e := sound()
	lose(&e)
	e.Ledger = append(e.Ledger, refusal(5, 2, 9500*time.Millisecond, practice.OutcomeReuse))
	e.Ledger[4].Delivered = false
	assert.Zero(t, Repeated(e))
	e.Ledger = append(e.Ledger, refusal(6, 2, 15*time.Second, practice.OutcomeRevoked))
	assert.Equal(t, 1, Repeated(e))
}

// A reply that gives the presented token back says that it stays good; one that
// has none, or did not come, leaves it in doubt.
func TestATokenThatIsGivenBack(t *testing.T) {
	t.Parallel()
	again := func(change func(*practice.Entry)) []Violation {
		e := sound()
		e.Ledger = append(e.Ledger, unrotated(5, 9*time.Second), rotation(6, "g1", 3, 10*time.Second))
		e.Ledger[4].Fault = "malformed:rt_same"
		change(&e.Ledger[4])
		return Presentations(e)
	}
	assert.Empty(t, again(func(*practice.Entry) {}))
	assert.Len(t, again(func(e *practice.Entry) { e.Fault = "malformed:rt_absent" }), 1)
	assert.Len(t, again(func(e *practice.Entry) { e.Delivered = false }), 1)
}

// Each call for a person is judged, not only a credential's first.
func TestASecondCallForNothing(t *testing.T) {
	t.Parallel()
	e := sound()
	lose(&e)
	dies(&e, "reuse")
	callsAPerson(&e)
	p6 := func() (about []string) {
		for _, v := range Check(e) {
			if v.Promise == "P6" {
				about = append(about, v.What)
			}
		}
		return about
	}
	require.Empty(t, p6())
	e.Grants = append(e.Grants, practice.GrantState{Grant: "g9", Generation: 1, Alive: true})
	e.Acked = append(e.Acked, Change{Credential: alice, Kind: KindLogin, Grant: "g9", Version: 5, At: begin().Add(20 * time.Second)})
	e.Log = append(e.Log, event(alice, 6, "credential.reauth_required", "reauth_required"))
	require.Len(t, p6(), 1)
	assert.Contains(t, p6()[0], "grant g9")
}
