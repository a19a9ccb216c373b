package service

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// wire keeps what a provider sends: every token that it ever issued is there.
type wire struct {
	net.Listener

	mu   sync.Mutex
	sent bytes.Buffer
}

type wireConn struct {
	net.Conn

	wire *wire
}

// Accept is part of [net.Listener].
func (w *wire) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: conn, wire: w}, nil
}

// Write is part of [net.Conn].
func (c *wireConn) Write(data []byte) (int, error) {
	c.wire.mu.Lock()
	c.wire.sent.Write(data)
	c.wire.mu.Unlock()
	return c.Conn.Write(data)
}

var issued = regexp.MustCompile(`[ar]t_[0-9A-Za-z]{32}`)

func (w *wire) tokens() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return issued.FindAllString(w.sent.String(), -1)
}

// No secret shows in Redis, its file, the journals, the logs, the metrics, the
// dashboard or an answer, also while everything goes wrong.
func TestNoSecretShows(t *testing.T) {
	t.Parallel()
	secretless(t, 12, 15*time.Second)
}

func TestSoakNoSecretShows(t *testing.T) {
	soak(t)
	secretless(t, 100, 3*time.Minute)
}

func secretless(t *testing.T, count int, lasts time.Duration) {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always", Args: []string{"--rdbcompression", "no"}})
	sent := &wire{}
	p := newProvider(t, providerOptions{
		Options: practice.Options{AccessTTL: 6 * time.Second, Latency: 300 * time.Millisecond},
		wire:    func(ln net.Listener) net.Listener { sent.Listener = ln; return sent },
		front:   new(parrot).front,
	})
	h := newHouse(t, p, server.URL())
	h.config["log"] = map[string]any{"level": "trace"}
	raw := []byte("thirty-two bytes that sign hooks")
	hook := newReceiver(t, "whsec_"+base64.StdEncoding.EncodeToString(raw), 7)
	h.subscribe(hook)
	first, second := h.start(), h.start()
	heaps := map[string][]byte{}
	secrets := harness.NewCanaries()
	for n, m := range h.login(first.api, count) {
		secrets.Add(fmt.Sprintf("access token %d, as stored", n), m.AccessToken)
		secrets.Add(fmt.Sprintf("refresh token %d, as stored", n), m.RefreshToken)
	}
	key := createKey(t, first.api)
	mistakes(t, first.api, secrets, heaps)

	began := time.Now()
	misbehave(t, p, secrets)
	eventually(t, lasts+patience, func() (bool, string) {
		_, err := first.Token(t.Context(), credentialID(int(time.Now().UnixNano())%count), time.Second)
		if err != nil {
			heaps["answers"] = append(heaps["answers"], err.Error()...)
		}
		return time.Since(began) > lasts, "watched long enough"
	})
	misbehaved(t, p)

	// One dies amid exchanges, so that a journal is left; it is read before and
	// after the other one takes it up.
	p.ClearFaults()
	heaps["first journal"] = journals(t, h)
	require.NoError(t, first.Kill())
	heaps["journal of the dead"] = journals(t, h)
	second.says(t, takenUp(first.owner))
	first = h.start()

	// Last of all what makes every call of the client stop.
	addFault(t, p, practice.Fault{
		Kind: practice.KindMalformed, Form: practice.FormRedirect307, Count: 1, Location: p.url + "/elsewhere?refresh_token=" + repeated,
	})
	eventually(t, patience, func() (bool, string) { return p.Faults()[0].Hits == 1, "no call was redirected" })
	eventually(t, patience, func() (bool, string) {
		return strings.Contains(first.String()+second.String(), `"message":"client.misconfigured"`), "nobody said that the client is misconfigured"
	})

	collect(t, h, server, []*instance{first, second}, heaps)
	for _, token := range sent.tokens() {
		secrets.Add("a token that was issued", token)
	}
	for name, secret := range map[string]string{
		"client secret": p.secret, "admin key": first.Key, "API key": key,
		"webhook secret": hook.secret, "webhook secret, its text": hook.secret[len("whsec_"):], "webhook secret, its bytes": string(raw),
	} {
		secrets.Add(name, secret)
	}
	size := 0
	assert.NotEmpty(t, sent.tokens())
	for name, heap := range heaps {
		require.NotEmpty(t, bytes.Trim(heap, "\x00"), name)
		size += len(heap)
		assert.Empty(t, secrets.Find(heap), name)
	}
	assert.Greater(t, secrets.Count, 4*count)
	t.Logf("%d secrets in %d forms, none in %d kB from %d places", secrets.Count, len(harness.Forms("long enough")), size>>10, len(heaps))

	plant(t, h, server, secrets, []*instance{first, second})
}

