package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// say tells a person something, on the standard error. There is nobody left to
// tell that it failed.
func (p *program) say(format string, values ...any) {
	_, _ = fmt.Fprintf(p.errOut, "refreshd: "+format+"\n", values...)
}

// table collects rows and prints them aligned; what fails shows when it is
// flushed.
type table struct{ *tabwriter.Writer }

func (p *program) table(header string) table {
	t := table{tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)}
	t.row("%s", header)
	return t
}

func (t table) row(format string, values ...any) {
	_, _ = fmt.Fprintf(t, format+"\n", values...)
}

// printJSON prints data indented.
func (p *program) printJSON(data []byte) error {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, data, "", "  "); err != nil {
		return err
	}
	pretty.WriteByte('\n')
	_, err := p.out.Write(pretty.Bytes())
	return err
}

// printRecords prints a table; trouble is what is noted of a record's last attempt.
func (p *program) printRecords(list []record, held pauses, trouble func(record) []string) error {
	w := p.table("ID\tPROVIDER\tSTATE\tREASON\tVERSION\tEXPIRES IN\tDUE IN\tNOTES")
	for _, one := range list {
		state := one.State
		if one.InDoubt {
			state += " (in doubt)"
		}
		notes := slices.Concat(held.notes(one), one.notes(), trouble(one))
		w.row("%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s", one.ID, one.Provider, state, dash(one.reason()), one.Version,
			until(one.ExpiresAt), until(held.due(one)), dash(strings.Join(notes, ", ")))
	}
	return w.Flush()
}

// notes are what else is to be known of a record, in a few words.
func (r record) notes() []string {
	var list []string
	if r.OnceAt != nil {
		list = append(list, "refresh asked for "+in(r.OnceAt))
	}
	if r.Session != nil {
		list = append(list, "session")
	}
	if r.Presence != "" {
		list = append(list, r.Presence)
	}
	if r.HasLogin {
		list = append(list, "login kept")
	}
	if r.Learned > 0 {
		list = append(list, "learned to live "+(time.Duration(r.Learned)*time.Second).String())
	}
	return list
}

// brief notes in a word how the last attempt failed, where the record's reason is
// another one.
func (r record) brief() []string {
	if f := r.failed(); f != nil && f.Reason != r.reason() {
		return []string{"last failure " + f.Reason}
	}
	return nil
}

// account notes what became of the last attempt: that its reply is unknown, when and
// why it failed, and what the provider said.
func (r record) account() []string {
	var list []string
	if r.InDoubt {
		list = append(list, "sent, its reply is unknown")
	}
	if f := r.failed(); f != nil {
		list = append(list, fmt.Sprintf("last failure %s ago: %s", max(time.Since(f.At), 0).Round(time.Second), f))
	}
	return list
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// until says how far away a moment is, now if it has passed.
func until(at *time.Time) string {
	if at == nil {
		return "-"
	}
	left := time.Until(*at).Round(time.Second)
	if left <= 0 {
		return "now"
	}
	return left.String()
}

// in says when at is, as the end of a sentence.
func in(at *time.Time) string {
	if left := until(at); left != "now" {
		return "in " + left
	}
	return "now"
}

// count says how many there are of something whose plural ends in s.
func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
