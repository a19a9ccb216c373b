package subscription

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/webaddr"
)

// nameShape is what names look like: they become parts of Redis keys and of
// paths.
var nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// labelShape is what names of labels look like.
var labelShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$`)

const (
	maxURL     = 2048 // bytes
	maxTypes   = 64
	maxLabels  = 32
	maxValue   = 256 // bytes of a label's value
	maxRetry   = 32
	minWait    = 10 * time.Millisecond
	maxWait    = 7 * 24 * time.Hour
	maxSecrets = 4
)

// Problem is one thing that settings must not be.
type Problem struct {
	Field string // as in config.yaml and in the API, such as types[0]
	Text  string // what is wrong and what to do; holds no secret
}

// Rules are what settings are held against.
type Rules struct {
	Allow    []netip.Prefix // networks that may be reached although they are not public
	Provider func(name string) bool
}

// Check returns what is wrong with the settings, nil if nothing is.
func (s Settings) Check(rules Rules) []Problem {
	return append(s.CheckWebhook(rules), s.CheckChoice(rules)...)
}

// problems gathers what is wrong.
type problems []Problem

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, Problem{Field: field, Text: fmt.Sprintf(format, args...)})
}

// CheckWebhook looks at where events are posted and at what signs them.
func (s Settings) CheckWebhook(rules Rules) []Problem {
	var found problems
	switch {
	case s.URL == "":
		found.add("url", "it is missing; write https://…")
	case len(s.URL) > maxURL:
		found.add("url", "it has %d bytes; at most %d are allowed", len(s.URL), maxURL)
	default:
		if err := webaddr.CheckReceiver(s.URL, rules.Allow); err != nil {
			found.add("url", "%v", err)
		}
	}
	if len(s.Secrets) == 0 {
		s.Secrets = []SigningSecret{{}}
	}
	for i, one := range s.Secrets {
		field := "secret"
		if i > 0 {
			field = "secrets[" + strconv.Itoa(i-1) + "]"
		}
		if err := CheckSecret(one.Secret); err != nil {
			found.add(field, "%v", err)
		}
	}
	if len(s.Secrets) > maxSecrets && !s.Secrets[len(s.Secrets)-1].Until.IsZero() {
		found.add("overlap", "%d secrets would sign beside the new one, and %d are the most; the first of them ends at %s: rotate again then, or with an overlap of 0s, which ends all of them at once",
			len(s.Secrets)-1, maxSecrets-1, s.firstEnd().UTC().Format(time.RFC3339))
	} else if len(s.Secrets) > maxSecrets {
		found.add("secrets", "%d previous secrets are too many; keep at most %d, and those only until the receiver knows the new one", len(s.Secrets)-1, maxSecrets-1)
	}
	return found
}

// CheckChoice looks at which events are asked for, and how often.
func (s Settings) CheckChoice(rules Rules) []Problem {
	var found problems
	if len(s.Types) == 0 {
		found.add("types", `it is missing; write ["credential.*"], or ["*"] for everything`)
	}
	if len(s.Types) > maxTypes {
		found.add("types", `%d types are too many; at most %d are allowed, and "credential.*" or "*" stand for several`, len(s.Types), maxTypes)
	}
	for i, t := range s.Types {
		if !matchesType(t) {
			found.add("types["+strconv.Itoa(i)+"]", `%q matches no event type; write one like credential.refreshed, "credential.*" or "*"`, t)
		}
	}
	for i, name := range s.Providers {
		if !rules.Provider(name) {
			found.add("providers["+strconv.Itoa(i)+"]", "there is no provider %q; name one of providers, or leave the list out for all", name)
		}
	}
	if s.Prefix != "" {
		if _, err := credential.ParseID(s.Prefix); err != nil {
			found.add("prefix", "it cannot start an ID: %v", err)
		}
	}
	found = append(found, checkLabels(s.Labels)...)
	return append(found, checkRetry(s.Retry)...)
}

// CheckName looks at the name of a subscription.
func CheckName(name string) error {
	if !nameShape.MatchString(name) {
		return fmt.Errorf("%q is not a name; use 1 to 32 characters of a-z, 0-9 and -", name)
	}
	return nil
}

// CheckSecret wants what Standard Webhooks signs with: whsec_ and the base64
// form of 24 to 64 bytes.
func CheckSecret(secret credential.Secret) error {
	const how = `make one with: echo "whsec_$(openssl rand -base64 32)"`
	if secret.IsZero() {
		return errors.New("it is missing, and deliveries are signed with it; " + how)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return errors.New("it is not whsec_ and the base64 form of 24 to 64 bytes; " + how)
	}
	return nil
}

func checkLabels(labels map[string]string) []Problem {
	var found problems
	if len(labels) > maxLabels {
		found.add("labels", "%d labels are too many; at most %d are allowed", len(labels), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		value := labels[name]
		if !labelShape.MatchString(name) {
			found.add("labels", "%q is not the name of a label; use 1 to 63 characters of A-Z a-z 0-9 . _ / -, starting with a letter or digit", name)
		} else if len(value) > maxValue || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			found.add("labels."+name, "it is over %d bytes, or holds a control character; write a shorter text of one line", maxValue)
		}
	}
	return found
}

func checkRetry(waits []time.Duration) []Problem {
	var found problems
	if len(waits) > maxRetry {
		found.add("retry", "%d waits are too many; at most %d are allowed", len(waits), maxRetry)
	}
	for i, wait := range waits {
		if wait < minWait || wait > maxWait {
			found.add("retry["+strconv.Itoa(i)+"]", "%s does not lie between %s and %s; leave retry out for what Standard Webhooks recommends", wait, minWait, maxWait)
		}
	}
	return found
}

func matchesType(pattern string) bool {
	if pattern == "*" {
		return true
	}
	family, whole := strings.CutSuffix(pattern, ".*")
	return slices.ContainsFunc(credential.EventTypes(), func(t credential.EventType) bool {
		if whole {
			return strings.HasPrefix(string(t), family+".")
		}
		return string(t) == pattern
	})
}
