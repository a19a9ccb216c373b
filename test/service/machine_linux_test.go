package service

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// A process that has no file descriptor left for a while takes no connection
// and makes no call. It goes on when there are some again, and nobody was
// logged out meanwhile.
func TestNoFileDescriptors(t *testing.T) {
	t.Parallel()
	const limit, count = 80, 6
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	h := newHouse(t, newProvider(t, providerOptions{Options: practice.Options{AccessTTL: 6 * time.Second}}), redis.URL())
	h.save()
	p := testproc.Start(t, testproc.Options{
		Path: "/bin/sh", Args: []string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" serve`, limit), program(t)}, Dir: h.dir,
		Ready: readyLine, ReadyTimeout: patience, OutputLimit: 32 << 20,
	})
	address := p.ReadyMatch()[1]
	at := newAPI(t, "http://"+address, h.adminKey())
	h.login(at, count)

	// Connections take what is left, those that are given up are replaced.
	var held []net.Conn
	release := func() {
		for _, c := range held {
			_ = c.Close() // the service may have closed it
		}
		held = nil
	}
	defer release()
	descriptors := func() int {
		list, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(p.PID()), "fd"))
		require.NoError(t, err)
		return len(list)
	}
	for range 2 * limit {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		require.NoError(t, err) // the kernel takes it, the service need not
		held = append(held, c)
	}
	eventually(t, patience, func() (bool, string) {
		n := descriptors()
		return n >= limit-1, fmt.Sprintf("%d of %d descriptors are taken", n, limit)
	})
	release()
	eventually(t, patience, func() (bool, string) {
		status, detail := at.answers(t, http.MethodGet, "/v1/credentials", nil)
		return status == http.StatusOK, fmt.Sprintf("%d %s", status, detail)
	})
	awaitGeneration(t, at, count, 3)
	at.awaitState(t, "active", count)
	sum := h.provider.Summary()
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.GrantsDead)
	_, err := p.Stop()
	require.NoError(t, err)
	assert.NotContains(t, p.String(), "panic")
}

// smallDisk mounts a file system of so many bytes over the folder, which needs
// the right to mount.
func smallDisk(t *testing.T, dir string, size int) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("a small file system cannot be mounted (%v): run the tests as root", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
}

// With a full disk there is no room for a reply, so nothing is presented that
// could not be kept: logins and refreshes are 503, tokens that are valid go on
// being served, and all is well once there is room.
func TestFullDiskUnderTheJournal(t *testing.T) {
	t.Parallel()
	const count = 3
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	h := newHouse(t, newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}}), redis.URL())
	data := filepath.Join(h.dir, "data")
	smallDisk(t, data, 24<<20)
	tr := &trouble{house: h, instance: h.start()}
	tr.minted = h.login(tr.api, count)
	require.NoError(t, tr.Refresh(t.Context(), credentialID(0)))

	filler := filepath.Join(data, "filler")
	f, err := os.Create(filler)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	// The journal has some room of its own ahead. Large logins use it up.
	large := map[string]any{"provider": providerName, "token": map[string]any{"access_token": strings.Repeat("a", 60<<10), "expires_in": 3600}}
	refused := false
	for n := 0; !refused; n++ {
		status, detail := tr.answers(t, http.MethodPut, harness.CredentialPath(fmt.Sprintf("acme:large-%d", n)), large)
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, status, detail)
		refused = status == http.StatusServiceUnavailable
		require.Less(t, n, 2000, "the journal has room without end")
	}
	before := tr.provider.Summary().Presentations
	for range 3 {
		status, detail := tr.answers(t, http.MethodPost, harness.CredentialPath(credentialID(1))+"/refresh", nil)
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Contains(t, detail, "the disk of this service is full")
	}
	assert.Equal(t, before, tr.provider.Summary().Presentations, "nothing was presented whose reply could not be kept")
	tr.says(t, `"level":"warn".*no space left on device.*free some on its disk`)
	_, err = tr.Token(t.Context(), credentialID(2), 0)
	require.NoError(t, err, "what is valid is served")

	require.NoError(t, os.Remove(filler))
	for n := range count {
		eventually(t, patience, func() (bool, string) {
			status, detail := tr.answers(t, http.MethodPost, harness.CredentialPath(credentialID(n))+"/refresh", nil)
			return status == http.StatusOK, fmt.Sprintf("%d %s", status, detail)
		})
	}
	sum := tr.provider.Summary()
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.GrantsDead)
	assert.Zero(t, sum.GenerationsPresentedTwice)
	_, err = tr.Stop()
	require.NoError(t, err, "before its folder goes")
}

// A journal on a small disk that it has for itself never fills that for good. Where
// somebody else takes the rest it is told, and all goes on once that is free again.
func TestSmallDiskUnderTheJournal(t *testing.T) {
	t.Parallel()
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	h := newHouse(t, newProvider(t, providerOptions{Options: practice.Options{AccessTTL: time.Hour}}), redis.URL())
	data := filepath.Join(h.dir, "data")
	smallDisk(t, data, 3<<20)
	tr := &trouble{house: h, instance: h.start()}
	tr.minted = h.login(tr.api, 1)
	puts := 0
	put := func() (int, string) {
		puts++ // what is stored already needs no journal
		token := fmt.Sprintf("%d-%s", puts, strings.Repeat("a", 60<<10))
		return tr.answers(t, http.MethodPut, harness.CredentialPath("acme:large"), map[string]any{
			"provider": providerName, "token": map[string]any{"access_token": token, "expires_in": 3600},
		})
	}
	for range 150 { // three times the disk
		eventually(t, patience, func() (bool, string) {
			status, detail := put()
			return status == http.StatusOK, fmt.Sprintf("%d %s", status, detail)
		})
	}

	filler := filepath.Join(data, "filler")
	full := func() {
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		require.NoError(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4<<10))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, f.Close())
	}
	eventually(t, patience, func() (bool, string) {
		full()
		status, detail := put()
		return status == http.StatusServiceUnavailable && strings.Contains(detail, "make room on the disk of data_dir") && !strings.Contains(detail, "Redis"),
			fmt.Sprintf("%d %s", status, detail)
	})
	eventually(t, patience, func() (bool, string) {
		full()
		status, detail := tr.answers(t, http.MethodPost, harness.CredentialPath(credentialID(0))+"/refresh", nil)
		var told struct {
			Ready    bool
			Findings []struct{ Topic, Severity, Remedy string }
		}
		require.NoError(t, tr.Call(t.Context(), http.MethodGet, "/readyz", nil, &told))
		return status == http.StatusServiceUnavailable && !strings.Contains(detail, "Redis") &&
			told.Ready && len(told.Findings) > 0 && told.Findings[0].Topic == "journal", fmt.Sprintf("%d %s %+v", status, detail, told)
	})
	require.NoError(t, os.Remove(filler))
	require.NoError(t, tr.Kill())
	tr.instance = h.start()
	eventually(t, patience, func() (bool, string) {
		status, detail := tr.answers(t, http.MethodPost, harness.CredentialPath(credentialID(0))+"/refresh", nil)
		return status == http.StatusOK, fmt.Sprintf("%d %s", status, detail)
	})
	sum := tr.provider.Summary()
	assert.Empty(t, sum.Violations)
	assert.Zero(t, sum.GenerationsPresentedTwice)
	_, err := tr.Stop()
	require.NoError(t, err, "before its folder goes")
}
