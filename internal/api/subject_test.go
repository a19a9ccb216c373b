package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// The credentials that the tests of limited keys store, under names of one
// length, and one that is not stored.
const (
	mine, other, nobodys, unknown = "app:mine", "app:othr", "app:none", "app:unkn"
)

// setupSubjects stores credentials of several subjects, and returns a key of
// u-1 that may do everything but be an admin.
func setupSubjects(t *testing.T, options ...func(*api.Options)) (*bundle, string) {
	t.Helper()
	b := setup(t, options...)
	for id, subject := range map[credential.ID]string{mine: "u-1", other: "u-2", nobodys: ""} {
		b.store(id, 3600)
		b.engine.set(func(e *fakeEngine) { e.stored[id].Record.Subject = subject })
	}
	return b, "Bearer " + b.keys.addOf("u-1", "", api.ScopeTokenRead, api.ScopeCredentialWrite, api.ScopeEventRead)
}

// TestSubjectsSeeTheirOwn goes through every operation that the document lists:
// one that is new fails here until it is said what a key sees that is limited to
// a subject.
func TestSubjectsSeeTheirOwn(t *testing.T) {
	t.Parallel()
	doc, _ := openAPI(t)
	bodies := map[string]string{
		"PUT /v1/credentials/{id}":          loginOf("u-1"),
		"PUT /v1/credentials/{id}/presence": `{"presence":"active"}`,
	}
	noneOfIts := func(t *testing.T, b *bundle, method, path, key string) {
		t.Helper()
		got := b.call(t, method, path, "", "Authorization", key)
		assert.Equal(t, http.StatusForbidden, got.status, got.body)
		assert.Equal(t, "forbidden", got.problem(t).Code)
		assert.Empty(t, b.engine.calls())
	}
	public := func(t *testing.T, b *bundle, method, path, _ string) {
		t.Helper()
		assert.Equal(t, http.StatusOK, b.call(t, method, path, "", "Authorization", "").status)
	}
	forEverybody := func(t *testing.T, b *bundle, method, path, key string) {
		t.Helper()
		assert.Equal(t, http.StatusOK, b.call(t, method, path, "", "Authorization", key).status)
	}
	noStreamOfIts := func(t *testing.T, b *bundle, method, path, key string) {
		t.Helper()
		got := b.call(t, method, path, `{}`, "Authorization", key)
		if strings.HasSuffix(path, "/verify") {
			got = b.call(t, method, path, `{"stream_id":"soc"}`, "Authorization", key)
		}
		assert.Equal(t, http.StatusForbidden, got.status, got.body)
		assert.Empty(t, b.signals.asked)
	}
	withoutID := map[string]func(t *testing.T, b *bundle, method, path, key string){
		"GET /healthz": public, "GET /readyz": public,
		"GET /.well-known/jwks.json": forEverybody, "GET /.well-known/ssf-configuration": forEverybody,
		"GET /v1/signals/keys": noneOfIts, "POST /v1/signals/keys": noneOfIts,
		"POST /v1/signals/verify": noStreamOfIts, "POST /v1/subscriptions/{name}/poll": noStreamOfIts,
		"GET /v1/subscriptions": noneOfIts, "POST /v1/subscriptions": noneOfIts,
		"GET /v1/subscriptions/{name}": noneOfIts, "PUT /v1/subscriptions/{name}": noneOfIts, "DELETE /v1/subscriptions/{name}": noneOfIts,
		"GET /v1/subscriptions/{name}/deliveries": noneOfIts, "POST /v1/subscriptions/{name}/enable": noneOfIts,
		"POST /v1/subscriptions/{name}/replay": noneOfIts, "POST /v1/subscriptions/{name}/secret": noneOfIts, "POST /v1/subscriptions/{name}/test": noneOfIts,
		"GET /v1/keys": noneOfIts, "POST /v1/keys": noneOfIts, "DELETE /v1/keys/{key}": noneOfIts,
		"GET /v1/status": noneOfIts, "GET /v1/providers": noneOfIts,
		"POST /v1/providers/{name}/pause": noneOfIts, "POST /v1/providers/{name}/resume": noneOfIts,
		"POST /v1/pause": noneOfIts, "POST /v1/resume": noneOfIts,
		"GET /v1/credentials": listsItsOwn, "POST /v1/touches": touchesItsOwn,
		"GET /v1/events": followsItsOwn, "POST /v1/events/tickets": followsItsOwnWithATicket,
	}
	seen := 0
	for path, item := range doc.Paths {
		for method := range item {
			method = strings.ToUpper(method)
			name := method + " " + path
			seen++
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b, key := setupSubjects(t)
				if !strings.Contains(path, "{id}") {
					check := withoutID[name]
					require.NotNil(t, check, "nobody has said what a key sees here that is limited to a subject")
					check(t, b, method, strings.NewReplacer("{key}", "0123456789abcdef", "{name}", "acme").Replace(path), key)
					return
				}
				call := func(id string) answer {
					return b.call(t, method, strings.Replace(path, "{id}", id, 1), bodies[name], "Authorization", key)
				}
				if name == "PUT /v1/credentials/{id}" {
					storesItsOwn(t, b, call)
					return
				}
				strangers := strangersAre(t, call)
				assert.Equal(t, http.StatusNotFound, strangers.status)
				assert.Equal(t, "not_found", strangers.problem(t).Code)
				assert.Empty(t, b.engine.calls(), "nothing was done")
				own := call(mine)
				assert.NotContains(t, []int{http.StatusNotFound, http.StatusForbidden, http.StatusUnauthorized}, own.status, own.body)
				assert.Less(t, own.status, 500, own.body)
				assert.NotEmpty(t, b.engine.calls())
			})
		}
	}
	assert.GreaterOrEqual(t, seen, len(withoutID)+11, "the document was read")
}

