package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// How the users of a hundred sessions behave.
const (
	groupIdle = "idle" // nobody comes: refreshd keeps the session alive
	groupUsed = "used" // its user is there, and refreshd is told so in time
	groupAway = "away" // in the background for more than two thirds of the idle time, and back before its end
	groupGone = "gone" // in the background, and back when it is over
	groupNear = "near" // away, and back so late on a busy machine that it may be over or not
)

// userHeader marks the calls that a session's own user makes.
const userHeader = "X-By-User"

// sessionUse is a line of the log of test/thirdparty/sessions.
type sessionUse struct {
	Call     string    `json:"call"`
	User     string    `json:"user"`
	ByUser   bool      `json:"by_user"`
	Received time.Time `json:"received"`
	Status   int       `json:"status"`
}

// A library of a third party keeps the sessions, and ends those that nobody uses.
// None dies that should live, none is extended that was touched in time, and none
// is called more often than once in two thirds of its idle time.
func TestSessionsOfAThirdParty(t *testing.T) {
	t.Parallel()
	thirdPartySessions(t, 100, 15*time.Second, 21*time.Second)
}

func TestSoakSessionsOfAThirdParty(t *testing.T) {
	soak(t)
	thirdPartySessions(t, 100, time.Minute, 10*time.Minute)
}

// visitors are the users of a third party's sessions.
type visitors struct {
	t     *testing.T
	at    *instance
	url   string
	http  *http.Client
	idle  time.Duration
	began time.Time

	group map[string]string // of each credential
	mu    sync.Mutex
	// touched has the visits of which refreshd was told: by credential, when it
	// was told and when that was acknowledged.
	touched map[string][][2]time.Time
	asked   map[string]time.Time // right before the login
	// ends has the idle deadlines of those in the background, and back when each
	// of them came back, right before refreshd was told.
	ends, back map[string]time.Time
}

func thirdPartySessions(t *testing.T, count int, idle, lasts time.Duration) {
	t.Helper()
	app := testproc.Start(t, testproc.Options{
		Path:  testproc.Build(t, testproc.BuildOptions{Package: "./sessions", Dir: "../thirdparty"}),
		Args:  []string{"--listen", "127.0.0.1:0", "--users", fmt.Sprint(count), "--idle", idle.String()},
		Ready: regexp.MustCompile(`sessions: listening on (\S+)`),
	})
	url := app.ReadyMatch()[1]
	e := newEstate(t)
	e.config["providers"].(map[string]any)["web"] = map[string]any{ //nolint:errcheck,forcetypeassert // made by newHouse
		"kind": "http", "limits": map[string]any{"concurrency": 64, "per_second": 500},
		"login": map[string]any{
			"request":  map[string]any{"method": "POST", "url": url + "/login", "form": map[string]any{"username": "{{.username}}", "password": "{{.password}}"}},
			"response": map[string]any{"access_token": map[string]any{"cookie": "sid"}, "subject": "id"},
		},
		"send": map[string]any{"cookie": "sid"},
		"session": map[string]any{
			"idle_timeout": idle.String(), "extend": map[string]any{"request": map[string]any{"method": "GET", "url": url + "/me"}},
			"logged_out_when": []any{map[string]any{"redirect": "*/login*"}},
		},
	}
	v := &visitors{
		t: t, at: e.open(), url: url, http: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		idle: idle, began: time.Now(), group: map[string]string{}, touched: map[string][][2]time.Time{}, asked: map[string]time.Time{},
		ends: map[string]time.Time{}, back: map[string]time.Time{},
	}
	t.Cleanup(v.http.CloseIdleConnections)
	v.logIn(count)
	for id, group := range v.group {
		if group == groupAway || group == groupGone {
			v.ends[id] = v.at.presence(t, id, "background").Session.IdleDeadline
		}
	}
	v.live(lasts)

	all := e.heardAll()
	require.Len(t, all, count)
	log := v.log()
	byUser, over := map[string][]sessionUse{}, 0
	for _, use := range log {
		if use.User == "" {
			over++
		}
		byUser["web:"+use.User] = append(byUser["web:"+use.User], use)
	}
	members := map[string]int{}
	for _, group := range v.group {
		members[group]++
	}
	assert.LessOrEqual(t, over, members[groupNear], "sessions that were over were used")
	require.NotZero(t, members[groupAway], "who comes back between two thirds and the end; %v", members)
	calls := map[string]int{}
	for id, group := range v.group {
		assert.Equal(t, "active", all[id].State, "%s (%s)", id, group)
		got, err := v.at.Token(t.Context(), id, 0)
		require.NoError(t, err, id)
		assert.Equal(t, http.StatusOK, v.visit(t.Context(), got.AccessToken), "%s (%s): the session lives", id, group)
		calls[group] += v.judge(id, group, byUser[id])
	}
	oneEventPerVersion(t, v.at.api, all, e.stream)
	t.Logf("%d sessions in %s with an idle timeout of %s: %v calls by group, of %v", count, time.Since(v.began).Round(time.Second), idle, calls, members)
}

