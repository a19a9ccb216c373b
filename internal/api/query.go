package api

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/refreshd/refreshd/internal/credential"
)

// checkQuery refuses what an operation would misread: a query that cannot be
// decoded, text that is none, a parameter that it does not know, and one that
// is given twice. many lists the parameters that may be repeated.
func checkQuery(r *http.Request, known, many []string) (url.Values, *Problem) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problem(http.StatusBadRequest, codeBadRequest, "query cannot be decoded: a bare % or ; has to be escaped")
	}
	for name, list := range values {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, invalid("query", "has a parameter, and none is known here")
			}
			return nil, invalid("query", "has a parameter that is not known; known are "+strings.Join(known, ", "))
		}
		if slices.ContainsFunc(list, func(value string) bool { return !plain(value) }) {
			return nil, invalid("query."+name, "holds a control character, or is not UTF-8")
		}
		if len(list) > 1 && !slices.Contains(many, name) {
			return nil, invalid("query."+name, "is given more than once")
		}
	}
	return values, nil
}

// plain reports whether s is text without control characters.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// parseSpan reads a length of time that is at most so long, and not negative.
func parseSpan(location, text string, most time.Duration) (time.Duration, *Problem) {
	span, p := parseDuration(location, text)
	if p == nil && (span < 0 || span > most) {
		return 0, invalid(location, fmt.Sprintf("must be from 0s to %s", most))
	}
	return span, p
}

// parseDuration reads a length of time as the configuration and the command line
// write it: a Go duration such as 90s or 5m, with days before it as in 4d or
// 1d12h, or a number of seconds. "" is 0.
func parseDuration(location, text string) (time.Duration, *Problem) {
	if text == "" {
		return 0, nil
	}
	if last := text[len(text)-1]; last >= '0' && last <= '9' {
		text += "s"
	}
	span, err := time.ParseDuration(text)
	if days, rest, ok := strings.Cut(text, "d"); ok {
		span, err = parseDays(days, rest)
	}
	if err != nil {
		seconds := "a number of seconds"
		if strings.HasPrefix(location, "body.") { // where JSON has numbers, too
			seconds += ` as text, such as "600"`
		}
		return 0, invalid(location, "must be a duration such as 60s, 5m, 4d or 1d12h, or "+seconds)
	}
	return span, nil
}

var errDays = errors.New("not a number of days, and what is less than one behind it")

// parseDays reads days, and what stands behind them.
func parseDays(days, rest string) (time.Duration, error) {
	// As so many hours, which leaves the grammar of numbers to the standard library.
	n, err := time.ParseDuration(days + "h")
	if err != nil || n < 0 || n > math.MaxInt64/24 || strings.ContainsAny(days+rest, "+-") || strings.ContainsAny(days, "hmsuµn") {
		return 0, errDays
	}
	var more time.Duration
	if rest != "" {
		more, err = time.ParseDuration(rest)
	}
	if err != nil || more > math.MaxInt64-24*n {
		return 0, errDays
	}
	return 24*n + more, nil
}

const (
	maxLabels     = 32
	maxLabelName  = 63  // bytes
	maxLabelValue = 256 // bytes
)

// parseLabels reads label conditions of the form name=value.
func parseLabels(list []string) (map[string]string, *Problem) {
	if len(list) > maxLabels {
		return nil, invalid("query.label", fmt.Sprintf("is given more than %d times", maxLabels))
	}
	labels := make(map[string]string, len(list))
	for _, item := range list {
		name, value, ok := strings.Cut(item, "=")
		if !ok || !labelName(name) {
			return nil, invalid("query.label", "must be name=value")
		}
		if old, twice := labels[name]; twice && old != value {
			return nil, invalid("query.label", "asks for two values of one label, which no credential has")
		}
		labels[name] = value
	}
	return labels, nil
}

// labelName reports whether s can name a label: 1 to 63 of A-Z a-z 0-9 . _ / -
// starting with a letter or digit.
func labelName(s string) bool {
	if s == "" || len(s) > maxLabelName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !word && (i == 0 || !strings.ContainsRune("._/-", rune(c))) {
			return false
		}
	}
	return true
}

// checkLabels checks the labels of a login.
func checkLabels(labels map[string]string) *Problem {
	if len(labels) > maxLabels {
		return invalid("body.labels", fmt.Sprintf("has more than %d labels", maxLabels))
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if !labelName(name) {
			return invalid("body.labels", fmt.Sprintf("has a name that is not 1 to %d of A-Z a-z 0-9 . _ / -, starting with a letter or digit", maxLabelName))
		}
		if value := labels[name]; len(value) > maxLabelValue || !plain(value) {
			return invalid("body.labels."+name, fmt.Sprintf("is over %d bytes, or holds a control character", maxLabelValue))
		}
	}
	return nil
}

// checkPrefix checks what IDs are asked to start with.
func checkPrefix(location, prefix string) *Problem {
	if prefix == "" {
		return nil
	}
	if _, err := credential.ParseID(prefix); err != nil {
		return invalid(location, "cannot start an ID: "+err.Error())
	}
	return nil
}

// narrowed checks a prefix and narrows it to what the key is good for.
func narrowed(key *Key, location, prefix string) (string, *Problem) {
	if p := checkPrefix(location, prefix); p != nil {
		return "", p
	}
	both, ok := key.narrow(prefix)
	if !ok {
		return "", forbidden("this key is not good for IDs with that prefix")
	}
	return both, nil
}
