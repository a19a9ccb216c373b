package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/refreshd/refreshd/internal/credential"
)

// Control sequences of ECMA-48, as every terminal of today takes them.
const (
	escClear      = "\x1b[2J"
	escHome       = "\x1b[H"
	escLineEnd    = "\x1b[K" // clears the rest of the line
	escBelow      = "\x1b[J" // clears the rest of the screen
	escHideCursor = "\x1b[?25l"
	escShowCursor = "\x1b[?25h"
	escPlain      = "\x1b[0m"
	escBold       = "\x1b[1m"
	escDim        = "\x1b[2m"
	escRed        = "\x1b[31m"
	escGreen      = "\x1b[32m"
	escYellow     = "\x1b[33m"
)

// view is what is drawn, and onto what.
type view struct {
	Title         string
	Place         place
	Width, Height int
	Color         bool
}

// minCell is the smallest width of a row of the table; a wide terminal shows
// several rows side by side.
const minCell = 68

// lines draws the board. There are at most Height lines, of at most Width
// characters each, control sequences not counted.
func (v view) lines(b *board, now time.Time) []string {
	rows, events := b.sorted(), b.events
	out := []string{v.paint(escBold, v.cut(v.Title))}
	for _, line := range v.Place.intro() {
		out = append(out, v.paint(escDim, v.cut(line)))
	}
	out = append(out, "", v.cut(countsText(b.counts())+"; "+ratesText(b, now)), v.cut(ledgerText(b.provider)))
	out = append(out, v.cut(b.notice), "")

	room := v.Height - len(out) - 3 // without the heads of the table and of the events, and the line between
	shown := min(len(events), max(room/3, 1))
	if need := v.tableHeight(len(rows)) + shown; need < room {
		shown = min(len(events), room-v.tableHeight(len(rows)))
	}
	out = append(out, v.table(rows, room-shown, now)...)
	out = append(out, "", v.paint(escBold, v.cut("last events")))
	for _, e := range slices.Backward(events[len(events)-shown:]) {
		out = append(out, v.paint(styleOf(e.State, e.Type), v.cut(eventLine(e, now.Location()))))
	}
	return out[:min(len(out), max(v.Height, 0))]
}

// frame is lines as one text that replaces what the terminal showed before.
func (v view) frame(b *board, now time.Time) string {
	// A line break behind the last line would scroll a full screen.
	return escHome + strings.Join(v.lines(b, now), escLineEnd+"\r\n") + escLineEnd + escBelow
}

// columns is how many rows of the table stand side by side.
func (v view) columns() int { return max(v.Width/minCell, 1) }

// tableHeight is how many lines n rows take.
func (v view) tableHeight(n int) int { return (n + v.columns() - 1) / v.columns() }

// table draws the head and as many rows as fit in height lines, from left to
// right. The last line says how many are left out.
func (v view) table(rows []row, height int, now time.Time) []string {
	columns := v.columns()
	width := v.Width / columns
	hidden := 0
	if v.tableHeight(len(rows)) > height {
		fit := max(height-1, 0) * columns
		hidden, rows = len(rows)-fit, rows[:fit]
	}
	head := cell("credential", "state", "version", "expires in", "last event", width)
	out := []string{v.paint(escBold, strings.TrimRight(strings.Repeat(head, columns), " "))}
	for line := range slices.Chunk(rows, columns) {
		var text strings.Builder
		for _, r := range line {
			last := ""
			if r.Last != "" {
				last = strings.TrimPrefix(string(r.Last), "credential.") + " " + ago(now.Sub(r.At))
			}
			text.WriteString(v.paint(styleOf(r.State, r.Last), cell(r.ID, string(r.State), fmt.Sprint(r.Version), left(r.Expires, now), last, width)))
		}
		out = append(out, text.String())
	}
	if hidden > 0 {
		out = append(out, v.cut(fmt.Sprintf("… and %d more; a taller terminal shows them", hidden)))
	}
	return out
}

// ago is how long ago something was.
func ago(d time.Duration) string { return fmt.Sprintf("%.0fs ago", max(d.Seconds(), 0)) }

// cell is one row of the table, width characters wide with a space at its end.
func cell(id, state, version, expires, last string, width int) string {
	return fit(fmt.Sprintf("%-12s %-15s %7s %10s  %s", fit(id, 12), state, version, expires, last), width-1) + " "
}

// fit pads or cuts text to width characters.
func fit(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
}

func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(width, 0)])
}

func (v view) cut(text string) string { return cut(text, v.Width) }

// paint colours text, unless there are to be no colours.
func (v view) paint(style, text string) string {
	if !v.Color || style == "" || text == "" {
		return text
	}
	return style + text + escPlain
}

// styleOf is how a credential in a state, or what has just happened, is drawn.
func styleOf(state credential.State, last credential.EventType) string {
	switch state {
	case credential.StateActive:
		if last == credential.EventRecovered {
			return escGreen
		}
		return ""
	case credential.StateDegraded, credential.StatePending:
		return escYellow
	case credential.StateExpired, credential.StateReauthRequired:
		return escRed
	case credential.StateLoggedOut, credential.StateDeleted:
		return escDim
	default:
		return ""
	}
}
