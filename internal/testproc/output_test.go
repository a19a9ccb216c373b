package testproc

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func write(t require.TestingT, s *stream, text string) {
	n, err := s.Write([]byte(text))
	require.NoError(t, err)
	require.Len(t, text, n)
}

func TestStreamsDoNotMixWithinALine(t *testing.T) {
	t.Parallel()
	out := newOutput(1000)
	stdout, stderr := &stream{out: out}, &stream{out: out}
	write(t, stdout, "half ")
	write(t, stderr, "whole\n")
	write(t, stdout, "and half\nrest")
	assert.Equal(t, "whole\nhalf and half\n", out.String())
	stdout.flush()
	stdout.flush()
	assert.Equal(t, "whole\nhalf and half\nrest\n", out.String())
	write(t, stderr, strings.Repeat("x", maxPart+1))
	assert.Contains(t, out.String(), "before this were dropped", "a line without an end is not held back for ever")
}

// Whatever arrives in whatever pieces, the newest whole lines are kept, within
// the limit, and what was dropped is counted to the byte.
func TestOutputKeepsTheNewestWholeLines(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		lines := rapid.SliceOf(rapid.StringMatching(`[a-z]{0,40}`)).Draw(t, "lines")
		out := newOutput(limit)
		s := &stream{out: out}
		all := ""
		for _, line := range lines {
			all += line + "\n"
		}
		for rest := all; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			write(t, s, rest[:n])
			rest = rest[n:]
		}
		kept := string(out.text)
		require.LessOrEqual(t, len(kept), limit)
		require.True(t, strings.HasSuffix(all, kept))
		require.Equal(t, len(all), len(kept)+int(out.dropped))
		before := all[:len(all)-len(kept)]
		require.True(t, before == "" || strings.HasSuffix(before, "\n"), "cut at the start of a line")
		if out.dropped > 0 {
			require.Equal(t, fmt.Sprintf("(%d bytes before this were dropped)\n%s", out.dropped, kept), out.String())
		}
	})
}

func TestFindGoesOnWhereItLeftOff(t *testing.T) {
	t.Parallel()
	out := newOutput(40)
	out.add([]byte("one 1\n"))
	re := regexp.MustCompile(`two (\d)`)
	match, next, changed := out.find(re, 0)
	require.Nil(t, match)
	out.add(bytes.Repeat([]byte("filler\n"), 5))
	out.add([]byte("two 2\n"))
	<-changed
	match, _, _ = out.find(re, next)
	assert.Equal(t, []string{"two 2", "2"}, match)
	_, end, _ := out.find(re, next)
	match, _, _ = out.find(re, end)
	assert.Nil(t, match, "behind the match there is nothing")
}
