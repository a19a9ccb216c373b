package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// presented is a line of the third party's log.
type presented struct {
	Grant     string `json:"grant_type"`
	Presented string `json:"presented"`
	Issued    string `json:"issued"`
	InAir     int    `json:"in_air"`
	Status    int    `json:"status"`
	Error     string `json:"error"`
}

// An authorization server by somebody else, which rotates and detects reuse,
// sees each refresh token once.
func TestServerOfAThirdParty(t *testing.T) {
	t.Parallel()
	thirdParty(t, 20, 6*time.Second, 20*time.Second)
}

func TestSoakServerOfAThirdParty(t *testing.T) {
	soak(t)
	thirdParty(t, 200, 20*time.Second, 5*time.Minute)
}

func thirdParty(t *testing.T, count int, life, lasts time.Duration) {
	t.Helper()
	const secret = "s3cret-of-the-client"
	server := testproc.Start(t, testproc.Options{
		Path:  testproc.Build(t, testproc.BuildOptions{Package: ".", Dir: "../thirdparty"}),
		Args:  []string{"--listen", "127.0.0.1:0", "--client", clientID + ":" + secret, "--users", fmt.Sprint(count), "--access-ttl", life.String(), "--inside", "1"},
		Ready: regexp.MustCompile(`thirdparty: listening on (\S+)`),
	})
	p := &provider{url: server.ReadyMatch()[1], secret: secret}
	h := newHouse(t, p, testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"}).URL())
	first, second := h.start(), h.start()
	stream := watch(t, first.api)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	for n := range count {
		first.put(t, credentialID(n), grantOf(t, client, p, n+1), int64(life/time.Second)-1)
	}
	began := time.Now()
	turn := 0
	eventually(t, lasts+patience, func() (bool, string) {
		turn++
		_, err := []*instance{first, second}[turn%2].Token(t.Context(), credentialID(turn%count), time.Second)
		require.NoError(t, err)
		return time.Since(began) > lasts, "loaded long enough"
	})
	all := second.awaitState(t, "active", count)
	stream.awaitAll(t, patience, all)
	for _, i := range []*instance{first, second} {
		state, err := i.Stop()
		require.NoError(t, err)
		assert.Zero(t, state.ExitCode())
	}

	times := map[string]int{}
	refreshes := 0
	for _, line := range logOf(t, client, p) {
		if line.Grant != "refresh_token" {
			continue
		}
		refreshes++
		times[line.Presented]++
		assert.Equal(t, http.StatusOK, line.Status, line.Error)
		assert.Equal(t, 1, line.InAir, "presentations of one token in the air")
	}
	for hash, n := range times {
		assert.Equal(t, 1, n, "presentations of the token with the hash %s", hash)
	}
	assert.GreaterOrEqual(t, refreshes, count*int(lasts/life))
	t.Logf("third party: %d refreshes of %d credentials, each harness.Token presented once", refreshes, count)
}

// grantOf logs a user in.
func grantOf(t *testing.T, client *http.Client, p *provider, user int) practice.Minted {
	t.Helper()
	form := url.Values{
		"grant_type": {"password"}, "scope": {"offline read"},
		"username": {fmt.Sprintf("user-%d", user)}, "password": {fmt.Sprintf("password-of-user-%d", user)},
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/token", strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, p.secret)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var m practice.Minted
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&m))
	require.NotEmpty(t, m.RefreshToken)
	return m
}

func logOf(t *testing.T, client *http.Client, p *provider) []presented {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/log", nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var list []presented
	for lines := json.NewDecoder(resp.Body); lines.More(); {
		var line presented
		require.NoError(t, lines.Decode(&line))
		list = append(list, line)
	}
	return list
}
