package config

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong.
type Problem struct {
	Where string // config.yaml:12, or the environment variable
	Key   string // the path of the key, such as providers.acme.fetch; "" for the file as a whole
	Text  string // what is wrong, and the remedy; never the value of a secret
}

// String is one line.
func (p Problem) String() string {
	if p.Key == "" {
		return p.Where + ": " + p.Text
	}
	return p.Where + ": " + p.Key + ": " + p.Text
}

// byPlace sorts by the line of the file, then by key. What has no line, such
// as an environment variable, comes last.
func byPlace(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.line(), b.line()), cmp.Compare(a.Key, b.Key))
}

func (p Problem) line() int {
	n, err := strconv.Atoi(p.Where[strings.LastIndexByte(p.Where, ':')+1:])
	if err != nil {
		return math.MaxInt
	}
	return n
}

// InvalidError lists everything that is wrong with a configuration, in the
// order of the file.
type InvalidError struct {
	Problems []Problem
}

// Error has a line for each problem.
func (e *InvalidError) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("the configuration has a problem:")
	} else {
		fmt.Fprintf(&b, "the configuration has %d problems:", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  ")
		b.WriteString(p.String())
	}
	return b.String()
}
