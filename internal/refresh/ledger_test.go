package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// Of two attempts for one credential the later one is put back, in whichever
// order they are looked at, and though the store's clock fell back between them.
func TestTheLaterOfTwoAttemptsIsHeld(t *testing.T) {
	t.Parallel()
	const now = credential.Millis(1_800_000_000_000)
	l := newLedger()
	for n := range byte(20) {
		later := n%2 == 1
		tn := &turn{asked: time.Hour, attempt: credential.Attempt{Nonce: credential.Nonce{n}, BegunAt: now}}
		tn.held.Record.ID = credential.ID([]byte{'a' + n/2})
		if later {
			tn.asked += time.Minute
			tn.attempt.BegunAt -= 30_000
		}
		l.granted(tn)
	}
	held := l.attempts()
	assert.Len(t, held, 10)
	for id, a := range held {
		assert.Equal(t, 2*(id[0]-'a')+1, a.Nonce[0], id)
	}
}
