//go:build failpoints

package failpoint

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]rule{
		"":                      nil,
		" , ,\n\n# keep=kill\n": nil,
		"keep.before=kill":      {{text: "keep.before=kill", point: KeepBefore, action: kill, shown: "kill", nth: 1}},
		"keep.noted=stop@3":     {{text: "keep.noted=stop@3", point: KeepNoted, action: stop, shown: "stop", nth: 3}},
		"journal.write=full@*":  {{text: "journal.write=full@*", point: JournalWrite, action: full, shown: "full"}},
		"send.before=fail, wire.write=delay:200ms\nclock.boot=jump:-1h": {
			{text: "send.before=fail", point: SendBefore, action: fail, shown: "fail", nth: 1},
			{text: "wire.write=delay:200ms", point: WireWrite, action: delay, shown: "delay:200ms", span: 200 * time.Millisecond, nth: 1},
			{text: "clock.boot=jump:-1h", point: ClockBoot, action: jump, shown: "jump:-1h", span: -time.Hour, nth: 1},
		},
		"clock.wall=jump:+1h@2": {{text: "clock.wall=jump:+1h@2", point: ClockWall, action: jump, shown: "jump:+1h", span: time.Hour, nth: 2}},
	} {
		got, err := parse(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		"keep.before":              "want point=action",
		"=kill":                    `there is no point ""`,
		"keep.befor=kill":          `there is no point "keep.befor"`,
		"keep.before=":             `there is no action ""`,
		"keep.before=explode":      `there is no action "explode"`,
		"keep.before=kill@":        "from 1 on",
		"keep.before=kill@0":       "from 1 on",
		"keep.before=kill@-1":      "from 1 on",
		"keep.before=kill@1@2":     "from 1 on",
		"keep.before=kill:1s":      "take a duration",
		"keep.before=delay":        "take a duration",
		"keep.before=delay:soon":   "invalid duration",
		"keep.before=delay:-1s":    "a delay of -1s",
		"keep.before=jump:1h":      "jump is for clocks",
		"clock.boot=kill":          "jump is for clocks",
		"clock.wall=delay:1s":      "jump is for clocks",
		"keep.noted=kill,nowhere=": "there is no point",
	} {
		_, err := parse(text)
		require.ErrorContains(t, err, why, text)
	}
}

// Whatever the text: it is read, or refused with a reason.
func TestParseAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("keep.bfor=kil@*:12smdaypu,\n# "))).Draw(t, "text")
		rules, err := parse(text)
		for _, r := range rules {
			again, err := parse(r.text)
			require.NoError(t, err)
			require.Equal(t, []rule{r}, again)
		}
		if err != nil {
			require.Empty(t, rules)
			require.ErrorContains(t, err, "failpoint: rule ")
		}
	})
}
