package credential

import (
	"strings"
	"time"
)

// Class sorts what came of an exchange by what has to be done about it.
type Class string

// The classes.
const (
	ClassOK           Class = "ok"            // a token was issued
	ClassNotSent      Class = "not_sent"      // nothing was written to the provider
	ClassRateLimited  Class = "rate_limited"  // refused unprocessed, for now
	ClassNotProcessed Class = "not_processed" // documented by the provider as unprocessed: present again later
	ClassTransient    Class = "transient"     // the provider answered that it failed; whether it rotated is unknown
	ClassAmbiguous    Class = "ambiguous"     // sent, and no readable reply came
	ClassRefused      Class = "refused"       // invalid_request: providers disagree on what it means
	ClassPermanent    Class = "permanent"     // only the user can mend it
	ClassOperator     Class = "operator"      // only the operator can mend it; says nothing of the credential
)

// Classes lists every class.
func Classes() []Class {
	return []Class{
		ClassOK, ClassNotSent, ClassRateLimited, ClassNotProcessed, ClassTransient,
		ClassAmbiguous, ClassRefused, ClassPermanent, ClassOperator,
	}
}

// Outcome is what came of one exchange.
type Outcome struct {
	Method     Method // of the exchange
	Class      Class
	Reason     Reason
	Detail     string        // HTTP status and OAuth error code, for people; never a part of the body
	RetryAfter time.Duration // told by the provider; 0 if it told none

	Token     Token         // for ClassOK, and for others if a scan found one
	ExpiresIn time.Duration // of the access token as told; 0 if the reply told nothing usable
	ExpiresAt Millis        // the expiry inside the access token, where it is a JWT; 0 otherwise

	RefreshExpiresIn time.Duration // of the refresh token as told; 0 if the reply told nothing usable
	Subject          string        // the user's UID, where the reply tells it
	UserData         UserData      // where the reply tells it
	Missing          []Absence     // what should have been there by the settings, and was not

	// Own says of ClassOperator that the client is accepted with the calls of others,
	// so that this credential alone is in trouble; see [Breaker.Blames].
	Own bool
}

// Absence is a value that a reply did not have where the settings say.
type Absence struct {
	Name   string   // of the value, such as refresh_token
	Place  string   // as the settings name it, such as json data.token; "" where they name none
	Why    string   // such as: was not found
	Beside []string // names, never values, that stood where it was looked for; for whoever mends the settings
}

// String says what is missing, without what stood beside it.
func (a Absence) String() string {
	if a.Place == "" {
		return a.Name + " " + a.Why
	}
	return a.Name + " (" + a.Place + ") " + a.Why
}

// Unusable reports whether something stood there that is not what it should be.
func (a Absence) Unusable() bool { return a.Why != "" && a.Why != "was not found" }

// Sentence says for people what the reply lacked, and what it had instead.
func (a Absence) Sentence() string {
	text := "the reply did not have the declared " + a.Place
	if a.Unusable() {
		text = "the declared " + a.Place + " of the reply " + a.Why
	}
	if len(a.Beside) == 0 {
		return text
	}
	had := "; it has: "
	if strings.HasPrefix(a.Place, "cookie ") {
		had = "; it set: "
	}
	return text + had + strings.Join(a.Beside, ", ")
}

// Received is a token on its way into a record.
type Received struct {
	Method    Method // of the exchange; "" where only its token is known
	Token     Token
	SentAt    Millis        // when the exchange was sent: an access token's life counts from there
	ExpiresIn time.Duration // as in Outcome
	ExpiresAt Millis        // as in Outcome
	Partial   bool          // the reply was cut off or broken: there may have been more
	Rejected  bool          // the exchange was made because the resource had refused the current token
	Detail    string        // as in Outcome

	RefreshExpiresIn time.Duration // as in Outcome
	Subject          string        // as in Outcome
	UserData         UserData      // as in Outcome
}
