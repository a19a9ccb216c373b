package refresh

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// Which of two attempts began later is told by whose owner has put back what he
// knows, and not before that is certain.
func TestWhichOfTwoBeganLater(t *testing.T) {
	t.Parallel()
	const own, heard = "judge", "dead" // heard is whose journal tells of a presentation
	type answer struct {
		later bool
		err   error
	}
	yes, no, wait := answer{later: true}, answer{}, answer{err: errUnordered}
	for name, c := range map[string]struct {
		owner         string // of the attempt that is open
		change        func(open *credential.Attempt, a credential.Attempt)
		before        func(b *bundle, judge *node, open credential.Attempt)
		asked, forced answer
	}{
		"nothing is open":     {change: func(open *credential.Attempt, _ credential.Attempt) { *open = credential.Attempt{} }, asked: no, forced: no},
		"it is the open one":  {change: func(open *credential.Attempt, a credential.Attempt) { open.Nonce = a.Nonce }, asked: no, forced: no},
		"a doubt is open":     {owner: own, change: func(open *credential.Attempt, _ credential.Attempt) { open.Doubt = true }, asked: no, forced: no},
		"a recovery is open":  {owner: own, change: func(open *credential.Attempt, _ credential.Attempt) { open.Recovery = true }, asked: no, forced: no},
		"one's own, not held": {owner: own, asked: wait, forced: no},
		"one's own, held": {owner: own, before: func(_ *bundle, judge *node, open credential.Attempt) {
			judge.ledger.begun(open.Nonce)
		}, asked: yes, forced: yes},
		"the same dead owner's": {owner: heard, asked: no, forced: no},
		"of one who is ready": {owner: "other", before: func(b *bundle, _ *node, _ credential.Attempt) {
			require.NoError(b.t, b.node("other").store.Beat(b.t.Context(), "first run", 0, ""))
		}, asked: yes, forced: yes},
		"of one who lives, and was ready for the run before": {owner: "other", before: func(b *bundle, _ *node, _ credential.Attempt) {
			require.NoError(b.t, b.node("other").store.Beat(b.t.Context(), "a run before", 0, ""))
		}, asked: wait, forced: yes},
		"of one who was killed, his journal still to be adopted": {owner: "other", before: func(b *bundle, _ *node, _ credential.Attempt) {
			n := b.node("other")
			b.put(n, "alice") // a journal without anything in it goes with its process
			require.NoError(b.t, n.store.Beat(b.t.Context(), "a run before", 0, ""))
			n.die()
		}, asked: wait, forced: no},
		"of one who is on this machine no more": {owner: "other", before: func(b *bundle, judge *node, _ credential.Attempt) {
			n := b.node("other")
			require.NoError(b.t, n.store.Beat(b.t.Context(), "a run before", 0, ""))
			n.stop()
			require.NoError(b.t, n.store.Beat(b.t.Context(), "a run before", 0, ""))
			judge.watch.also("other", b.clock.Boot())
			b.clock.advance(judge.opts.Silence)
		}, asked: no, forced: no},
		"of one whose journal somebody has removed": {owner: "other", before: func(b *bundle, judge *node, _ credential.Attempt) {
			require.NoError(b.t, b.node("other").store.Beat(b.t.Context(), "a run before", 0, ""))
			judge.opts.Folder = journals{dir: b.t.TempDir(), place: b.dir}
		}, asked: wait, forced: yes},
		"of one whose journal cannot be looked at": {owner: "other", before: func(b *bundle, judge *node, _ credential.Attempt) {
			n := b.node("other")
			b.put(n, "alice")
			require.NoError(b.t, n.store.Beat(b.t.Context(), "a run before", 0, ""))
			blind := new(atomic.Bool)
			blind.Store(true)
			judge.opts.Folder = journals{dir: b.dir, place: b.dir, blind: blind}
		}, asked: wait, forced: wait},
		"of one elsewhere, heard of for the first time": {owner: "distant", asked: wait, forced: yes},
		"of one elsewhere, silent beyond the quarantine": {owner: "distant", before: func(b *bundle, judge *node, _ credential.Attempt) {
			judge.watch.also("distant", b.clock.Boot())
			b.clock.advance(judge.opts.Silence + judge.opts.Quarantine)
		}, asked: no, forced: no},
		"of one elsewhere, silent not quite so long": {owner: "distant", before: func(b *bundle, judge *node, _ credential.Attempt) {
			judge.watch.also("distant", b.clock.Boot())
			b.clock.advance(judge.opts.Silence + judge.opts.Quarantine - time.Millisecond)
		}, asked: wait, forced: yes},
		"the store is away": {owner: "other", before: func(_ *bundle, judge *node, _ credential.Attempt) {
			judge.store.set(func(s *faultyStore) { s.away = true })
		}, asked: answer{err: errAway}, forced: answer{err: errAway}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			judge := b.node(own)
			a := credential.Attempt{Nonce: newNonce(), Owner: heard, Generation: 1, Grant: 1}
			open := credential.Attempt{Nonce: newNonce(), Owner: c.owner, Generation: 1, Grant: 1}
			if c.change != nil {
				c.change(&open, a)
			}
			if c.before != nil {
				c.before(b, judge, open)
			}
			h := credential.Held{}
			if !open.Nonce.IsZero() {
				h.Attempt = &open
			}
			for force, want := range map[bool]answer{false: c.asked, true: c.forced} {
				later, err := judge.beganLater(t.Context(), h, a, force)
				require.ErrorIs(t, err, want.err, "force %t", force)
				assert.Equal(t, want.later, later, "force %t", force)
			}
		})
	}
}