// logIn stores all logins, of which each makes a session.
func (v *visitors) logIn(count int) {
	v.t.Helper()
	next := make(chan int)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for n := range next {
				user := fmt.Sprintf("user-%d", n)
				id := "web:" + user
				asked := time.Now()
				if err := v.at.Call(v.t.Context(), http.MethodPut, harness.CredentialPath(id), signIn("web", user, "password-of-"+user), nil); err != nil {
					v.t.Errorf("%s: %v", id, err)
				}
				v.mu.Lock()
				v.asked[id] = asked
				v.group[id] = []string{groupIdle, groupIdle, groupUsed, groupUsed, []string{groupAway, groupGone}[n/5%2]}[n%5]
				v.mu.Unlock()
			}
		})
	}
	for n := range count {
		next <- n + 1
	}
	close(next)
	workers.Wait()
}

// live lets the users come and go for a while. Those who use their sessions do so
// three times in an idle time.
func (v *visitors) live(lasts time.Duration) {
	v.t.Helper()
	tokens := map[string]string{}
	var used []string
	for id, group := range v.group {
		if group == groupUsed {
			got, err := v.at.Token(v.t.Context(), id, 0)
			require.NoError(v.t, err)
			tokens[id] = got.AccessToken
			used = append(used, id)
		}
	}
	tick := time.NewTicker(v.idle / 60)
	defer tick.Stop()
	late := false
	var visited time.Time
	for start := time.Now(); time.Since(start) < lasts; {
		if time.Since(visited) >= v.idle/3 {
			visited = time.Now()
			for _, id := range used {
				assert.Equal(v.t, http.StatusOK, v.visit(v.t.Context(), tokens[id]), "%s visits", id)
			}
			v.touch(used)
		}
		v.comeBack(groupAway, -v.idle/3)
		if !late && time.Since(v.began) > 4*v.idle/3 && v.allOver() {
			v.comeBack(groupGone, 0)
			late = true
		}
		select {
		case <-tick.C:
		case <-v.t.Context().Done():
		}
	}
	require.True(v.t, late)
	for id, group := range v.group {
		if group == groupGone {
			v.at.awaitRecord(v.t, id, func(r harness.Record) bool { return r.State == "active" && r.Generation == 2 })
		}
	}
}

// allOver reports whether the sessions are over whose users come back too late.
func (v *visitors) allOver() bool {
	now := time.Now()
	for id, group := range v.group {
		if group == groupGone && v.ends[id].After(now) {
			return false
		}
	}
	return true
}

// comeBack lets those of a group return from the background who are to be back at
// a time after, or before, their sessions' ends.
func (v *visitors) comeBack(group string, after time.Duration) {
	v.t.Helper()
	for id, is := range v.group {
		now := time.Now()
		if _, already := v.back[id]; is != group || already || now.Before(v.ends[id].Add(after)) {
			continue
		}
		v.back[id] = now
		v.at.presence(v.t, id, "passive")
		if group == groupAway && time.Until(v.ends[id]) < onItsWay {
			v.group[id] = groupNear
		}
	}
}

