package backends

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const form = "application/x-www-form-urlencoded"

type backend struct {
	*Backend

	t    *testing.T
	url  string
	http *http.Client
}

func setup(t *testing.T, o Options) *backend {
	t.Helper()
	b := &backend{Backend: New(o), t: t}
	b.SetUser("ann", "pa55-of-ann", `{"plan":"gold"}`)
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.url, b.http = server.URL, server.Client()
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return b
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

func (b *backend) call(method, path, kind, body string, header ...string) reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(b.t, err)
	r.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(r)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return reply{resp.StatusCode, resp.Header, string(data)}
}

func TestBearerTokens(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Kind: KindBearer, Life: time.Hour, Refreshes: true})
	in := b.call(http.MethodPost, "/login", form, "username=ann&password=pa55-of-ann")
	require.Equal(t, http.StatusOK, in.status)
	first := gjson.Get(in.body, "token").String()
	assert.True(t, b.Alive(first))
	assert.Equal(t, int64(3600), gjson.Get(in.body, "expiresIn").Int())
	assert.Equal(t, "uid-1", gjson.Get(in.body, "user.id").String())
	assert.Equal(t, "uid-1", b.UID("ann"))
	assert.Equal(t, "gold", gjson.Get(in.body, "user.profile.plan").String())
	assert.Equal(t, http.StatusOK, b.call(http.MethodGet, "/me", "", "", "Authorization", "Bearer "+first).status)

	old := gjson.Get(in.body, "refreshToken").String()
	spend := func(token string) reply {
		return b.call(http.MethodPost, "/refresh", "application/json", `{"refreshToken":"`+token+`"}`)
	}
	again := spend(old)
	require.Equal(t, http.StatusOK, again.status)
	second := gjson.Get(again.body, "token").String()
	assert.True(t, b.Alive(second))
	assert.Len(t, b.Secrets(), 4)
	assert.Equal(t, http.StatusUnauthorized, spend(old).status, "a refresh token works once")
	assert.False(t, b.Alive(second), "and ends everything when it comes again")
	assert.Equal(t, http.StatusUnauthorized, spend(gjson.Get(again.body, "refreshToken").String()).status)

	var nth []int
	for _, e := range b.Calls(CallRefresh, "ann") {
		nth = append(nth, e.Nth)
		assert.Equal(t, 1, e.InAirOfUser)
		assert.False(t, e.Replied.Before(e.Received))
	}
	assert.Equal(t, []int{1, 2, 1}, nth)
	assert.Zero(t, b.InAir())
}

func TestAnAccountIsLockedAfterWrongPasswords(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Kind: KindBearer, Life: time.Hour})
	for _, want := range []int{401, 401, 401, 423} {
		assert.Equal(t, want, b.call(http.MethodPost, "/login", form, "username=ann&password=wrong").status)
	}
	assert.Equal(t, http.StatusLocked, b.call(http.MethodPost, "/login", form, "username=ann&password=pa55-of-ann").status)
	b.SetUser("ann", "new", `{}`)
	assert.Equal(t, http.StatusOK, b.call(http.MethodPost, "/login", form, "username=ann&password=new").status)
	b.Lock("ann")
	assert.Equal(t, http.StatusLocked, b.call(http.MethodPost, "/login", form, "username=ann&password=new").status)
	assert.Equal(t, http.StatusUnauthorized, b.call(http.MethodPost, "/login", form, "username=bob&password=new").status)
}

func TestSessionsSlideAndEnd(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{KindHeader, KindCookie, KindGraphQL} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b := setup(t, Options{Kind: kind, Idle: time.Hour})
			in := b.signIn("pa55-of-ann")
			session := in.session(kind)
			require.NotEmpty(t, session)
			assert.True(t, b.Visit(session))
			assert.True(t, b.useIt(session).taken(kind))
			calls := b.Calls(CallUse, "ann")
			require.Len(t, calls, 1, "a visit is in no ledger")
			assert.True(t, calls[0].Done)
			b.End("ann")
			assert.False(t, b.Alive(session))
			assert.False(t, b.Visit(session))
			assert.False(t, b.useIt(session).taken(kind))
			assert.Empty(t, b.signIn("wrong").session(kind))
		})
	}
}

func TestASessionEndsByItsClocks(t *testing.T) {
	t.Parallel()
	idle := setup(t, Options{Kind: KindHeader, Idle: time.Nanosecond})
	assert.False(t, idle.useIt(idle.signIn("pa55-of-ann").session(KindHeader)).taken(KindHeader))
	old := setup(t, Options{Kind: KindHeader, Idle: time.Hour, Absolute: time.Nanosecond})
	assert.False(t, old.useIt(old.signIn("pa55-of-ann").session(KindHeader)).taken(KindHeader))
}

func TestASessionIsRenamed(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{KindHeader, KindCookie} {
		b := setup(t, Options{Kind: kind, Idle: time.Hour, Renames: true})
		first := b.signIn("pa55-of-ann").session(kind)
		second := b.useIt(first).session(kind)
		require.NotEmpty(t, second)
		assert.NotEqual(t, first, second)
		assert.False(t, b.Alive(first))
		assert.True(t, b.Alive(second))
		assert.Contains(t, b.Secrets(), first)
	}
}