// strangersAre makes sure that a call answers for another's credential, for
// nobody's and for none at all with the same bytes, and returns them.
func strangersAre(t *testing.T, call func(id string) answer) answer {
	t.Helper()
	bytes := func(id string) answer {
		got := call(id)
		got.body = strings.ReplaceAll(got.body, id, "ID")
		got.header.Del("Date")
		return got
	}
	want := bytes(unknown)
	for _, id := range []string{other, nobodys} {
		got := bytes(id)
		assert.Equal(t, want, got, "the answer tells whether it exists")
	}
	return want
}

// loginOf is a login that names its subject; none if that is "".
func loginOf(subject string) string {
	if subject == "" {
		return `{"provider":"acme","token":{"access_token":"a2","refresh_token":"r2","expires_in":3600}}`
	}
	return `{"provider":"acme","subject":"` + subject + `","token":{"access_token":"a2","refresh_token":"r2","expires_in":3600}}`
}

// storesItsOwn: storing is the one thing that tells whether an ID is taken, by
// refusing it.
func storesItsOwn(t *testing.T, b *bundle, call func(id string) answer) {
	t.Helper()
	for _, id := range []string{other, nobodys} {
		before := b.engine.held(credential.ID(id))
		got := call(id)
		require.Equal(t, http.StatusForbidden, got.status, got.body)
		assert.Equal(t, "this key is not good for that ID", got.problem(t).Detail)
		assert.Equal(t, before, b.engine.held(credential.ID(id)))
	}
	assert.Equal(t, http.StatusOK, call(mine).status)
	assert.Equal(t, http.StatusCreated, call(unknown).status)
	assert.Equal(t, "u-1", b.engine.held(unknown).Record.Subject)
}

func (e *fakeEngine) held(id credential.ID) credential.Held {
	e.mu.Lock()
	defer e.mu.Unlock()
	return *e.stored[id]
}

