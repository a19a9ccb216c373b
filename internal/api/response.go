package api

import (
	"errors"
	"net/http"
	"time"
)

// writeWithin bounds how long a client may take to read an ordinary response.
// Event streams set a deadline of their own for each batch.
const writeWithin = 30 * time.Second

// response notes what is answered. It sets the write deadline when the answer
// begins, for how long the answer takes to be found is not the client's fault.
type response struct {
	http.ResponseWriter

	status int   // 0 until the header was written
	failed error // of the first write that failed
}

// Unwrap lets an [http.ResponseController] reach the connection.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader notes the status and starts the clock of the write.
func (r *response) WriteHeader(status int) {
	if r.status != 0 {
		return // an answer that failed half way, such as for a client that is gone
	}
	if status >= http.StatusOK {
		r.status = status
		// A writer that has no deadlines is one of a test.
		_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(writeWithin))
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write notes a failure, which tells that the client is gone.
func (r *response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	n, err := r.ResponseWriter.Write(p)
	if err != nil && r.failed == nil {
		r.failed = err
	}
	return n, err
}

// FlushError sends what is buffered.
func (r *response) FlushError() error {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// clientGone reports whether a panic with that value only says that nobody
// reads the answer any more: huma panics when a response cannot be written.
func (r *response) clientGone(value any) bool {
	err, ok := value.(error)
	return ok && r.failed != nil && (errors.Is(err, r.failed) || errors.Is(err, http.ErrAbortHandler))
}