// plant puts secrets where none belong and expects the same search to find
// them there.
func plant(t *testing.T, h *house, server *testproc.Redis, secrets *harness.Canaries, running []*instance) {
	t.Helper()
	const planted = "at_planted0in1every2place3to4see"
	secrets.Add("planted", planted)
	client := redisClient(t, server)
	ctx := t.Context()
	require.NoError(t, client.Set(ctx, "planted:string", "x"+planted, 0).Err())
	require.NoError(t, client.HSet(ctx, "planted:hash", "f", planted).Err())
	require.NoError(t, client.RPush(ctx, "planted:list", planted).Err())
	require.NoError(t, client.SAdd(ctx, "planted:set", planted).Err())
	require.NoError(t, client.ZAdd(ctx, "planted:sorted", redis.Z{Member: planted}).Err())
	require.NoError(t, client.XAdd(ctx, &redis.XAddArgs{Stream: "planted:stream", Values: []any{"e", planted}}).Err())
	h.write("data/journal/planted", []byte(planted))
	heaps := map[string][]byte{}
	collect(t, h, server, running, heaps)
	for _, name := range []string{
		"redis planted:string", "redis planted:hash", "redis planted:list", "redis planted:set", "redis planted:sorted", "redis planted:stream",
		"journals", "append-only file",
	} {
		assert.Contains(t, secrets.Find(heaps[name]), "planted as raw", name)
	}
	assert.Empty(t, secrets.Find(heaps["/metrics"]))
}

// repeated is what the provider's errors repeat, where it is no token that
// they know.
const repeated = "rt_echoed0by1the2provider3itself"

// misbehave makes the provider fail in many ways, a few times each, with
// replies that repeat what they were sent.
func misbehave(t *testing.T, p *provider, secrets *harness.Canaries) {
	t.Helper()
	secrets.Add("what the provider's errors repeat", repeated)
	for _, f := range []practice.Fault{
		{Kind: practice.KindStatus, Status: http.StatusServiceUnavailable, Error: "server_error", Description: "cannot handle " + repeated},
		{Kind: practice.KindStatus, Status: http.StatusInternalServerError, Body: "<html>we do not like " + repeated + "</html>"},
		{Kind: practice.KindStatus, Status: http.StatusTooManyRequests, Error: "slow_down", Description: repeated, RetryAfter: "1"},
		{Kind: practice.KindStatus, Status: http.StatusBadRequest, Error: "invalid_grant", Description: "already being processed: " + repeated},
		{Kind: practice.KindStatus, Status: http.StatusBadRequest, Error: "invalid_request", Description: repeated},
		{Kind: practice.KindCut, Place: practice.PlaceInRefreshToken, Rotate: practice.MomentNever},
		{Kind: practice.KindCut, Place: practice.PlaceAfterRefreshToken},
		{Kind: practice.KindMalformed, Form: practice.FormHTML200},
		{Kind: practice.KindLost, Rotate: practice.MomentNever},
	} {
		f.Count = 2
		addFault(t, p, f)
	}
}

func addFault(t *testing.T, p *provider, f practice.Fault) {
	t.Helper()
	_, err := p.AddFault(f)
	require.NoError(t, err)
}

