package credential

// Presentation is one exchange with a provider, and what whoever makes it has
// to ask and to tell meanwhile.
type Presentation struct {
	// Method says what is presented: the refresh token of Token, SignIn, or the
	// session that is the access token of Token.
	Method Method
	// Token is the current one.
	Token Token
	// SignIn is set for MethodLogin.
	SignIn SignIn
	// Subject is the user's UID, where it is known.
	Subject string

	// Start, if not nil, is asked once before MaySend is asked for the first time:
	// when all else is there that the call needs. It may wait for a few seconds,
	// which are not the provider's. After an error nothing is sent, as after one of
	// MaySend. It may be called on another goroutine, and once more where nothing
	// of the request could be written; not after the outcome is known to be
	// ClassNotSent.
	Start func() error

	// MaySend is asked right before the first byte of the request is handed to
	// the network, and again before each further piece of a request that goes
	// in several. After an error nothing more is written: nothing was sent if it
	// was the first, which is told as [ClassNotSent] with [ReasonTimeout];
	// otherwise the request stays incomplete and is in doubt. It may be called
	// on another goroutine, must not block, and is not called after the outcome
	// is known to be ClassNotSent.
	MaySend func() error

	// Hand, if not nil, may be called once, before Keep and with the same, by the
	// goroutine that has read a whole reply from the network and before anybody
	// else sees it. It puts what was found where the end of this process does not
	// reach it, and must return soon: that it survives the end of the machine is
	// for Keep to wait for. The exchange may have been given up meanwhile; it
	// returns when Hand has, and Hand is not called after that.
	Hand func(Found)

	// Keep is called at most once, as soon as a token was found in the reply
	// and before anything else is looked at. Should it fail, the outcome
	// carries the token all the same.
	Keep func(Found) error
}
