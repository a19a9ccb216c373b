package credential

// TouchResult says what became of a touch: its owner's word that the session was
// used.
type TouchResult string

// The results.
const (
	TouchDone      TouchResult = "touched"    // the idle timeout starts anew
	TouchUnknown   TouchResult = "unknown"    // no such credential
	TouchNoSession TouchResult = "no_session" // its token is no sliding session: it has an expiry of its own
	TouchOver      TouchResult = "over"       // the session had ended
)

// Touch is the answer to one touch.
type Touch struct {
	ID       ID
	Result   TouchResult
	At       Millis // when it was taken, by the store's clock
	Deadline Millis // the idle deadline from now on; 0 unless TouchDone
}
