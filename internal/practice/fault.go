package practice

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind is a kind of misbehaviour of the token endpoint.
type Kind string

// The kinds.
const (
	// KindStatus answers with Status, RetryAfter, and Body or Error and
	// Description, instead of looking at the token.
	KindStatus Kind = "status"
	// KindSlow waits Delay and answers normally.
	KindSlow Kind = "slow"
	// KindHang never answers; it ends with the client's connection or with the
	// server.
	KindHang Kind = "hang"
	// KindLost rotates and closes the connection without a byte.
	KindLost Kind = "lost"
	// KindCut rotates, sends the reply up to Place, and closes the connection.
	KindCut Kind = "cut"
	// KindMalformed answers in a way that Form names.
	KindMalformed Kind = "malformed"
)

// Moment says when a presentation under a fault is judged, and with it rotated.
type Moment string

// The moments. The default is before for slow; never for status, hang and those
// malformed forms that are no token reply; for the others it is what it is
// without a fault (after, unless [Options] says otherwise).
const (
	MomentDefault Moment = ""
	MomentBefore  Moment = "before" // rotate, then wait, then reply
	MomentAfter   Moment = "after"  // wait, then rotate, then reply; not at all where the client left meanwhile
	MomentNever   Moment = "never"  // do not rotate; a reply that needs a token has a new access token only
)

// Place is where KindCut cuts the reply.
type Place string

// The places. The default is all of them in turn, in this order.
const (
	PlaceInTurn             Place = ""
	PlaceHeaders            Place = "headers"              // amid the header
	PlaceBeforeRefreshToken Place = "before_refresh_token" // in the body, before the name "refresh_token"
	PlaceInRefreshToken     Place = "in_refresh_token"     // amid the refresh token itself
	PlaceAfterRefreshToken  Place = "after_refresh_token"  // right after its closing quote
)

func places() []Place {
	return []Place{PlaceHeaders, PlaceBeforeRefreshToken, PlaceInRefreshToken, PlaceAfterRefreshToken}
}

// Fault makes the token endpoint misbehave, for calls with the right client
// authentication. A call takes the first fault that fits, in the order in which
// they were added. Durations are strings such as "12s" in JSON.
type Fault struct {
	Kind        Kind          `json:"kind"`
	Form        Form          `json:"form,omitempty"`        // of KindMalformed
	Place       Place         `json:"place,omitempty"`       // of KindCut
	Rotate      Moment        `json:"rotate,omitempty"`      // when the token is judged
	Delay       time.Duration `json:"delay,omitempty"`       // waited before any kind of reply; of drip, between two bytes (0 is 1 s)
	Status      int           `json:"status,omitempty"`      // of KindStatus; 0 is 503
	Error       string        `json:"error,omitempty"`       // of KindStatus and error_200
	Description string        `json:"description,omitempty"` // of KindStatus and error_200
	Body        string        `json:"body,omitempty"`        // of KindStatus: sent as it is, instead of Error
	RetryAfter  string        `json:"retry_after,omitempty"` // of KindStatus: the header, as it is
	Location    string        `json:"location,omitempty"`    // of the redirects
	Count       int           `json:"count,omitempty"`       // calls that it takes; 0: all, until removed
	Probability float64       `json:"probability,omitempty"` // that a call is taken, 0 to 1; 0: always
	Seed        uint64        `json:"seed,omitempty"`        // of the probability's random numbers
	For         time.Duration `json:"for,omitempty"`         // how long it lasts; 0: until removed
	Grant       string        `json:"grant,omitempty"`       // only this grant
	Client      string        `json:"client,omitempty"`      // only this client
}

// FaultState is a fault that was added.
type FaultState struct {
	ID     string `json:"id"`
	Fault  Fault  `json:"fault"`
	Hits   int    `json:"hits"`   // calls that it has taken
	Active bool   `json:"active"` // false when count or time is used up
}

// label names the fault in the ledger.
func (f Fault) label() string {
	if f.Kind == KindMalformed {
		return string(f.Kind) + ":" + string(f.Form)
	}
	return string(f.Kind)
}

func (f Fault) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w fault: "+format, append([]any{ErrInvalid}, args...)...))
	}
	switch f.Kind {
	case KindStatus, KindSlow, KindHang, KindLost, KindCut:
		if f.Form != "" {
			bad("form %q belongs to kind malformed, not %q", f.Form, f.Kind)
		}
	case KindMalformed:
		if _, ok := f.Form.reply(); !ok {
			bad("form %q is not known", f.Form)
		}
	default:
		bad("kind is %q; allowed: status, slow, hang, lost, cut, malformed", f.Kind)
	}
	switch f.Place {
	case PlaceInTurn, PlaceHeaders, PlaceBeforeRefreshToken, PlaceInRefreshToken, PlaceAfterRefreshToken:
	default:
		bad("place is %q; allowed: %v", f.Place, places())
	}
	switch f.Rotate {
	case MomentDefault, MomentBefore, MomentAfter, MomentNever:
	default:
		bad("rotate is %q; allowed: before, after, never", f.Rotate)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		bad("status is %d; allowed: 200 to 599", f.Status)
	}
	if (f.Status == http.StatusNoContent || f.Status == http.StatusNotModified) && f.Body+f.Error != "" {
		bad("a reply with status %d has no body", f.Status)
	}
	if f.Delay < 0 || f.For < 0 || f.Count < 0 {
		bad("delay, for and count are never negative")
	}
	if !(f.Probability >= 0 && f.Probability <= 1) {
		bad("probability is %v; allowed: 0 to 1", f.Probability)
	}
	if strings.ContainsAny(f.RetryAfter+f.Location, "\r\n\x00") {
		bad("retry_after and location hold no line break")
	}
	if (f.Form == FormRedirect307 || f.Form == FormRedirect308) && f.Location == "" {
		bad("form %q needs a location", f.Form)
	}
	return errors.Join(errs...)
}

type plainFault Fault

type faultJSON struct {
	*plainFault
	Delay jsonDuration `json:"delay,omitzero"`
	For   jsonDuration `json:"for,omitzero"`
}

// MarshalJSON writes durations as strings.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{plainFault: (*plainFault)(&f), Delay: jsonDuration(f.Delay), For: jsonDuration(f.For)})
}

// UnmarshalJSON reads what MarshalJSON writes; unknown keys are refused.
func (f *Fault) UnmarshalJSON(data []byte) error {
	w := faultJSON{plainFault: (*plainFault)(f)}
	if err := decodeStrict(data, &w); err != nil {
		return err
	}
	f.Delay, f.For = time.Duration(w.Delay), time.Duration(w.For)
	return nil
}
