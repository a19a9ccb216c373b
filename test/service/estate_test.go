package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// estate is a house whose providers are backends of one's own, beside a practice
// authorization server.
type estate struct {
	*house

	backends map[string]*backends.Backend // by provider
	living   atomic.Pointer[instance]
	stream   *follower
}

func newEstate(t testing.TB) *estate {
	t.Helper()
	return newEstateAt(t, providerOptions{}, testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
}

func newEstateAt(t testing.TB, o providerOptions, redisURL string) *estate {
	t.Helper()
	return &estate{house: newHouse(t, newProvider(t, o), redisURL), backends: map[string]*backends.Backend{}}
}

// backend adds a provider with a backend. more goes into its settings; what is
// given of a session is added to what is there.
func (e *estate) backend(name string, o backends.Options, more map[string]any) *backends.Backend {
	e.t.Helper()
	b, url := harness.NewBackend(e.t, o)
	set := harness.BackendSettings(o.Kind, url)
	if o.Refreshes {
		harness.BackendRefresh(set, url)
	}
	if o.Kind != backends.KindBearer {
		session := set["session"].(map[string]any) //nolint:errcheck,forcetypeassert // made by BackendSettings
		session["idle_timeout"] = o.Idle.String()
		if given, ok := more["session"].(map[string]any); ok {
			maps.Copy(session, given)
		}
	}
	for key, value := range more {
		if key != "session" {
			set[key] = value
		}
	}
	e.config["providers"].(map[string]any)[name] = set //nolint:errcheck,forcetypeassert // made by newHouse
	e.backends[name] = b
	return b
}

// open starts the first process, and watches the event log of whoever lives.
func (e *estate) open() *instance {
	e.t.Helper()
	at := e.start()
	e.living.Store(at)
	e.stream = watchAt(e.t, func() *api { return e.living.Load().api })
	return at
}

// reopen starts another process after the one before was stopped or killed.
func (e *estate) reopen() *instance {
	e.t.Helper()
	at := e.start()
	e.living.Store(at)
	return at
}

// restart stops the process in good order and starts another.
func (e *estate) restart() *instance {
	e.t.Helper()
	state, err := e.living.Load().Stop()
	require.NoError(e.t, err)
	require.Zero(e.t, state.ExitCode())
	return e.reopen()
}

const password = "pa55word-of-a-practice-user"

// signUp makes a user at a backend and stores the login; the ID is that of the
// credential.
func (e *estate) signUp(provider, user string) (id string) {
	e.t.Helper()
	e.backends[provider].SetUser(user, password, fmt.Sprintf(`{"name":%q,"plan":"gold"}`, user))
	id = provider + ":" + user
	var r harness.Record
	require.NoError(e.t, e.living.Load().Call(e.t.Context(), http.MethodPut, harness.CredentialPath(id), signIn(provider, user, password), &r))
	require.Equal(e.t, "active", r.State, id)
	return id
}

// bring makes a user at a backend and stores a token that is there already,
// without the login.
func (e *estate) bring(provider, user string) (id string) {
	e.t.Helper()
	e.backends[provider].SetUser(user, password, `{"plan":"silver"}`)
	m := e.backends[provider].Mint(user)
	token := map[string]any{"access_token": m.Token}
	if m.Refresh != "" {
		token["refresh_token"] = m.Refresh
	}
	id = provider + ":" + user
	body := map[string]any{"provider": provider, "token": token}
	require.NoError(e.t, e.living.Load().Call(e.t.Context(), http.MethodPut, harness.CredentialPath(id), body, nil))
	return id
}

func signIn(provider, user, password string) map[string]any {
	return map[string]any{"provider": provider, "login": map[string]any{"username": user, "password": password}}
}

// awaitRecord waits until a credential is as it is wanted, and returns it.
func (a *api) awaitRecord(t testing.TB, id string, wanted func(r harness.Record) bool) harness.Record {
	t.Helper()
	var r harness.Record
	eventually(t, patience, func() (bool, string) {
		r = a.get(t, id)
		return wanted(r), fmt.Sprintf("%+v, last failure %+v", r, r.LastFailure)
	})
	return r
}

// awaitEvents waits until a subscriber has heard of so many events of a type
// about a credential, and returns them.
func (h *history) awaitEvents(t testing.TB, kind, id string, count int) []cloudEvent {
	t.Helper()
	var list []cloudEvent
	eventually(t, patience, func() (bool, string) {
		list = h.find(kind, id)
		return len(list) >= count, fmt.Sprintf("%d %s of %s, want %d; %v", len(list), kind, id, count, h.told(id))
	})
	return list
}

// told lists the types of the events of a credential, in order, with the reason
// where there is one.
func (h *history) told(id string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, e := range h.seen {
		if e.Data.Credential != id {
			continue
		}
		text := e.Type
		if e.Data.Reason != "" {
			text += " " + e.Data.Reason
		}
		list = append(list, text)
	}
	return list
}

// heardAll waits until the stream has told all that the records have.
func (e *estate) heardAll() map[string]harness.Record {
	e.t.Helper()
	all := e.living.Load().list(e.t)
	e.stream.awaitAll(e.t, patience, all)
	return all
}

// refusedWith returns the refusal that a call was answered with.
func refusedWith(t testing.TB, err error) *harness.Refusal {
	t.Helper()
	refused, ok := errors.AsType[*harness.Refusal](err)
	require.True(t, ok, "%v", err)
	return refused
}

// post makes a call on a credential, such as "pause".
func (a *api) post(t testing.TB, id, verb string, body, result any) {
	t.Helper()
	require.NoError(t, a.Call(t.Context(), http.MethodPost, harness.CredentialPath(id)+"/"+verb, body, result))
}

func (a *api) presence(t testing.TB, id, presence string) harness.Record {
	t.Helper()
	var r harness.Record
	require.NoError(t, a.Call(t.Context(), http.MethodPut, harness.CredentialPath(id)+"/presence", map[string]any{"presence": presence}, &r))
	return r
}

// userData reads what is kept of the user behind a credential.
func (a *api) userData(t testing.TB, id string) (subject string, data json.RawMessage) {
	t.Helper()
	var answer struct {
		Subject  string          `json:"subject"`
		UserData json.RawMessage `json:"user_data"`
	}
	require.NoError(t, a.Call(t.Context(), http.MethodGet, harness.CredentialPath(id)+"/user-data", nil, &answer))
	return answer.Subject, answer.UserData
}