func listsItsOwn(t *testing.T, b *bundle, method, path, key string) {
	t.Helper()
	b.engine.set(func(e *fakeEngine) {
		own := *e.stored[mine]
		own.Record.ID = "zz"
		e.stored["zz"] = &own
	})
	var listed []string
	for cursor := ""; ; {
		got := b.call(t, method, path+"?limit=1&cursor="+cursor, "", "Authorization", key)
		require.Equal(t, http.StatusOK, got.status, got.body)
		var page struct {
			Credentials []api.Record `json:"credentials"`
			Next        string       `json:"next"`
		}
		got.decode(t, &page)
		for _, r := range page.Credentials {
			listed = append(listed, r.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	assert.Equal(t, []string{mine, "zz"}, listed)
}

func touchesItsOwn(t *testing.T, b *bundle, method, path, key string) {
	t.Helper()
	got := b.call(t, method, path, `{"ids":["`+strings.Join([]string{other, mine, unknown, nobodys, mine}, `","`)+`"]}`, "Authorization", key)
	require.Equal(t, http.StatusOK, got.status, got.body)
	var answers struct {
		Touches []api.TouchAnswer `json:"touches"`
	}
	got.decode(t, &answers)
	var results []string
	for _, one := range answers.Touches {
		results = append(results, one.ID+" "+one.Result)
	}
	assert.Equal(t, []string{other + " unknown", mine + " no_session", unknown + " unknown", nobodys + " unknown", mine + " no_session"}, results)
	assert.Equal(t, []string{"touch [app:mine app:mine]"}, b.engine.calls(), "no other was touched")
}

// someEvents are one of u-1, one of u-2, and one of the service's own.
func someEvents(b *bundle) {
	b.events.add("credential.refreshed", other, 0)
	b.events.add("credential.refreshed", mine, 0)
	b.events.add("client.misconfigured", "client:acme", 0)
	b.events.set(func(f *fakeEvents) { f.subject = map[string]string{"1": "u-2", "2": "u-1"} })
}

func followsItsOwn(t *testing.T, b *bundle, method, path, key string) {
	t.Helper()
	someEvents(b)
	got := b.call(t, method, path+"?cursor=0", "", "Authorization", key, "Accept", "application/json")
	require.Equal(t, http.StatusOK, got.status, got.body)
	var page api.EventPage
	got.decode(t, &page)
	require.Len(t, page.Events, 1)
	assert.Equal(t, mine, page.Events[0].Event.Subject)
	assert.Equal(t, "u-1", b.events.opened[0].Subject)

	// That events are missing is everybody's business.
	b.events.set(func(f *fakeEvents) { f.trimmed = 2 })
	f, _ := b.follow(t, path+"?cursor=1", "Authorization", key)
	assert.Equal(t, "stream.reset", f.nextEvent().event)
}

func followsItsOwnWithATicket(t *testing.T, b *bundle, _, _, key string) {
	t.Helper()
	someEvents(b)
	ticket := b.ticket(t, "", "Authorization", key)
	f, _ := b.follow(t, "/v1/events?cursor=0&ticket="+ticket.Ticket, "Authorization", "")
	got := f.nextEvent()
	var event api.CloudEvent
	require.NoError(t, json.Unmarshal([]byte(got.data), &event))
	assert.Equal(t, mine, event.Subject)
	assert.Equal(t, "u-1", b.events.opened[len(b.events.opened)-1].Subject)
}

// TestSubjectAndPrefix: both limits hold, and the prefix is looked at first.
func TestSubjectAndPrefix(t *testing.T) {
	t.Parallel()
	b, _ := setupSubjects(t)
	key := "Bearer " + b.keys.addOf("u-1", "phone:", api.ScopeTokenRead, api.ScopeCredentialWrite)
	b.store("phone:1", 60)
	b.engine.set(func(e *fakeEngine) { e.stored["phone:1"].Record.Subject = "u-1" })
	for id, want := range map[string]int{"phone:1": http.StatusOK, "phone:2": http.StatusNotFound, mine: http.StatusForbidden, other: http.StatusForbidden, unknown: http.StatusForbidden} {
		assert.Equal(t, want, b.call(t, http.MethodGet, "/v1/credentials/"+id+"/token", "", "Authorization", key).status, id)
	}
	got := b.call(t, http.MethodPost, "/v1/touches", `{"ids":["phone:1","phone:2","`+mine+`","`+other+`"]}`, "Authorization", key)
	assert.Equal(t, []string{"no_session", "unknown", "forbidden", "forbidden"}, results(t, got))
	refused := b.call(t, http.MethodPut, "/v1/credentials/"+unknown, loginOf("u-1"), "Authorization", key)
	assert.Equal(t, http.StatusForbidden, refused.status)
}

func results(t *testing.T, got answer) []string {
	t.Helper()
	var answers struct {
		Touches []api.TouchAnswer `json:"touches"`
	}
	got.decode(t, &answers)
	var list []string
	for _, one := range answers.Touches {
		list = append(list, one.Result)
	}
	return list
}

// TestSubjectsStore: what such a key stores is its subject's, and a condition on
// what is stored tells nothing of another's.
func TestSubjectsStore(t *testing.T) {
	t.Parallel()
	b, key := setupSubjects(t)
	put := func(id, body string, headers ...string) answer {
		return b.call(t, http.MethodPut, "/v1/credentials/"+id, body, append([]string{"Authorization", key}, headers...)...)
	}
	for _, subject := range []string{"u-2", "u-", "U-1", "u-1 "} {
		got := put("new", loginOf(subject))
		assert.Equal(t, http.StatusForbidden, got.status, subject)
		assert.NotContains(t, b.engine.calls(), "put new")
	}
	require.Equal(t, http.StatusCreated, put("new", loginOf("")).status)
	assert.Equal(t, "u-1", b.engine.held("new").Record.Subject, "it need not be named")
	b.engine.set(func(e *fakeEngine) {
		e.err = &api.FaultError{Kind: api.FaultConflict, Detail: "it belongs to another provider"}
	})
	assert.Equal(t, http.StatusConflict, put(mine, loginOf("")).status, "the key's limit is no condition of the caller's")
	b.engine.set(func(e *fakeEngine) { e.err = nil })

	got := put(other, loginOf("u-1"), "If-None-Match", "*")
	assert.Equal(t, http.StatusForbidden, got.status)
	assert.NotContains(t, got.body, "version")
	assert.Equal(t, http.StatusPreconditionFailed, put(mine, loginOf("u-1"), "If-None-Match", "*").status)
	assert.Equal(t, http.StatusPreconditionFailed, put(mine, loginOf("u-1"), "If-Match", `"99"`).status)
}

// TestSubjectMovesMeanwhile: a credential that goes to another subject between
// the guard and the answer is not shown.
func TestSubjectMovesMeanwhile(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ method, path, body string }{
		{"GET", "", ""},
		{"GET", "/user-data", ""},
		{"GET", "/token", ""},
		{"POST", "/refresh", ""},
		{"POST", "/refresh", `{"after":"1m"}`},
		{"POST", "/logout", ""},
		{"DELETE", "", ""},
		{"PUT", "/presence", `{"presence":"active"}`},
		{"POST", "/pause", ""},
		{"POST", "/resume", ""},
	} {
		t.Run(row.method+row.path+row.body, func(t *testing.T) {
			t.Parallel()
			b, key := setupSubjects(t)
			b.engine.set(func(e *fakeEngine) {
				e.moved = func(e *fakeEngine) { e.stored[mine].Record.Subject = "u-2" }
			})
			before := b.engine.held(mine)
			got := b.call(t, row.method, "/v1/credentials/"+mine+row.path, row.body, "Authorization", key)
			assert.Equal(t, http.StatusNotFound, got.status, got.body)
			assert.Equal(t, "no credential has the ID "+mine, got.problem(t).Detail)
			assert.NotContains(t, got.body, accessToken)
			after := b.engine.held(mine)
			assert.Equal(t, "u-2", after.Record.Subject)
			assert.Equal(t, before.Record.Revision, after.Record.Revision, "nothing was changed")
		})
	}
}

// TestSubjectKeyLife: made and listed with its subject, never an admin's.
func TestSubjectKeyLife(t *testing.T) {
	t.Parallel()
	b, key := setupSubjects(t, withMonitoring)
	made := b.call(t, http.MethodPost, "/v1/keys", `{"name":"phone","scopes":["token:read"],"prefix":"app:","subject":"u-1"}`)
	require.Equal(t, http.StatusCreated, made.status, made.body)
	var info api.NewKeyInfo
	made.decode(t, &info)
	assert.Equal(t, "u-1", info.Subject)
	auth := []string{"Authorization", "Bearer " + info.Key}
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials/"+mine+"/token", "", auth...).status)
	assert.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/v1/credentials/"+other+"/token", "", auth...).status)
	list := b.call(t, http.MethodGet, "/v1/keys", "")
	assert.Contains(t, list.body, `"subject":"u-1"`)

	for body, location := range map[string]string{
		`{"name":"n","scopes":["admin"],"subject":"u-1"}`:                                   "body.subject",
		`{"name":"n","scopes":["token:read"],"subject":"a\nb"}`:                             "body.subject",
		`{"name":"n","scopes":["token:read"],"subject":"` + strings.Repeat("s", 257) + `"}`: "body.subject",
		`{"name":"n","scopes":["token:read"],"subject":7}`:                                  "body.subject",
	} {
		got := b.call(t, http.MethodPost, "/v1/keys", body)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, body+got.body)
		assert.Equal(t, location, got.problem(t).Errors[0].Location, body)
	}

	// However it came to be: nobody's admin, and the last one that is stays.
	admin := "Bearer " + b.keys.addOf("u-9", "", api.ScopeAdmin)
	for _, path := range []string{"/v1/keys", "/v1/status", "/monitoring/", "/metrics", "/v1/credentials/" + mine + "/token"} {
		assert.Equal(t, http.StatusForbidden, b.call(t, http.MethodGet, path, "", "Authorization", admin).status, path)
	}
	assert.Equal(t, http.StatusForbidden, b.call(t, http.MethodGet, "/metrics", "", "Authorization", key).status, "they tell of everybody")
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/openapi.json", "", "Authorization", key).status)
	assert.Equal(t, http.StatusConflict, b.call(t, http.MethodDelete, "/v1/keys/"+b.keys.idOf(b.admin), "").status)
}

// TestSubjectsDuringAnOutage: nobody is let through, and nobody told apart, whom
// the records cannot tell of.
func TestSubjectsDuringAnOutage(t *testing.T) {
	t.Parallel()
	b, key := setupSubjects(t)
	b.engine.set(func(e *fakeEngine) { e.err = timeoutError{} })
	got := strangersAre(t, func(id string) answer {
		return b.call(t, http.MethodGet, "/v1/credentials/"+id+"/token", "", "Authorization", key)
	})
	assert.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
	assert.Equal(t, http.StatusServiceUnavailable, b.call(t, http.MethodPost, "/v1/touches", `{"ids":["`+mine+`"]}`, "Authorization", key).status)
	assert.False(t, slices.ContainsFunc(b.engine.calls(), func(call string) bool { return strings.HasPrefix(call, "t") }))
}
