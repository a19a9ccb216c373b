package service

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
)

// For some seconds an empty Redis answers in place of the one with the data, amid
// exchanges. Nobody can say there how a credential began, so all put back what
// they know as it is, each when it has waited long enough. What one of them has in
// the air and only another can bring the record of is presented by nobody else:
// neither there, nor once the right Redis is back.
func TestAnEmptyRedisForAWhile(t *testing.T) {
	t.Parallel()
	const count = 60
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec", Port: true})
	p := newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 6 * time.Second}})
	h := newHouse(t, p, server.URL())
	h.config["recovery"] = shortTimes()
	h.acme()["timeout"] = "5s"
	one, two := h.start(), h.start()
	h.login(one.api, count)
	awaitGeneration(t, two.api, count, 4) // the logins are safe by now, and nobody's to put back
	airborne := func(n int64) {
		eventually(t, patience, func() (bool, string) {
			sum := p.Summary()
			return sum.InAir == n, fmt.Sprintf("%d in the air", sum.InAir)
		})
	}
	slow := func(latency time.Duration) {
		_, err := p.Configure(practice.SettingsPatch{Latency: &latency})
		require.NoError(t, err)
	}

	// No reply dies with it. Its journal has what nobody else knows.
	require.NoError(t, one.Call(t.Context(), http.MethodPost, "/v1/pause", nil, nil))
	airborne(0)
	require.NoError(t, one.Kill())
	one = h.start()
	slow(4 * time.Second) // they are in the air until others might begin
	require.NoError(t, one.Call(t.Context(), http.MethodPost, "/v1/resume", nil, nil))
	airborne(count)
	slow(0)

	require.NoError(t, server.Kill())
	data, away := filepath.Join(server.Dir(), "appendonlydir"), filepath.Join(server.Dir(), "kept")
	require.NoError(t, os.Rename(data, away))
	require.NoError(t, server.Restart(t.Context()))
	began := p.Summary().Presentations
	eventually(t, patience, func() (bool, string) {
		sum := p.Summary()
		return sum.Presentations >= began+count/2, fmt.Sprintf("%d presented on the empty one", sum.Presentations-began)
	})
	require.NoError(t, server.Kill())
	require.NoError(t, os.RemoveAll(data))
	require.NoError(t, os.Rename(away, data))
	require.NoError(t, server.Restart(t.Context()))
	for _, at := range []*instance{one, two} {
		eventually(t, patience, func() (bool, string) {
			err := at.Call(t.Context(), http.MethodGet, "/v1/credentials", nil, nil)
			return err == nil, fmt.Sprint(err)
		})
	}
	before := one.list(t)
	awaitGeneration(t, two.api, count, before[credentialID(0)].Generation+2)
	one.awaitState(t, "active", count)
	assert.Zero(t, presentedOnce(t, p, nil))
	assert.Zero(t, p.Summary().GrantsDead)
}
