package refresh

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// missingRefresh is what the settings call the place of a refresh token.
	missingRefresh = "refresh_token"
	// missingExp is the claim that tells the expiry in a JWT.
	missingExp = "exp"
	// missingUserData is what the settings call the place of user data.
	missingUserData = "user_data"
	// missingEvery is how often it is said of one provider that its replies do
	// not tell an expiry, or have user data that is not kept: every one of them
	// is like that.
	missingEvery = time.Hour
)

// missing tells of successful replies that lack what the settings say they have.
type missing struct {
	log     zerolog.Logger
	metrics *Metrics

	mu   sync.Mutex
	said map[word]time.Duration // boot time of the last one
}

// word is what is said of a provider's replies.
type word struct{ provider, of string }

// What words are of.
const (
	ofExpiries = "expiries"
	ofUserData = "user data"
)

func newMissing(log zerolog.Logger, metrics *Metrics) *missing {
	return &missing{log: log, metrics: metrics, said: map[word]time.Duration{}}
}

// note counts what a success lacks and warns of what matters. It returns the
// outcome with a refresh token among the missing where the provider issues one
// with every refresh.
func (m *missing) note(tn *turn, o credential.Outcome, sentAt credential.Millis, boot time.Duration) credential.Outcome {
	if o.Class != credential.ClassOK || tn.method == credential.MethodNone {
		return o
	}
	lost := tn.method == credential.MethodRefresh && tn.target.Policy.Rotates == credential.RotatesYes && o.Token.Refresh.IsZero()
	if lost && !lacks(o, missingRefresh) {
		absent := credential.Absence{Name: missingRefresh, Why: "was not found"}
		o.Missing = append(o.Missing, absent)
		o.Detail = strings.TrimPrefix(o.Detail+", "+absent.String(), ", ")
	}
	for _, absent := range o.Missing {
		if absent.Name == missingRefresh && lost {
			m.log.Warn().Str("credential", string(tn.held.Record.ID)).Str("provider", tn.target.Name).Str("missing", absent.String()).
				Msg("the provider's settings say that every refresh brings a new refresh token, and the reply had none in its place: the old one may be spent, and is presented once more, while the provider still takes it or else shortly before the access token expires; see the settings with refreshd provider check")
		}
	}
	list := o.Missing
	if o.ExpiresIn == 0 && !tn.held.Record.Session.Sliding() {
		list = slices.Concat(list, oddExp(o.Token.Access, sentAt))
	}
	m.tell(tn.target.Name, tn.held.Record.ID, list, boot)
	return o
}

// oddExp is what is missing in an access token that is a JWT and whose expiry tells
// no time after now.
func oddExp(access credential.Secret, now credential.Millis) []credential.Absence {
	if !credential.OddJWTExpiry(access, now) {
		return nil
	}
	return []credential.Absence{{Name: missingExp, Place: "access_token", Why: "tells no time to come"}}
}

// brought counts what a login that was stored lacks, tells of it, and returns what
// of it should tell an expiry, places of the reply that brought its token or the
// token that its owner has brought himself, and user data that is not kept.
func (m *missing) brought(login credential.Login, boot time.Duration, now credential.Millis) []credential.Absence {
	list := slices.Clone(login.Missing)
	if login.ExpiresIn == 0 && login.ExpiresAt == 0 {
		list = append(list, oddExp(login.Token.Access, now)...)
	}
	m.tell(login.Provider, login.ID, list, boot)
	return slices.DeleteFunc(list, func(absent credential.Absence) bool { return !tellsExpiry(absent) && !notKept(absent) })
}

// tell counts what is missing, and warns of expiries that are not told and of user
// data that is not kept.
func (m *missing) tell(provider string, id credential.ID, list []credential.Absence, boot time.Duration) {
	var expiries []string
	for _, absent := range list {
		m.metrics.lacked(provider, absent.Name)
		if tellsExpiry(absent) {
			expiries = append(expiries, absent.String())
		}
	}
	m.unkept(provider, id, list, boot)
	if expiries != nil && m.first(word{provider, ofExpiries}, boot) {
		m.log.Warn().Str("credential", string(id)).Str("provider", provider).Strs("missing", expiries).
			Msg("no expiry is told where the settings say, so what else tells it decides (the exp of a JWT, default_lifetime, or an hour, for an access token); said once an hour")
	}
}

// unkept warns of user data that is not kept.
func (m *missing) unkept(provider string, id credential.ID, list []credential.Absence, boot time.Duration) {
	for _, absent := range list {
		if notKept(absent) && m.first(word{provider, ofUserData}, boot) {
			m.log.Warn().Str("credential", string(id)).Str("provider", provider).Str("missing", absent.String()).
				Msg("user data is not kept as it came, and what was known before stays; name a part of it in the provider's settings (user_data under response); said once an hour")
		}
	}
}

// notKept reports whether user data stood in its place and is not kept.
func notKept(absent credential.Absence) bool {
	return absent.Name == missingUserData && absent.Unusable()
}

// tellsExpiry reports whether what is missing should have told when a token ends.
func tellsExpiry(absent credential.Absence) bool {
	return absent.Name == missingExp || strings.Contains(absent.Name, "expires")
}

func lacks(o credential.Outcome, name string) bool {
	for _, absent := range o.Missing {
		if absent.Name == name {
			return true
		}
	}
	return false
}

// first reports whether that was not said for long.
func (m *missing) first(w word, boot time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last, ok := m.said[w]; ok && boot-last < missingEvery {
		return false
	}
	m.said[w] = boot
	return true
}
