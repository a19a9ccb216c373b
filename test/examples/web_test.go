package examples

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice/backends"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
)

// screenshots names a folder for pictures of the page; none are taken without.
const screenshots = "EXAMPLES_SCREENSHOTS"

// browser is a page in a real browser.
type browser struct {
	t    *testing.T
	tab  context.Context //nolint:containedctx // chromedp keeps a tab in a context
	urls chan string     // of requests
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("chromium is not on PATH; install it (Debian: apt-get install chromium)")
	}
	require.NoError(t, err)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	browserCtx, closeBrowser := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	tab, closeTab := chromedp.NewContext(browserCtx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(tab) // waits until the browser has ended
		closeTab()
		closeBrowser()
	})
	b := &browser{t: t, tab: tab, urls: make(chan string, 1000)}
	require.NoError(t, chromedp.Listen(tab, func(event any) {
		if sent, ok := event.(*network.EventRequestWillBeSent); ok {
			b.urls <- sent.Request.URL
		}
	}))
	return b
}

// ask acts on the page, and returns what comes of it.
func ask[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, harness.Patience)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	require.NoError(b.t, err)
	return result
}

// shows waits until an element's text matches, and returns it; "" is that of a
// hidden one.
func (b *browser) shows(id, pattern string) string {
	b.t.Helper()
	re := regexp.MustCompile(pattern)
	var text string
	harness.Eventually(b.t, harness.Patience, func() (bool, string) {
		text = ask(b, chromedp.Evaluate[string](`((e) => e.hidden ? "" : e.innerText)(document.getElementById("`+id+`"))`))
		return re.MatchString(text), fmt.Sprintf("%s shows %q", id, text)
	})
	return text
}

// left returns what the countdown shows, in seconds.
func (b *browser) left() int {
	b.t.Helper()
	minutes, seconds, _ := strings.Cut(b.shows("left", `^\d+:\d\d$`), ":")
	m, err := strconv.Atoi(minutes)
	require.NoError(b.t, err)
	s, err := strconv.Atoi(seconds)
	require.NoError(b.t, err)
	return 60*m + s
}

// picture takes one, where they are wanted.
func (b *browser) picture(name string) {
	b.t.Helper()
	dir := os.Getenv(screenshots)
	if dir == "" {
		return
	}
	require.NoError(b.t, os.WriteFile(dir+"/"+name+".png", ask(b, chromedp.CaptureScreenshot()), 0o600)) //nolint:gosec // a folder that whoever runs the test names
}

func TestWeb(t *testing.T) {
	t.Parallel()
	page := newBrowser(t)
	const idle = 40 * time.Second
	e := newEstate(t, "air", backends.Options{Kind: backends.KindHeader, Idle: idle}, map[string]any{"warn_before": "36s", "on_active": "end"})
	e.open()
	e.Config["listen"] = strings.TrimPrefix(e.Base, "http://") // the page finds it there again
	login := func(name string) {
		body := map[string]any{
			"provider": "air", "labels": map[string]string{"user": name}, "login": map[string]any{"username": name, "password": password},
		}
		require.NoError(t, e.Call(t.Context(), http.MethodPut, harness.CredentialPath("air:"+name), body, nil))
	}
	e.backend.SetUser("alice2", password, profile)
	login("alice")
	key := e.key("web", "--scope", "token:read", "--scope", "event:read")
	site := testproc.Start(t, testproc.Options{
		Path: build(t, "examples/web"), Args: []string{"--listen", "127.0.0.1:0", "--refreshd", e.Base, "--user", "alice", "--api", e.url + "/me"},
		Env: []string{"REFRESHD_KEY=" + key}, Ready: regexp.MustCompile(`listening on (http://\S+)`),
	}).ReadyMatch()[1]
	e.Config["cors"] = map[string]any{"origins": []string{site}}
	e.close()
	e.open()

	// The state, a countdown that runs, and the question before the end.
	ask(page, chromedp.Navigate(site))
	page.shows("state", `^Signed in$`)
	page.shows("stream", `^live$`)
	first := page.left()
	assert.LessOrEqual(t, first, int(idle/time.Second))
	harness.Eventually(t, harness.Patience, func() (bool, string) { return page.left() < first, "the countdown stands still" })
	page.shows("ask", `still there`)
	page.picture("asked")
	login("alice2") // a user whose events are none of this page's
	uses := len(e.backend.Calls(backends.CallUse, user))
	before := page.left()
	ask(page, chromedp.Click("#yes"))
	page.shows("ask", `^$`)
	harness.Eventually(t, harness.Patience, func() (bool, string) { return page.left() > before, "the session was not touched" })
	assert.Len(t, e.backend.Calls(backends.CallUse, user), uses+1, "it was used at the backend")

	// The service restarts: the page comes back, and misses nothing.
	e.close()
	page.shows("stream", `^reconnecting…$`)
	page.picture("reconnecting")
	e.open()
	e.backend.SetUser(user, "battery staple", profile)
	e.backend.End(user)
	require.Error(t, e.Refresh(t.Context(), e.id))
	page.shows("stream", `^live$`)
	page.shows("state", `^Please sign in again \(\w+\)$`)
	page.shows("left", `^$`)
	page.shows("events", `(?s)credential\.reauth_required → reauth_required`)
	page.picture("reauth")
	e.backend.SetUser(user, password, profile)
	login("alice")
	page.shows("state", `^Signed in$`)
	list := page.shows("events", `^v\d+ credential\.reauthorized → active`)
	page.picture("back")
	last := 0
	for line := range strings.Lines(list) {
		version, err := strconv.Atoi(strings.TrimPrefix(strings.Fields(line)[0], "v"))
		require.NoError(t, err)
		assert.True(t, last == 0 || version == last-1, "an event is missing or came twice:\n%s", list)
		last = version
	}

	page.clean(site, e.Base, append(e.backend.Secrets(), key, e.AdminKey(), password)...)
}

// clean looks for secrets in the page and its requests, and at what it may load.
func (b *browser) clean(site, refreshd string, secrets ...string) {
	b.t.Helper()
	html := ask(b, chromedp.OuterHTML("html"))
	var urls strings.Builder
	streams := 0
	for len(b.urls) > 0 {
		url := <-b.urls
		urls.WriteString(url + "\n")
		assert.True(b.t, strings.HasPrefix(url, site+"/") || strings.HasPrefix(url, refreshd+"/v1/events?ticket=rdt_"), url)
		if strings.HasPrefix(url, refreshd) {
			streams++
		}
	}
	assert.GreaterOrEqual(b.t, streams, 2, "one stream before the restart, and one after it")
	for _, secret := range secrets {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
			assert.NotContains(b.t, html, form)
			assert.NotContains(b.t, urls.String(), form)
		}
	}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, site, http.NoBody)
	require.NoError(b.t, err)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(b.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, res.Body.Close())
	policy := res.Header.Get("Content-Security-Policy")
	assert.Regexp(b.t, `^default-src 'none'; script-src 'nonce-\w+'; style-src 'nonce-\w+'; connect-src 'self' `+regexp.QuoteMeta(refreshd)+`;`, policy)
	assert.NotContains(b.t, string(body), "://", "nothing comes from elsewhere")
}
