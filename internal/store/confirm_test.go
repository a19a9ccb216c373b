package store_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
)

// beginOne stores a new credential and begins an attempt, which must be
// granted however it is confirmed.
func (f *fixture) beginOne(t *testing.T) credential.Begun {
	t.Helper()
	login := f.login(credential.ID("user-" + f.nonce().String()))
	_, err := f.store.Apply(t.Context(), []credential.Write{login})
	require.NoError(t, err)
	answers, err := f.store.Begin(t.Context(), []credential.Begin{{ID: login.Record.ID, Nonce: f.nonce(), Owner: "self", Lasts: time.Minute}})
	require.NoError(t, err)
	require.NoError(t, answers[0].Err)
	require.Equal(t, credential.RefusedNot, answers[0].Refusal)
	require.NotNil(t, answers[0].Held.Attempt)
	return answers[0]
}

func dial(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	return connect(t, opts)
}

func TestBeginIsDurableAsFarAsItWasWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t, server(t)(t))
	assert.False(t, f.beginOne(t).Durable, "nothing was said")
	f.store.SetConfirm(store.Confirm{Enough: true})
	begun := f.beginOne(t)
	assert.True(t, begun.Durable, "Redis syncs before it answers")
	f.store.SetConfirm(store.Confirm{Replicas: 0, Timeout: time.Second})
	assert.False(t, f.beginOne(t).Durable, "not enough, whatever comes")

	f.store.SetConfirm(store.Confirm{Enough: true})
	answers, err := f.store.Begin(t.Context(), []credential.Begin{
		{ID: begun.ID, Nonce: f.nonce(), Owner: "self", Lasts: time.Minute}, {ID: "nobody", Nonce: f.nonce(), Owner: "self", Lasts: time.Minute},
	})
	require.NoError(t, err)
	assert.Equal(t, []credential.Refusal{credential.RefusedOpen, credential.RefusedUnknown}, []credential.Refusal{answers[0].Refusal, answers[1].Refusal})
	assert.False(t, answers[0].Durable || answers[1].Durable, "what was refused is no attempt")
}

// await asks until the answer is yes. The bound is for a hung test only.
func await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-ctx.Done():
			t.Fatal("never: " + what)
		case <-tick.C:
		}
	}
}

// TestBeginWaitsForRealReplicas: WAIT is asked of a redis-server with a replica
// that keeps up, that is halted, and that goes on.
func TestBeginWaitsForRealReplicas(t *testing.T) {
	t.Parallel()
	master := testproc.StartRedis(t, testproc.RedisOptions{Port: true, Args: []string{"--repl-diskless-sync-delay", "0"}})
	f := newFixture(t, dial(t, master.URL()))
	wait := store.Confirm{Enough: true, Replicas: 1, Timeout: 200 * time.Millisecond}
	f.store.SetConfirm(wait)
	assert.False(t, f.beginOne(t).Durable, "there is no replica yet")

	_, address := master.Address()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	replica := testproc.StartRedis(t, testproc.RedisOptions{Port: true, Args: []string{"--replicaof", host + " " + port}})
	confirmed := func() bool { return f.beginOne(t).Durable }
	await(t, "the replica has joined", confirmed)

	f.store.SetConfirm(store.Confirm{Enough: true, Replicas: 2, Timeout: 50 * time.Millisecond})
	assert.False(t, f.beginOne(t).Durable, "there is one, not two")
	f.store.SetConfirm(wait)

	require.NoError(t, replica.Pause())
	assert.False(t, f.beginOne(t).Durable, "it has not answered in time, and the attempt is stored all the same")
	require.NoError(t, replica.Resume())
	await(t, "the replica goes on", confirmed)
}

// TestBeginAgainstARealServerWithoutWAITAOF: a refused wait is no failure, and
// no confirmation. From Redis 7.2 on the same server knows it.
func TestBeginAgainstARealServerWithoutWAITAOF(t *testing.T) {
	t.Parallel()
	client := server(t)(t)
	f := newFixture(t, client)
	f.store.SetConfirm(store.Confirm{Enough: true, AOF: true, Timeout: 100 * time.Millisecond})
	// 7.0 does not know the command, 7.2 refuses it without an append-only file.
	assert.False(t, f.beginOne(t).Durable)
}