func (b *backend) signIn(password string) reply {
	b.t.Helper()
	switch b.o.Kind {
	case KindGraphQL:
		return b.call(http.MethodPost, "/graphql", "application/json", `{"query":"mutation Login {x}","variables":{"user":"ann","password":"`+password+`"}}`)
	case KindHeader:
		return b.call(http.MethodPost, "/login", "application/json", `{"user":"ann","password":"`+password+`"}`)
	case KindCookie, KindBearer:
	}
	return b.call(http.MethodPost, "/login", form, "username=ann&password="+password)
}

func (b *backend) useIt(session string) reply {
	b.t.Helper()
	switch b.o.Kind {
	case KindGraphQL:
		return b.call(http.MethodPost, "/graphql", "application/json", `{"query":"query Me {me}"}`, "Authorization", "Bearer "+session)
	case KindHeader:
		return b.call(http.MethodGet, "/me", "", "", SessionHeader, session)
	case KindCookie, KindBearer:
	}
	return b.call(http.MethodGet, "/me", "", "", "Cookie", SessionCookie+"="+session)
}

// session is the one that a reply brings, "" if it brings none.
func (r reply) session(kind Kind) string {
	switch kind {
	case KindHeader:
		return r.header.Get(SessionHeader)
	case KindCookie:
		for _, c := range (&http.Response{Header: r.header}).Cookies() {
			if c.Name == SessionCookie {
				return c.Value
			}
		}
	case KindGraphQL:
		return gjson.Get(r.body, "data.login.token").String()
	case KindBearer:
	}
	return ""
}

// taken reports whether a use was taken, in the words of the kind.
func (r reply) taken(kind Kind) bool {
	switch kind {
	case KindGraphQL:
		return gjson.Get(r.body, "data.me.id").String() == "uid-1" && r.status == http.StatusOK
	case KindCookie:
		return r.status == http.StatusOK && !strings.Contains(r.header.Get("Location"), "/login")
	case KindHeader, KindBearer:
	}
	return r.status == http.StatusOK
}

func TestALoginIsMinted(t *testing.T) {
	t.Parallel()
	b := New(Options{Kind: KindBearer, Life: time.Hour, Refreshes: true})
	b.SetUser("ann", "x", `{}`)
	m := b.Mint("ann")
	assert.True(t, b.Alive(m.Token))
	assert.ElementsMatch(t, []string{m.Token, m.Refresh}, b.Secrets())
	b.EndTokens("ann")
	assert.False(t, b.Alive(m.Token))
	assert.Equal(t, []string{m.Refresh}, b.Secrets(), "the refresh token is left")
	assert.Empty(t, b.Ledger())
}

func TestFaults(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Kind: KindBearer, Life: time.Hour})
	b.Add(Fault{Call: CallLogin, User: "ann", Count: 1, Reply: &Reply{Status: 503, Header: map[string]string{"Retry-After": "7"}, Body: "away"}})
	remove := b.Add(Fault{Call: CallLogin, Hold: time.Millisecond, Cut: true})
	got := b.call(http.MethodPost, "/login", form, "username=ann&password=pa55-of-ann")
	assert.Equal(t, 503, got.status)
	assert.Equal(t, "7", got.header.Get("Retry-After"))
	assert.Equal(t, "away", got.body)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/login", strings.NewReader("username=ann&password=pa55-of-ann"))
	require.NoError(t, err)
	resp, err := b.http.Do(r)
	if err == nil {
		resp.Body.Close()
	}
	require.Error(t, err, "the connection is cut")
	remove()
	assert.Equal(t, http.StatusOK, b.call(http.MethodPost, "/login", form, "username=ann&password=pa55-of-ann").status)
	log := b.Ledger()
	require.Len(t, log, 3)
	assert.False(t, log[0].Done)
	assert.True(t, log[0].Faulty)
	assert.True(t, log[1].Done, "it was done, and nobody was told")
	assert.True(t, log[1].Replied.IsZero())
	assert.False(t, log[2].Faulty)
	assert.Equal(t, []int{1, 2, 3}, []int{log[0].Seq, log[1].Seq, log[2].Seq})
}

func TestCallsInTheAirAreCounted(t *testing.T) {
	t.Parallel()
	const n = 4
	b := setup(t, Options{Kind: KindBearer, Life: time.Hour})
	b.Add(Fault{Wait: 50 * time.Millisecond})
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/login", strings.NewReader("username=ann&password=x"))
			if assert.NoError(t, err) {
				resp, err := b.http.Do(r)
				if assert.NoError(t, err) {
					resp.Body.Close()
				}
			}
		})
	}
	calls.Wait()
	most := 0
	for _, e := range b.Ledger() {
		most = max(most, e.InAirOfUser)
		assert.Equal(t, e.InAir, e.InAirOfUser)
	}
	assert.Positive(t, most)
	assert.LessOrEqual(t, most, n)
}

func TestNobodyElseIsAnswered(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", http.NoBody)
	r.RemoteAddr = "192.0.2.1:7"
	w := httptest.NewRecorder()
	New(Options{Kind: KindBearer}).ServeHTTP(w, r)
	assert.Equal(t, http.StatusForbidden, w.Code)
}
