package client

import (
	"io"
	"net/http"
)

// RejectREST tells that a resource refused the token of a request: it answered
// 401 (RFC 9110 section 15.5.2). It is what [Client.Transport] goes by unless
// [WithRejection] says otherwise.
//
// 403 is not among them: it says that the token is known and may not do this,
// which a new token does not change.
func RejectREST(res *http.Response) bool {
	return res.StatusCode == http.StatusUnauthorized
}

// drainLimit is how much is read of a response that is thrown away, so that its
// connection can be used again, as [http.Client] does between redirects. A
// longer one costs less when its connection is closed.
const drainLimit = 2 << 10

// discard reads what is left of a short response, and closes it.
func discard(res *http.Response) {
	if res.Body == nil { // http.Client bears with it, too
		return
	}
	if res.ContentLength <= drainLimit { // unknown is -1
		_, _ = io.CopyN(io.Discard, res.Body, drainLimit) // a connection that fails is not used again
	}
	_ = res.Body.Close() // nothing was written to it
}

// handedOn is a body of which the beginning was read before: the caller gets
// all of it, byte for byte, and the error that followed in its place.
type handedOn struct {
	head []byte
	err  error // what ended the reading; nil if there is more
	rest io.ReadCloser
}

func (h *handedOn) Read(p []byte) (int, error) {
	if len(h.head) > 0 {
		n := copy(p, h.head)
		h.head = h.head[n:]
		return n, nil
	}
	if h.err != nil {
		return 0, h.err
	}
	return h.rest.Read(p)
}

// Close closes the body that was read from. What was read of it is gone too.
func (h *handedOn) Close() error {
	h.head, h.err = nil, nil
	return h.rest.Close()
}
