package demo

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/practice"
)

func somewhere() place {
	return place{
		API: "http://127.0.0.1:7420", Provider: "http://127.0.0.1:7421",
		AdminKey: "/tmp/demo/data/admin.key", Log: "/tmp/demo/refreshd.log", Store: "embedded-server",
	}
}

func filled(n int) *board {
	b := newBoard()
	b.provider = practice.Summary{Rotations: 12}
	b.notice = "11:59:57.000  the provider answers 503 for 3s"
	for i := range n {
		b.took(refreshed(fmt.Sprintf("user-%02d", i+1), 2, 5*time.Second))
	}
	b.took(degraded("user-02", 2*time.Second))
	return b
}

func TestScreen(t *testing.T) {
	t.Parallel()
	v := view{Title: "practice demo", Place: somewhere(), Width: 80, Height: 24}
	want := `practice demo
API        http://127.0.0.1:7420/v1/   (described at /openapi.json)
dashboard  http://127.0.0.1:7420/monitoring/   (any user, password = admin key)
admin key  /tmp/demo/data/admin.key
provider   http://127.0.0.1:7421   (its ledger: /admin/ledger/summary)
store      embedded-server
log        /tmp/demo/refreshd.log

3 active, 1 degraded; 4 refreshes, 0.4/s over 10s
provider: 12 rotations, 0 generations presented twice, 0 dead grants
11:59:57.000  the provider answers 503 for 3s

credential   state           version expires in  last event
user-02      degraded              3       4.0s  degraded 2s ago
user-01      active                2      15.0s  refreshed 5s ago
user-03      active                2      15.0s  refreshed 5s ago
user-04      active                2      15.0s  refreshed 5s ago

last events
11:59:58.000  credential.degraded      user-02    v3   active -> degraded (provi
11:59:55.000  credential.refreshed     user-04    v2   active, expires in 20.0s
11:59:55.000  credential.refreshed     user-03    v2   active, expires in 20.0s
11:59:55.000  credential.refreshed     user-02    v2   active, expires in 20.0s
11:59:55.000  credential.refreshed     user-01    v2   active, expires in 20.0s`
	assert.Equal(t, want, trimmed(v.lines(filled(4), noon())))
}

func TestScreenLeavesOutWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	v := view{Title: "practice demo", Place: somewhere(), Width: 136, Height: 24}
	text := trimmed(v.lines(filled(50), noon()))
	assert.Contains(t, text, `
user-02      degraded              3       4.0s  degraded 2s ago    user-01      active                2      15.0s  refreshed 5s ago
user-03`)
	assert.Contains(t, text, "\n… and 40 more; a taller terminal shows them\n")
	assert.Equal(t, 3, strings.Count(text[strings.Index(text, "last events"):], "credential."), "the newest events keep their place")
}

// Every size of terminal gets what fits, and no line wraps.
func TestScreenFitsEverySize(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 7, 50} {
		b := filled(n)
		for height := 1; height <= 90; height++ {
			for _, width := range []int{1, 10, 67, 68, 80, 135, 136, 250} {
				v := view{Title: "practice demo", Place: somewhere(), Width: width, Height: height}
				lines := v.lines(b, noon())
				assert.LessOrEqual(t, len(lines), height)
				for _, line := range lines {
					assert.LessOrEqual(t, utf8.RuneCountInString(line), width, "%d credentials on %dx%d: %q", n, width, height, line)
				}
			}
		}
	}
}

func TestTallScreenShowsAll(t *testing.T) {
	t.Parallel()
	v := view{Place: somewhere(), Width: 80, Height: 75}
	text := trimmed(v.lines(filled(50), noon()))
	assert.NotContains(t, text, "more;")
	assert.Contains(t, text, "\nuser-50 ")
}

func TestColours(t *testing.T) {
	t.Parallel()
	v := view{Title: "practice demo", Place: somewhere(), Width: 80, Height: 24, Color: true}
	frame := v.frame(filled(4), noon())
	assert.True(t, strings.HasPrefix(frame, escHome+escBold+"practice demo"+escPlain+escLineEnd+"\r\n"))
	assert.Contains(t, frame, escYellow+"user-02 ")
	assert.True(t, strings.HasSuffix(frame, escLineEnd+escBelow), "no line break at the end, it would scroll")

	v.Color = false
	assert.NotRegexp(t, "\x1b\\[[0-9]*m", v.frame(filled(4), noon()))
}

func trimmed(lines []string) string {
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