// touch tells refreshd of the visits, in one call.
func (v *visitors) touch(ids []string) {
	v.t.Helper()
	var answer struct {
		Touches []struct {
			ID     string `json:"id"`
			Result string `json:"result"`
		} `json:"touches"`
	}
	asked := time.Now()
	require.NoError(v.t, v.at.Call(v.t.Context(), http.MethodPost, "/v1/touches", map[string]any{"ids": ids}, &answer))
	acked := time.Now()
	for _, one := range answer.Touches {
		assert.Equal(v.t, "touched", one.Result, one.ID)
		v.touched[one.ID] = append(v.touched[one.ID], [2]time.Time{asked, acked})
	}
}

// visit uses a session as its user does.
func (v *visitors) visit(ctx context.Context, session string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+"/me", nil)
	if err != nil {
		return 0
	}
	req.Header.Set(userHeader, "yes")
	req.Header.Set("Cookie", "sid="+session)
	resp, err := v.http.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (v *visitors) log() []sessionUse {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.url+"/log", nil)
	require.NoError(v.t, err)
	resp, err := v.http.Do(req)
	require.NoError(v.t, err)
	defer resp.Body.Close()
	var list []sessionUse
	for lines := json.NewDecoder(resp.Body); lines.More(); {
		var use sessionUse
		require.NoError(v.t, lines.Decode(&use))
		list = append(list, use)
	}
	return list
}

// onItsWay is what a call may take from its beginning to the app's log, on a
// machine that is busy.
const onItsWay = 2 * time.Second

// judge looks at what was done for one session, and returns how many calls
// refreshd has made to extend it.
func (v *visitors) judge(id, group string, uses []sessionUse) int {
	v.t.Helper()
	part := v.idle * 2 / 3
	var extended []sessionUse
	logins := 0
	for i, use := range uses {
		if use.ByUser {
			continue
		}
		if use.Call == "login" {
			logins++
			continue
		}
		extended = append(extended, use)
		// A clock starts when a call is sent, and is read here when it comes.
		if before := lastCall(uses[:i]); assert.NotNil(v.t, before, "%s (%s): used before its login", id, group) {
			gap := use.Received.Sub(before.Received)
			assert.GreaterOrEqual(v.t, gap+onItsWay, part, "%s (%s): called twice within two thirds", id, group)
		}
	}
	switch group {
	case groupNear:
	case groupGone:
		assert.Equal(v.t, 2, logins, "%s: its owner's login, and one on the return", id)
	default:
		assert.Equal(v.t, 1, logins, "%s (%s): nobody had to log in again", id, group)
	}
	began := v.asked[id]
	if back, ok := v.back[id]; ok {
		began = back
		for _, use := range uses[1:] {
			assert.False(v.t, use.Received.Before(back), "%s (%s): %s at %s, before its user came back at %s", id, group, use.Call, use.Received.Format(clockTime), back.Format(clockTime))
		}
	}
	switch group {
	case groupIdle, groupGone:
		if group == groupIdle {
			require.NotEmpty(v.t, extended, id)
		}
		// Each clock starts when the call before was sent, the first one with the
		// login: as many calls need as many times two thirds.
		if n := len(extended); n > 0 {
			since := extended[n-1].Received.Sub(began)
			assert.GreaterOrEqual(v.t, since, time.Duration(n)*part, "%s (%s): %d calls", id, group, n)
		}
	case groupUsed:
		for _, call := range extended {
			for _, touch := range v.touched[id] {
				inTime := touch[0].After(call.Received.Add(-part)) && touch[1].Before(call.Received.Add(-onItsWay))
				assert.False(v.t, inTime, "%s: extended at %s, and touched at %s", id, call.Received.Format(clockTime), touch[0].Format(clockTime))
			}
		}
	case groupAway:
		require.NotEmpty(v.t, extended, "%s: extended on the return", id)
		atReturn := 0
		for _, call := range extended {
			if call.Received.Before(v.ends[id]) {
				atReturn++
			}
		}
		assert.Equal(v.t, 1, atReturn, "%s: calls between the return and what would have been its end", id)
	}
	return len(extended)
}

// lastCall returns the last of these that was no visit of the session's user.
func lastCall(uses []sessionUse) *sessionUse {
	for _, use := range slices.Backward(uses) {
		if !use.ByUser {
			return &use
		}
	}
	return nil
}
