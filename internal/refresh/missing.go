package refresh

import (
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// missingRefresh is what the settings call the place of a refresh token.
	missingRefresh = "refresh_token"
	// missingEvery is how often it is said of one provider that its replies do
	// not tell an expiry: every one of them lacks it.
	missingEvery = time.Hour
)

// missing tells of successful replies that lack what the settings say they have.
type missing struct {
	log     zerolog.Logger
	metrics *Metrics

	mu   sync.Mutex
	said map[string]time.Duration // by provider: boot time of the last word on its expiries
}

func newMissing(log zerolog.Logger, metrics *Metrics) *missing {
	return &missing{log: log, metrics: metrics, said: map[string]time.Duration{}}
}

// note counts what a success lacks and warns of what matters. It returns the
// outcome with a refresh token among the missing where the provider issues one
// with every refresh.
func (m *missing) note(tn *turn, o credential.Outcome, boot time.Duration) credential.Outcome {
	if o.Class != credential.ClassOK || tn.method == credential.MethodNone {
		return o
	}
	lost := tn.method == credential.MethodRefresh && tn.target.Policy.Rotates == credential.RotatesYes && o.Token.Refresh.IsZero()
	if lost && !lacks(o, missingRefresh) {
		absent := credential.Absence{Name: missingRefresh, Why: "was not found"}
		o.Missing = append(o.Missing, absent)
		o.Detail = strings.TrimPrefix(o.Detail+", "+absent.String(), ", ")
	}
	var expiries []string
	for _, absent := range o.Missing {
		m.metrics.lacked(tn.target.Name, absent.Name)
		switch {
		case absent.Name == missingRefresh && lost:
			m.log.Warn().Str("credential", string(tn.held.Record.ID)).Str("provider", tn.target.Name).Str("missing", absent.String()).
				Msg("the provider's settings say that every refresh brings a new refresh token, and the reply had none in its place: the old one may be spent, and is presented once more, while the provider still takes it or else shortly before the access token expires; see the settings with refreshd provider check")
		case strings.Contains(absent.Name, "expires"):
			expiries = append(expiries, absent.String())
		}
	}
	if expiries != nil && m.first(tn.target.Name, boot) {
		m.log.Warn().Str("credential", string(tn.held.Record.ID)).Str("provider", tn.target.Name).Strs("missing", expiries).
			Msg("the provider's reply tells no expiry where its settings say, so a life is assumed; said once an hour")
	}
	return o
}

func lacks(o credential.Outcome, name string) bool {
	for _, absent := range o.Missing {
		if absent.Name == name {
			return true
		}
	}
	return false
}

// first reports whether nothing was said of the provider's expiries for long.
func (m *missing) first(provider string, boot time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last, ok := m.said[provider]; ok && boot-last < missingEvery {
		return false
	}
	m.said[provider] = boot
	return true
}
