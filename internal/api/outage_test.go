package api_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// replyError is an error reply of Redis as its client hands it on.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// What Redis refuses is nobody's fault who asks: it is 503, says in a word why,
// and shows nothing of the reply.
func TestRedisRefusals(t *testing.T) {
	t.Parallel()
	for text, word := range map[string]string{
		"LOADING Redis is loading the dataset in memory":                                                    "loading its data",
		"READONLY You can't write against a read only replica. script: 7f, on @user_script:4.":              "read-only replica",
		"OOM command not allowed when used memory > 'maxmemory'.":                                           "logins, logouts and deletions are stored",
		"MISCONF Errors writing to the AOF file: No space left on device":                                   "cannot write to its disk",
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.":            "busy with a script",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":                  "lost its master",
		"NOREPLICAS Not enough good replicas to write.":                                                     "lost its master or its replicas",
		"CLUSTERDOWN The cluster is down":                                                                   "lost its master",
		"NOAUTH Authentication required.":                                                                   "refuses this service's login",
		"WRONGPASS invalid username-password pair or user is disabled.":                                     "refuses this service's login",
		"NOPERM User canary-user has no permissions to run the 'xread' command":                             "refuses this service's login",
		"ERR max number of clients reached":                                                                 "takes no more connections",
		"ERR max number of clients + cluster connections reached, canary":                                   "takes no more connections",
		"TRYAGAIN Multiple keys request during rehashing of slot":                                           "lost its master",
		"UNKILLABLE Sorry the script already executed write commands against the dataset. canary of a key.": "busy with a script",
	} {
		t.Run(strings.Fields(text)[0], func(t *testing.T) {
			t.Parallel()
			b := setupWithout(t)
			wrapped := fmt.Errorf("list: dial 10.9.8.7:6379: %w", replyError(text))
			b.engine.set(func(e *fakeEngine) { e.err = wrapped })
			b.events.set(func(e *fakeEvents) { e.err = wrapped })
			for _, call := range []struct{ method, path, body string }{
				{"GET", "/v1/credentials", ""},
				{"GET", "/v1/credentials/acct-1", ""},
				{"PUT", "/v1/credentials/acct-1", login},
				{"POST", "/v1/credentials/acct-1/logout", ""},
				{"DELETE", "/v1/credentials/acct-1", ""},
				{"GET", "/v1/events?cursor=0", ""},
			} {
				checkUnavailable(t, b.call(t, call.method, call.path, call.body, "Accept", "application/json"), word)
			}
			// The engine has a reason of its own beside it.
			b.engine.set(func(e *fakeEngine) {
				e.err = &api.FaultError{Kind: api.FaultUnavailable, Detail: "no valid token can be had now", Err: wrapped}
			})
			checkUnavailable(t, b.call(t, "GET", "/v1/credentials/acct-1/token", ""), word)
			checkUnavailable(t, b.call(t, "POST", "/v1/credentials/acct-1/refresh", ""), word)
			assert.NotContains(t, b.log.String(), `"level":"error"`)
		})
	}
}

func checkUnavailable(t *testing.T, got answer, word string) {
	t.Helper()
	require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
	p := got.problem(t)
	assert.Equal(t, "unavailable", p.Code)
	assert.Contains(t, p.Detail, word)
	assert.NotEmpty(t, got.header.Get("Retry-After"))
	for _, shown := range []string{"canary", "10.9.8.7", "script:", "No space"} {
		assert.NotContains(t, got.body, shown)
	}
}

// What waiting does not mend stays a fault of the service, and so does a
// refusal that stands in no reply of Redis.
func TestOtherErrorsAreTheServicesFault(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		replyError("WRONGTYPE Operation against a key holding the wrong kind of value"),
		replyError("ERR unknown command 'XREAD'"),
		replyError(""),
		errors.New("READONLY: in somebody's text"),
	} {
		b := setupWithout(t)
		b.engine.set(func(e *fakeEngine) { e.err = err })
		got := b.call(t, http.MethodGet, "/v1/credentials", "")
		require.Equal(t, http.StatusInternalServerError, got.status, err)
		assert.Equal(t, "internal", got.problem(t).Code)
		assert.Contains(t, b.log.String(), `"level":"error"`)
	}
	b := setupWithout(t)
	b.engine.set(func(e *fakeEngine) { e.err = fmt.Errorf("read: %w", io.ErrUnexpectedEOF) })
	checkUnavailable(t, b.call(t, http.MethodGet, "/v1/credentials", ""), "Redis cannot be reached, and this needs it: start it")

	// Who is not known yet hears the same.
	b = setup(t)
	b.keys.mu.Lock()
	b.keys.err = fmt.Errorf("find a key: %w", timeoutError{})
	b.keys.mu.Unlock()
	got := b.call(t, http.MethodGet, "/v1/credentials", "", "Authorization", "Bearer "+b.keys.add("", api.ScopeAdmin))
	checkUnavailable(t, got, "the key cannot be checked now: Redis cannot be reached")
}

// A disk that is full is told, to the caller and in the log.
func TestFullDiskIsTold(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		b := setupWithout(t)
		full := fmt.Errorf("journal /canary/of/a/path: %w", &os.PathError{Op: "write", Path: "canary", Err: cause})
		b.engine.set(func(e *fakeEngine) {
			e.err = &api.FaultError{Kind: api.FaultUnavailable, Detail: "no valid token can be had now", Err: full}
		})
		checkUnavailable(t, b.call(t, http.MethodPost, "/v1/credentials/acct-1/refresh", ""),
			"the disk of this service is full, and nothing is begun whose outcome it could not keep; make room on the disk of data_dir")
		assert.Contains(t, b.log.String(), `"level":"warn"`)
		assert.Contains(t, b.log.String(), "/canary/of/a/path", "for the operator")
	}
}

// unreadable is what a store returns beside a page some of whose records it
// cannot read.
type unreadable []credential.ID

func (u unreadable) Error() string           { return "1 of 2 credentials failed: canary of a cause" }
func (u unreadable) Failed() []credential.ID { return u }

// One record that cannot be read does not hide the others.
func TestListWithARecordThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	b.engine.set(func(e *fakeEngine) { e.besides = fmt.Errorf("list: %w", unreadable{"acct-0"}) })
	got := b.call(t, http.MethodGet, "/v1/credentials", "")
	require.Equal(t, http.StatusOK, got.status, got.body)
	var page struct {
		Credentials []struct{ ID string }
		Unreadable  []string
	}
	got.decode(t, &page)
	require.Len(t, page.Credentials, 1)
	assert.Equal(t, "acct-1", page.Credentials[0].ID)
	assert.Equal(t, []string{"acct-0"}, page.Unreadable)
	assert.NotContains(t, got.body, "canary")
	assert.Contains(t, b.log.String(), "canary of a cause")

	b.engine.set(func(e *fakeEngine) { e.besides = nil })
	assert.NotContains(t, b.call(t, http.MethodGet, "/v1/credentials", "").body, "unreadable")
}