// TestBeginWaitsForTheDiskOfAScriptedServer has WAITAOF answered by a script,
// for it takes Redis 7.2: everything else is passed on to a real redis-server
// of any version. What Redis itself does with it is not tested here.
func TestBeginWaitsForTheDiskOfAScriptedServer(t *testing.T) {
	t.Parallel()
	backend := testproc.StartRedis(t, testproc.RedisOptions{})
	var databases atomic.Int32
	for name, row := range map[string]struct {
		answer  string
		confirm store.Confirm
		durable bool
	}{
		"synced":                {"*2\r\n:1\r\n:0\r\n", store.Confirm{Enough: true, AOF: true, Timeout: time.Second}, true},
		"not synced in time":    {"*2\r\n:0\r\n:0\r\n", store.Confirm{Enough: true, AOF: true, Timeout: time.Second}, false},
		"a strange answer":      {"*0\r\n", store.Confirm{Enough: true, AOF: true, Timeout: time.Second}, false},
		"no append-only file":   {"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n", store.Confirm{Enough: true, AOF: true, Timeout: time.Second}, false},
		"forbidden":             {"-NOPERM this user has no permissions to run the 'waitaof' command\r\n", store.Confirm{Enough: true, AOF: true, Timeout: time.Second}, false},
		"synced and not enough": {"*2\r\n:1\r\n:0\r\n", store.Confirm{AOF: true, Timeout: time.Second}, false},
		"synced, no replica":    {"*2\r\n:1\r\n:0\r\n", store.Confirm{Enough: true, AOF: true, Replicas: 1, Timeout: 20 * time.Millisecond}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := scriptWAITAOF(t, backend, row.answer)
			f := newFixture(t, connect(t, &redis.Options{Addr: fake.address, DB: int(databases.Add(1)), Protocol: 2, DisableIdentity: true}))
			f.store.SetConfirm(row.confirm)
			assert.Equal(t, row.durable, f.beginOne(t).Durable)
			// Twice where the script was not known yet.
			assert.Equal(t, []string{fmt.Sprintf("waitaof 1 0 %d", row.confirm.Timeout.Milliseconds())}, slices.Compact(fake.waits()))
			assert.Equal(t, []string{"hmget"}, slices.Compact(fake.before("waitaof", "wait")), "on the connection of the script, behind the records")
		})
	}
}

// scripted passes commands on to a redis-server, one at a time, and answers
// WAITAOF itself.
type scripted struct {
	address string

	mu   sync.Mutex
	seen [][]string // by connection
}

func scriptWAITAOF(t *testing.T, backend *testproc.Redis, answer string) *scripted {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &scripted{address: l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { assert.NoError(t, l.Close()); all.Wait() })
	network, address := backend.Address()
	all.Go(func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			back, err := new(net.Dialer).DialContext(t.Context(), network, address)
			if err != nil {
				t.Errorf("pass on to redis-server: %v", err)
				return
			}
			all.Go(func() {
				defer func() { _, _ = front.Close(), back.Close() }()
				s.pass(front, back, answer)
			})
		}
	})
	return s
}

func (s *scripted) pass(front, back net.Conn, answer string) {
	s.mu.Lock()
	n := len(s.seen)
	s.seen = append(s.seen, nil)
	s.mu.Unlock()
	commands, replies := bufio.NewReader(front), bufio.NewReader(back)
	for {
		raw, words, err := readValue(commands)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen[n] = append(s.seen[n], strings.ToLower(strings.Join(words, " ")))
		s.mu.Unlock()
		reply := answer
		if !strings.EqualFold(words[0], "waitaof") {
			if _, err := back.Write([]byte(raw)); err != nil {
				return
			}
			if reply, _, err = readValue(replies); err != nil {
				return
			}
		}
		if _, err := front.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// readValue reads one value of RESP2 as it is, and the strings in it.
func readValue(in *bufio.Reader) (raw string, words []string, err error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", nil, err
	}
	n, numeric := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch {
	case line[0] == '$' && numeric == nil && n >= 0:
		data := make([]byte, n+2)
		if _, err := io.ReadFull(in, data); err != nil {
			return "", nil, err
		}
		return line + string(data), []string{string(data[:n])}, nil
	case line[0] == '*' && numeric == nil:
		raw = line
		for range n {
			more, inner, err := readValue(in)
			if err != nil {
				return "", nil, err
			}
			raw, words = raw+more, append(words, inner...)
		}
		return raw, words, nil
	}
	return line, nil, nil
}

// waits are the WAITAOF commands that came.
func (s *scripted) waits() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, conn := range s.seen {
		for _, command := range conn {
			if strings.HasPrefix(command, "waitaof") {
				list = append(list, command)
			}
		}
	}
	return list
}

// before are the first words of what came right before a command, on the same
// connection, passing over what is called skip.
func (s *scripted) before(command, skip string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, conn := range s.seen {
		last := ""
		for _, line := range conn {
			first, _, _ := strings.Cut(line, " ")
			if first == command {
				list = append(list, last)
			}
			if first != skip {
				last = first
			}
		}
	}
	return list
}
