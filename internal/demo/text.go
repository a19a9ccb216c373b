package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
)

// place says where everything is that the demo has started.
type place struct {
	API      string // base URL
	Provider string // base URL
	AdminKey string // path of the file
	Log      string // path of the file
	Store    string // what keeps the data
}

// intro is the lines that say where everything is.
func (p place) intro() []string {
	return []string{
		"API        " + p.API + "/v1/   (described at /openapi.json)",
		"dashboard  " + p.API + "/monitoring/   (any user, password = admin key)",
		"admin key  " + p.AdminKey,
		"provider   " + p.Provider + "   (its ledger: /admin/ledger/summary)",
		"store      " + p.Store,
		"log        " + p.Log,
	}
}

const clockFormat = "15:04:05.000"

// eventLine tells one event in a line.
func eventLine(e event, zone *time.Location) string {
	id := e.ID
	if id == "" {
		id = "-"
	}
	line := fmt.Sprintf("%s  %-24s %-10s", e.At.In(zone).Format(clockFormat), e.Type, id)
	if e.Version > 0 {
		line += fmt.Sprintf(" v%-3d", e.Version)
	}
	switch {
	case e.State == "":
	case e.Previous == "" || e.Previous == e.State:
		line += " " + string(e.State)
	default:
		line += fmt.Sprintf(" %s -> %s", e.Previous, e.State)
	}
	if e.Reason != "" {
		line += " (" + e.Reason + ")"
	}
	if !e.Expires.IsZero() {
		line += ", expires in " + left(e.Expires, e.At)
	}
	return strings.TrimRight(line, " ")
}

// left is the time until expiry, in seconds as far as they say enough.
func left(expires, now time.Time) string {
	switch d := expires.Sub(now); {
	case expires.IsZero():
		return "-"
	case d <= 0:
		return "over"
	case d < 100*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return d.Truncate(time.Second).String()
	}
}

// countsText tells how many credentials are in each state.
func countsText(counts map[credential.State]int) string {
	var parts []string
	for _, state := range credential.States() {
		if n := counts[state]; n > 0 || state == credential.StateActive {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(parts, ", ")
}

// ratesText tells how much happens.
func ratesText(b *board, now time.Time) string {
	return fmt.Sprintf("%d refreshes, %.1f/s over %s", b.refreshed(), b.rate(now), rateOver)
}

// summaryLine is the line that a reader of lines gets now and then.
func summaryLine(b *board, now time.Time) string {
	return fmt.Sprintf("%s  == %s; %s; %s", now.Format(clockFormat), countsText(b.counts()), ratesText(b, now), ledgerText(b.provider))
}

// ledgerText tells what the provider's ledger says about refreshd's care.
func ledgerText(s practice.Summary) string {
	return fmt.Sprintf("provider: %d rotations, %s presented twice, %s", s.Rotations,
		plural(s.GenerationsPresentedTwice, "generation"), plural(s.GrantsDead, "dead grant"))
}

func plural(n int64, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}
