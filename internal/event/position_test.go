package event

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCursorRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := Cursor{Epoch: rapid.StringMatching(`[0-9a-f]{1,32}`).Draw(t, "epoch")}
		for range rapid.IntRange(1, 100).Draw(t, "shards") {
			c.Last = append(c.Last, fmt.Sprintf("%d-%d", rapid.Uint64().Draw(t, "ms"), rapid.Uint64().Draw(t, "n")))
		}
		if len(c.String()) > maxCursor {
			t.Skip("no such log")
		}
		again, err := ParseCursor(c.String(), len(c.Last))
		if err != nil || again.String() != c.String() {
			t.Fatalf("%v became %v: %v", c, again, err)
		}
	})
}

// The longest cursor that a log can give must come back.
func TestLongestCursor(t *testing.T) {
	t.Parallel()
	c := startCursor(strings.Repeat("e", 32), 100)
	for i := range c.Last {
		c.Last[i] = "18000000000000-4294967295"
	}
	_, err := ParseCursor(c.String(), 100)
	require.NoError(t, err)
}

func TestParseCursor(t *testing.T) {
	t.Parallel()
	for _, start := range []string{"", "0"} {
		c, err := ParseCursor(start, 3)
		require.NoError(t, err)
		assert.Equal(t, Cursor{Last: []string{"0", "0", "0"}}, c)
	}
	good := Cursor{Epoch: "e", Last: []string{"1-1", "2-2"}}.String()
	for name, text := range map[string]string{
		"other shards": Cursor{Epoch: "e", Last: []string{"1-1"}}.String(),
		"no epoch":     Cursor{Last: []string{"1-1", "2-2"}}.String(),
		"no position":  Cursor{Epoch: "e", Last: []string{"1-1", "$"}}.String(),
		"negative":     Cursor{Epoch: "e", Last: []string{"1-1", "-1-1"}}.String(),
		"too large":    Cursor{Epoch: "e", Last: []string{"1-1", "18446744073709551616-0"}}.String(),
		"a command":    Cursor{Epoch: "e", Last: []string{"1-1", "1-1\r\nDEL"}}.String(),
		"no base64":    good + "!",
		"padded":       good + "==",
		"too long":     strings.Repeat("A", maxCursor+1),
		"1":            "1",
	} {
		_, err := ParseCursor(text, 2)
		require.ErrorIs(t, err, ErrBadCursor, name)
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add(Cursor{Epoch: "e", Last: []string{"1-1", "2"}}.String(), 2)
	f.Add("0", 1)
	f.Add("ZXw=", 1)
	f.Fuzz(func(t *testing.T, text string, shards int) {
		if shards < 1 || shards > 100 {
			return
		}
		c, err := ParseCursor(text, shards)
		if err != nil {
			require.ErrorIs(t, err, ErrBadCursor)
			return
		}
		require.Len(t, c.Last, shards)
		for _, p := range c.Last {
			_, err := parsePosition(p)
			require.NoError(t, err)
		}
		if c.Epoch != "" {
			again, err := ParseCursor(c.String(), shards)
			require.NoError(t, err)
			require.Equal(t, c, again)
		}
	})
}

func TestPositionsAreOrderedAsNumbers(t *testing.T) {
	t.Parallel()
	order := []string{"0", "9-1", "9-2", "9-10", "10", "10-1", "100-0"}
	for i, a := range order {
		for j, z := range order {
			left, err := parsePosition(a)
			require.NoError(t, err)
			right, err := parsePosition(z)
			require.NoError(t, err)
			assert.Equal(t, i > j, left.after(right), "%s after %s", a, z)
		}
	}
}
