//go:build failpoints

package failpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// action is what a rule does.
type action string

const (
	kill  action = "kill"
	stop  action = "stop"
	fail  action = "fail"
	full  action = "full"
	delay action = "delay"
	jump  action = "jump"
)

// rule is one line of what is armed.
type rule struct {
	// text is the whole rule, by which it is known again in a changed file.
	text   string
	point  Point
	action action
	// shown is the action with its duration, as it stands in the log.
	shown string
	// span is the duration of a delay or a jump.
	span time.Duration
	// nth is the hit at which it acts; 0 is each.
	nth int
}

// parse reads rules that are separated by line ends or commas.
func parse(text string) ([]rule, error) {
	var rules []rule
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for one := range strings.SplitSeq(line, ",") {
			one = strings.TrimSpace(one)
			if one == "" {
				continue
			}
			r, err := parseRule(one)
			if err != nil {
				return nil, fmt.Errorf("failpoint: rule %q: %w", one, err)
			}
			rules = append(rules, r)
		}
	}
	return rules, nil
}

func parseRule(text string) (rule, error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok {
		return rule{}, fmt.Errorf("want point=action or point=action@n")
	}
	r := rule{text: text, point: Point(name), nth: 1}
	if !slices.Contains(All(), r.point) {
		return rule{}, fmt.Errorf("there is no point %q", name)
	}
	shown, nth, counted := strings.Cut(rest, "@")
	if counted {
		var err error
		if r.nth, err = parseNth(nth); err != nil {
			return rule{}, err
		}
	}
	r.shown = shown
	word, span, timed := strings.Cut(shown, ":")
	r.action = action(word)
	if !slices.Contains([]action{kill, stop, fail, full, delay, jump}, r.action) {
		return rule{}, fmt.Errorf("there is no action %q", word)
	}
	if (r.action == delay || r.action == jump) != timed {
		return rule{}, fmt.Errorf("delay and jump, and only they, take a duration, as in delay:200ms")
	}
	if isClock := r.point == ClockBoot || r.point == ClockWall; isClock != (r.action == jump) {
		return rule{}, fmt.Errorf("jump is for clocks, and clocks do nothing else")
	}
	if timed {
		var err error
		if r.span, err = time.ParseDuration(span); err != nil {
			return rule{}, err
		}
		if r.action == delay && r.span < 0 {
			return rule{}, fmt.Errorf("a delay of %v", r.span)
		}
	}
	return r, nil
}

func parseNth(text string) (int, error) {
	if text == "*" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("@%s is neither @* nor a number from 1 on", text)
	}
	return n, nil
}
