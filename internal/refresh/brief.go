package refresh

import (
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

// brief notes whose tokens are told to live shorter than refreshes are planned
// apart. That is mostly a life that is read in the wrong unit.
type brief struct {
	log zerolog.Logger

	mu    sync.Mutex
	lives map[string]time.Duration // by provider
}

func newBrief(log zerolog.Logger) *brief { return &brief{log: log, lives: map[string]time.Duration{}} }

// note looks at the life of a token that was issued, and says so the first time
// that one of a provider is that short, or that of its refresh token. A token that
// came once more tells nothing: what is left of its life may be short.
func (b *brief) note(t *Target, h credential.Held, o credential.Outcome, sentAt credential.Millis) {
	token := o.Token.Access
	if o.Class != credential.ClassOK || token.IsZero() || token.Equal(h.Token.Access) || t.Policy.Sessions.Idle > 0 {
		return
	}
	life := t.Policy.Lifetime(o.ExpiresIn, o.ExpiresAt, sentAt)
	if told := o.RefreshExpiresIn; told > 0 && (o.Method == credential.MethodLogin || h.Record.Rolls(sentAt.Add(told), sentAt)) {
		life = min(life, told) // no fixed end of which little is left
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if life >= t.Policy.MinInterval {
		delete(b.lives, t.Name)
		return
	}
	_, known := b.lives[t.Name]
	b.lives[t.Name] = life
	if !known {
		b.log.Warn().Str("credential", string(h.Record.ID)).Str("provider", t.Name).Str("life", life.String()).Str("min_interval", t.Policy.MinInterval.String()).
			Msg("the provider's tokens live shorter than schedule.min_interval, as it is read: their refreshes are planned that far apart, and they are dead in between; see with refreshd provider check whether the life is told in another unit than the settings say")
	}
}

// Brief returns how long a provider's tokens live, where that is shorter than
// refreshes are planned apart; 0 where it is not, or no token was issued yet.
func (e *Engine) Brief(provider string) time.Duration {
	e.brief.mu.Lock()
	defer e.brief.mu.Unlock()
	return e.brief.lives[provider]
}