func misbehaved(t *testing.T, p *provider) {
	t.Helper()
	for _, f := range p.Faults() {
		assert.Positive(t, f.Hits, "the provider misbehaved as asked: %s %s %s", f.Fault.Kind, f.Fault.Form, f.Fault.Error)
	}
}

// parrot stands before a provider and answers some calls with errors whose
// code is the refresh token or the client's secret that was presented.
type parrot struct{ calls atomic.Int64 }

func (p *parrot) front(provider http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := p.calls.Add(1)
		if r.URL.Path != "/token" || n%9 != 0 {
			provider.ServeHTTP(w, r)
			return
		}
		_, secret, _ := r.BasicAuth()
		words := []string{r.PostFormValue("refresh_token"), secret}[n%2]
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadRequest}[n/9%3])
		_ = json.NewEncoder(w).Encode(map[string]string{"error": words, "error_description": "what about " + words, "error_uri": words})
	})
}

// mistakes makes calls that are refused and hold secrets; the answers, and
// what is logged about them, must not.
func mistakes(t *testing.T, at *api, secrets *harness.Canaries, heaps map[string][]byte) {
	t.Helper()
	const sent = "rt_sent0in1a2call3that4was5refused"
	secrets.Add("sent in a call that was refused", sent)
	for n, body := range []string{
		`{"provider":"acme","token":"` + sent + `"}`,
		`{"provider":"acme","token":{"access_token":"` + sent + `","refresh_token":["` + sent + `"]}}`,
		`{"provider":"acme","token":{"access_token":"` + sent + `","expires_in":"` + sent + `"}}`,
		`{"provider":"acme","token":{"access_token":"` + sent + `","expires_at":"` + sent + `"}}`,
		`{"provider":"acme","` + sent + `":1,"token":{"access_token":"` + sent + `"}}`,
		`{"provider":"nobody","token":{"access_token":"` + sent + `","expires_in":60}}`,
		`{"provider":"acme","login":{"username":"u","password":"` + sent + `"}}`,
		`{"provider":"acme","token":{"access_token":"` + sent + `"`,
		sent,
	} {
		answer, err := at.Text(t.Context(), http.MethodPut, harness.CredentialPath(fmt.Sprintf("acme:mistake-%d", n)), body)
		require.Error(t, err, "mistake %d", n)
		heaps["answers"] = append(heaps["answers"], answer...)
	}
	wrong := at.with(sent)
	answer, err := wrong.Raw(t.Context(), http.MethodGet, "/v1/credentials", nil)
	require.Error(t, err)
	heaps["answers"] = append(heaps["answers"], answer...)
}

func createKey(t *testing.T, at *api) string {
	t.Helper()
	var made struct {
		Key string `json:"key"`
	}
	body := map[string]any{"name": "reader", "scopes": []string{"token:read"}}
	require.NoError(t, at.Call(t.Context(), http.MethodPost, "/v1/keys", body, &made))
	require.NotEmpty(t, made.Key)
	reader := at.with(made.Key)
	require.NoError(t, reader.Call(t.Context(), http.MethodGet, "/v1/credentials", nil, nil))
	return made.Key
}

func redisClient(t *testing.T, server *testproc.Redis) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(o)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

// collect gathers everything that somebody may see who is not to see secrets.
func collect(t *testing.T, h *house, server *testproc.Redis, running []*instance, heaps map[string][]byte) {
	t.Helper()
	for n, i := range running {
		heaps[fmt.Sprintf("log of process %d", n)] = []byte(i.String())
		for _, file := range []string{"cmdline", "environ"} {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", i.PID(), file))
			if err == nil { // only Linux tells
				heaps[fmt.Sprintf("%s of process %d", file, n)] = data
			}
		}
	}
	at := running[0].api
	paths := []string{"/metrics", "/v1/status", "/v1/credentials", "/v1/keys", "/openapi.json", "/readyz", "/monitoring/", "/monitoring/api/queues", "/monitoring/api/redis_info"}
	for _, queue := range queues(t, at) {
		paths = append(paths, "/monitoring/api/queues/"+queue)
		for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
			paths = append(paths, "/monitoring/api/queues/"+queue+"/"+state+"_tasks")
		}
	}
	for _, path := range paths {
		data, err := at.Raw(t.Context(), http.MethodGet, path, nil)
		require.NoError(t, err, path)
		heaps[path] = data
	}
	heaps["events"] = pages(t, at)
	heaps["journals"] = journals(t, h)
	heaps["append-only file"] = tree(t, server.Dir(), "")
	heaps["data_dir"] = tree(t, filepath.Join(h.dir, "data"), "admin.key")
	dump(t, redisClient(t, server), heaps)
}

