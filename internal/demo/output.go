package demo

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

const (
	// redrawEvery is how often a terminal's countdowns are drawn anew.
	redrawEvery = 250 * time.Millisecond
	// sumEvery is how often lines are summed up.
	sumEvery = 5 * time.Second
)

// output is how the demo shows the board. The first write that fails ends the
// demo: nobody watches any more.
type output struct {
	to       io.Writer
	terminal int // its file descriptor, or -1
	view     view
	err      error
}

func newOutput(o Options) *output {
	out := &output{to: o.Out, terminal: -1, view: view{Title: title(o), Color: o.env("NO_COLOR") == ""}}
	if f, ok := o.Out.(*os.File); ok && o.env("TERM") != "dumb" {
		if fd := int(f.Fd()); term.IsTerminal(fd) {
			out.terminal = fd
		}
	}
	return out
}

func (o *output) live() bool { return o.terminal >= 0 }

// every is how often tick wants to be called.
func (o *output) every() time.Duration {
	if o.live() {
		return redrawEvery
	}
	return sumEvery
}

func (o *output) write(text string) {
	if o.err == nil {
		_, o.err = io.WriteString(o.to, text)
	}
}

func (o *output) line(text string) { o.write(text + "\n") }

// begin shows where everything is.
func (o *output) begin(p place) {
	o.view.Place = p
	if o.live() {
		o.write(escHideCursor + escClear)
		return
	}
	o.line(o.view.Title)
	for _, line := range p.intro() {
		o.line("  " + line)
	}
}

// event shows what has happened; a terminal sees it with the next tick.
func (o *output) event(e event) {
	if !o.live() {
		o.line(eventLine(e, time.Local))
	}
}

// notice shows what the demo itself has done.
func (o *output) notice(text string, now time.Time) {
	if !o.live() {
		o.line(now.Format(clockFormat) + "  -- " + text)
	}
}

// tick shows the board.
func (o *output) tick(b *board, now time.Time) {
	if !o.live() {
		o.line(summaryLine(b, now))
		return
	}
	width, height, err := term.GetSize(o.terminal)
	if err != nil || width < 1 || height < 1 {
		width, height = 80, 24
	}
	o.view.Width, o.view.Height = width, height
	o.write(o.view.frame(b, now))
}

// end gives the terminal back.
func (o *output) end() {
	if o.live() {
		o.write(escPlain + escShowCursor + "\r\n")
	}
}

// title is the first line.
func title(o Options) string {
	text := fmt.Sprintf("practice demo: refreshd keeps %d tokens of %s fresh", o.Credentials, o.AccessTTL)
	if o.For > 0 {
		return text + fmt.Sprintf(" for %s", o.For)
	}
	return text + "; Ctrl-C ends it"
}
