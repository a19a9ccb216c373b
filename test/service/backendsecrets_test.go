package service

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// No password, no user name, no session and nothing of the user data shows in
// Redis, its file, the journals, the queue, the logs, the metrics, the dashboard
// or a refusal, while everything goes wrong and the backends repeat what they were
// sent.
func TestNoLoginShows(t *testing.T) {
	t.Parallel()
	loginless(t, 3, 6*time.Second)
}

func TestSoakNoLoginShows(t *testing.T) {
	soak(t)
	loginless(t, 30, 2*time.Minute)
}

func loginless(t *testing.T, users int, lasts time.Duration) {
	t.Helper()
	const life = 4 * time.Second
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always", Args: []string{"--rdbcompression", "no"}})
	e := newEstateAt(t, providerOptions{}, server.URL())
	e.config["log"] = map[string]any{"level": "trace"}
	hook := newReceiver(t, "whsec_"+base64.StdEncoding.EncodeToString([]byte("thirty-two bytes that sign hooks")), 0)
	e.subscribe(hook)
	e.backend("password", backends.Options{Kind: backends.KindBearer, Life: life}, nil)
	e.backend("shop", backends.Options{Kind: backends.KindBearer, Life: life, Refreshes: true}, nil)
	e.backend("header", backends.Options{Kind: backends.KindHeader, Idle: life, Renames: true}, nil)
	e.backend("cookie", backends.Options{Kind: backends.KindCookie, Idle: life, Renames: true}, nil)
	e.backend("graphql", backends.Options{Kind: backends.KindGraphQL, Idle: life}, nil)
	first := e.open()
	second := e.start()
	secrets, heaps := harness.NewCanaries(), map[string][]byte{}

	const planted = "pw_planted0in1every2login3to4see"
	secrets.Add("what the backends repeat", planted)
	for name, b := range e.backends {
		for n := range users {
			// The credential's ID is its owner's choice, and no secret; who logs in is.
			id := fmt.Sprintf("%s:%d", name, n)
			user, pass := fmt.Sprintf("nm_user+%d@%s.example/0123456789", n, name), fmt.Sprintf("pw_%d of %s & more/%%+=0123456789", n, name)
			secrets.Add("user name of "+id, user)
			secrets.Add("password of "+id, pass)
			data := fmt.Sprintf("ud_known of user %d of %s 0123456789", n, name)
			secrets.Add("user data of "+id, data)
			b.SetUser(user, pass, fmt.Sprintf(`{"address":%q,"uid":%q}`, data, planted))
			body := signIn(name, user, pass)
			require.NoError(t, first.Call(t.Context(), http.MethodPut, harness.CredentialPath(id), body, nil), id)
		}
		// What was brought beside a token.
		m := "ud_brought by an owner of " + name + " 0123456789"
		secrets.Add("user data brought to "+name, m)
		body := map[string]any{"provider": name, "user_data": map[string]any{"note": m}, "token": map[string]any{"access_token": "at_brought0to1" + fmt.Sprintf("%018s", name)}}
		require.NoError(t, first.Call(t.Context(), http.MethodPut, harness.CredentialPath(name+":brought"), body, nil))
		secrets.Add("token brought to "+name, "at_brought0to1"+fmt.Sprintf("%018s", name))
	}
	loginMistakes(t, first.api, planted, heaps)

	header := map[string]string{"X-Echo": planted, "Content-Type": "application/json"}
	for _, b := range e.backends {
		for _, reply := range []backends.Reply{
			{Status: http.StatusServiceUnavailable, Header: header, Body: `{"error":"` + planted + `","message":"what about ` + planted + `"}`},
			{Status: http.StatusBadRequest, Header: header, Body: `{"error":"` + planted + `"}`},
			{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "1", "X-Echo": planted}, Body: planted},
			{Status: http.StatusOK, Header: header, Body: `{"error":"` + planted + `","token":{"` + planted},
			{Status: http.StatusOK, Header: header, Body: `{"errors":[{"message":"` + planted + `","extensions":{"code":"` + planted + `"}}]}`},
		} {
			b.Add(backends.Fault{Count: 1, Reply: &reply})
		}
		b.Add(backends.Fault{Count: 1, Hold: time.Second, Cut: true})
	}
	tick := time.NewTicker(250 * time.Millisecond) // enough to read: all of it is searched
	defer tick.Stop()
	for turn, began := 0, time.Now(); time.Since(began) < lasts; turn++ {
		for name := range e.backends {
			id := fmt.Sprintf("%s:%d", name, turn%users)
			if err := []*instance{first, second}[turn%2].Refresh(t.Context(), id); err != nil {
				heaps["answers"] = append(heaps["answers"], err.Error()...)
			}
			_ = second.Call(t.Context(), http.MethodPost, harness.CredentialPath(id)+"/touch", nil, nil) // some are over
		}
		<-tick.C
	}

	// One dies amid logins and extensions; its journal is read before and after
	// the other one takes it up.
	for _, b := range e.backends {
		b.Add(backends.Fault{Count: users, Hold: time.Second})
	}
	var asks sync.WaitGroup
	for name := range e.backends {
		asks.Go(func() { _ = first.Refresh(t.Context(), name+":0") }) // ends with the process
	}
	eventually(t, patience, func() (bool, string) {
		n := 0
		for _, b := range e.backends {
			n += b.InAir()
		}
		return n > 0, "nothing is in the air"
	})
	require.NoError(t, first.Kill())
	asks.Wait()
	heaps["journal of the dead"] = journals(t, e.house)
	e.living.Store(second)
	second.says(t, takenUp(first.owner))

	// Last of all passwords that are refused, and redirects that tell.
	for name, b := range e.backends {
		for n := range users {
			b.End(fmt.Sprintf("nm_user+%d@%s.example/0123456789", n, name))
		}
		b.Add(backends.Fault{Reply: &backends.Reply{
			Status: http.StatusFound, Header: map[string]string{"Location": "/login?was=" + planted, "Set-Cookie": backends.SessionCookie + "=" + planted + "; Max-Age=0"},
		}})
		_ = second.Refresh(t.Context(), name+":0") // what comes of it is in the logs
	}
	collect(t, e.house, server, []*instance{second, first}, heaps)
	size := 0
	for _, b := range e.backends {
		for _, secret := range b.Secrets() {
			secrets.Add("a token or session that was given out", secret)
		}
	}
	secrets.Add("webhook secret", hook.secret)
	secrets.Add("admin key", first.Key)
	for name, heap := range heaps {
		require.NotEmpty(t, bytes.Trim(heap, "\x00"), name)
		size += len(heap)
		assert.Empty(t, secrets.Find(heap), name)
	}
	// The user data is there for whoever may read it.
	_, data := second.userData(t, "password:brought")
	assert.Contains(t, string(data), "ud_brought by an owner")
	assert.Greater(t, secrets.Count, 20*users)
	t.Logf("%d secrets, none in %d kB from %d places", secrets.Count, size>>10, len(heaps))
	plant(t, e.house, server, secrets, []*instance{second, first})
}

// loginMistakes makes calls that are refused and hold a password.
func loginMistakes(t *testing.T, at *api, sent string, heaps map[string][]byte) {
	t.Helper()
	for n, body := range []string{
		`{"provider":"password","login":"` + sent + `"}`,
		`{"provider":"password","login":{"username":"` + sent + `","password":["` + sent + `"]}}`,
		`{"provider":"password","login":{"username":"` + sent + `","password":"` + sent + `","` + sent + `":1}}`,
		`{"provider":"password","login":{"username":"` + sent + `\u0000","password":"` + sent + `"}}`,
		`{"provider":"password","login":{"username":"` + sent + `","password":"` + sent + `"}}`,
		`{"provider":"nobody","login":{"username":"` + sent + `","password":"` + sent + `"}}`,
		`{"provider":"password","user_data":` + sent + `}`,
		`{"provider":"password","user_data":{"` + sent + `":"` + sent,
	} {
		answer, err := at.Text(t.Context(), http.MethodPut, harness.CredentialPath(fmt.Sprintf("password:mistake-%d", n)), body)
		require.Error(t, err, "mistake %d", n)
		heaps["answers"] = append(heaps["answers"], answer...)
	}
}