func queues(t *testing.T, at *api) []string {
	t.Helper()
	var answer struct {
		Queues []struct {
			Queue string `json:"queue"`
		} `json:"queues"`
	}
	require.NoError(t, at.Call(t.Context(), http.MethodGet, "/monitoring/api/queues", nil, &answer))
	require.NotEmpty(t, answer.Queues)
	names := make([]string, len(answer.Queues))
	for i, q := range answer.Queues {
		names[i] = q.Queue
	}
	return names
}

// pages reads the whole event log.
func pages(t *testing.T, at *api) []byte {
	t.Helper()
	var all []byte
	for cursor := "0"; ; {
		data, err := at.Text(t.Context(), http.MethodGet, "/v1/events?limit=1000&cursor="+cursor, "")
		require.NoError(t, err)
		var page struct {
			Events []json.RawMessage `json:"events"`
			Cursor string            `json:"cursor"`
		}
		require.NoError(t, json.Unmarshal(data, &page))
		all = append(all, data...)
		if len(page.Events) == 0 {
			return all
		}
		cursor = page.Cursor
	}
}

func journals(t *testing.T, h *house) []byte {
	t.Helper()
	return tree(t, filepath.Join(h.dir, "data", "journal"), "")
}

// tree reads every file under a folder but one.
func tree(t *testing.T, dir, but string) []byte {
	t.Helper()
	var all []byte
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == but {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // a folder of this test
		if os.IsNotExist(err) {
			return nil // a journal that was taken up meanwhile
		}
		all = append(all, data...)
		return err
	})
	require.NoError(t, err)
	return all
}

// dump reads every key of a Redis, by its type.
func dump(t *testing.T, client *redis.Client, heaps map[string][]byte) {
	t.Helper()
	ctx := t.Context()
	keys := 0
	for scan := client.Scan(ctx, 0, "*", 1000).Iterator(); scan.Next(ctx); keys++ {
		key := scan.Val()
		value, err := valueOf(ctx, client, key)
		require.NoError(t, err, key)
		serialised, err := client.Dump(ctx, key).Bytes()
		if err == redis.Nil { //nolint:errorlint // go-redis returns it bare; the key went meanwhile
			continue
		}
		require.NoError(t, err, key)
		heaps["redis "+key] = fmt.Appendf(serialised, "\n%s\n%v", key, value)
	}
	assert.Greater(t, keys, 20)
}

func valueOf(ctx context.Context, client *redis.Client, key string) (any, error) {
	kind, err := client.Type(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "string":
		value, err := client.Get(ctx, key).Result()
		if err == redis.Nil { //nolint:errorlint // go-redis returns it bare; the key went meanwhile
			return nil, nil //nolint:nilnil // nothing is there any more
		}
		return value, err
	case "hash":
		return client.HGetAll(ctx, key).Result()
	case "list":
		return client.LRange(ctx, key, 0, -1).Result()
	case "set":
		return client.SMembers(ctx, key).Result()
	case "zset":
		return client.ZRangeWithScores(ctx, key, 0, -1).Result()
	case "stream":
		return client.XRange(ctx, key, "-", "+").Result()
	case "none":
		return nil, nil //nolint:nilnil // nothing is there any more
	default:
		return nil, fmt.Errorf("%s is of type %s, which nobody looks into", key, kind)
	}
}
