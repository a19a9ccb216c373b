package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// column is what all rounds of one subject with one provider have brought.
type column struct {
	head, under string
	rounds      []counts
}

// row is one line of the table.
type row struct {
	label string
	of    func(counts) float64
	unit  string
	kills bool // of runs with a kill alone
}

func rows() []row {
	whole := func(of func(counts) int) func(counts) float64 {
		return func(c counts) float64 { return float64(of(c)) }
	}
	return []row{
		{label: "credentials", of: whole(func(c counts) int { return c.Credentials })},
		{label: "in the air at the same time", of: whole(func(c counts) int { return c.Peak })},
		{label: "in the air at the kill", of: whole(func(c counts) int { return c.InAir }), kills: true},
		{label: "refreshes sent", of: whole(func(c counts) int { return c.Sent })},
		{label: "rotations", of: whole(func(c counts) int { return c.Rotations })},
		{label: "refresh tokens presented twice", of: whole(func(c counts) int { return c.Twice })},
		{label: "families revoked", of: whole(func(c counts) int { return c.Revoked })},
		{label: "answers not delivered", of: whole(func(c counts) int { return c.Undelivered })},
		{label: "credentials lost", of: whole(func(c counts) int { return c.Lost })},
		{label: "  their answer was not delivered", of: whole(func(c counts) int { return c.LostReply })},
		{label: fmt.Sprintf("  answered < %s before the kill", dying), of: whole(func(c counts) int { return c.LostDying }), kills: true},
		{label: "  neither: lost by the subject", of: whole(func(c counts) int { return c.LostUnexcused })},
		{label: "left undecided", of: whole(func(c counts) int { return c.Unsettled })},
		{label: "at rest again after", of: func(c counts) float64 { return c.Rest }, unit: " s"},
	}
}

// spread tells the median and, where they differ, the ends of the values. The
// median of an even number of values is the mean of the middle two.
func spread(values []float64, unit string) string {
	if len(values) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	number := func(v float64) string {
		if v == float64(int64(v)) && unit == "" {
			return fmt.Sprintf("%.0f", v)
		}
		return fmt.Sprintf("%.1f", v)
	}
	text := number(median) + unit
	if sorted[0] != sorted[len(sorted)-1] {
		text += " (" + number(sorted[0]) + "-" + number(sorted[len(sorted)-1]) + ")"
	}
	return text
}

// table shows the columns to people, aligned.
func table(scenario string, columns []column) string {
	lines := [][]string{{""}, {""}}
	for _, c := range columns {
		lines[0] = append(lines[0], c.head)
		lines[1] = append(lines[1], c.under)
	}
	for _, r := range rows() {
		if r.kills && scenario != scenarioKill {
			continue
		}
		line := []string{r.label}
		for _, c := range columns {
			var values []float64
			for _, round := range c.rounds {
				values = append(values, r.of(round))
			}
			line = append(line, spread(values, r.unit))
		}
		lines = append(lines, line)
	}
	return aligned(lines)
}

// aligned pads all cells of a column to one width: the first to the left, the
// others to the right.
func aligned(lines [][]string) string {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("   " + pad + cell)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
