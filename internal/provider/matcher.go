package provider

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

var errMatcher = errors.New("invalid error matcher")

// Matcher is one rule of a provider's own for what its errors mean. Rules are
// asked before anything else is, in their order; the first that fits decides.
type Matcher struct {
	Status      int               // HTTP status; 0 fits any
	Error       string            // error code; "" fits any
	Description string            // of the error, "*" standing for any text, letter case aside; "" fits any
	Class       credential.Class  // what a reply that fits is; see [ParseClass]
	Reason      credential.Reason // "" stands for the usual one of the class
}

// Match returns the class and the reason that the first of the rules which fits
// the reply gives it; false if none fits.
func Match(matchers []Matcher, r Reply) (credential.Class, credential.Reason, bool) {
	for _, m := range matchers {
		if m.fits(r) {
			return m.Class, cmp.Or(m.Reason, ReasonOf(m.Class)), true
		}
	}
	return "", "", false
}

// Validate reports what is wrong with m.
func (m Matcher) Validate() error {
	switch {
	case m.Status == 0 && m.Error == "" && m.Description == "":
		return fmt.Errorf("%w: it fits every reply; give a status, an error or a description", errMatcher)
	case m.Status != 0 && (m.Status < 200 || m.Status > 599):
		return fmt.Errorf("%w: status %d; give one from 200 to 599, or none", errMatcher, m.Status)
	case !slices.Contains(MatcherClasses(), m.Class):
		return fmt.Errorf("%w: class %q; give one of %v", errMatcher, m.Class, MatcherClasses())
	case m.Reason != "" && !slices.Contains(credential.Reasons(), m.Reason):
		return fmt.Errorf("%w: reason %q; give one of %v, or none", errMatcher, m.Reason, credential.Reasons())
	}
	return nil
}

// MatcherClasses lists the classes that a rule of a provider's own may give.
func MatcherClasses() []credential.Class {
	return []credential.Class{
		credential.ClassPermanent, credential.ClassNotProcessed, credential.ClassOperator,
		credential.ClassRateLimited, credential.ClassAmbiguous, credential.ClassRefused,
	}
}

// ParseClass returns the class of that name in a provider's settings:
// permanent, transient, operator, rate_limited, ambiguous or refused.
// "transient" is a promise that the provider did not process the request, so
// that the same refresh token may be presented again: ClassNotProcessed. Where
// that is not known, "ambiguous" is the word.
func ParseClass(name string) (credential.Class, error) {
	if name == string(credential.ClassTransient) {
		return credential.ClassNotProcessed, nil
	}
	class := credential.Class(name)
	if class == credential.ClassNotProcessed || !slices.Contains(MatcherClasses(), class) {
		return "", fmt.Errorf("%w: class %q; give one of permanent, transient, operator, rate_limited, ambiguous, refused", errMatcher, name)
	}
	return class, nil
}

// fits reports whether the rule applies to the reply.
func (m Matcher) fits(r Reply) bool {
	return (m.Status == 0 || m.Status == r.Status) &&
		(m.Error == "" || slices.Contains(r.Fields.Codes, m.Error)) &&
		(m.Description == "" || Glob(strings.ToLower(m.Description), strings.ToLower(r.Fields.Description)))
}

// Glob reports whether text fits pattern, in which "*" stands for any text.
func Glob(pattern, text string) bool {
	head, rest, stars := strings.Cut(pattern, "*")
	if !stars {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		piece, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, piece)
		}
		at := strings.Index(text, piece)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(piece):], next
	}
}
