package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	// retryAfter is how long a client waits before it connects again.
	retryAfter = 2 * time.Second
	// readAgain is how long a stream waits when the log cannot be read: it
	// stays open, so that an outage does not make every client reconnect.
	readAgain = time.Second
	// batchBytes is about how much is written before a client has to have taken
	// it. For that long it is held, once for each client: a thousand that never
	// read hold a thousand of them.
	batchBytes = 16 << 10
)

// stream serves Server-Sent Events until the client goes, does not read, loses
// its key, or the service stops. An error means that nothing was written.
func (a *API) stream(ctx context.Context, w http.ResponseWriter, r *http.Request, reader EventReader) error {
	s := &stream{api: a, w: w, control: http.NewResponseController(w), reader: reader}
	if err := s.open(); err != nil {
		return err
	}
	heartbeat := time.NewTicker(a.streams.Heartbeat)
	defer heartbeat.Stop()
	for open := s.flush(); open && !a.stopping(); {
		if !a.goesOn(ctx, r) {
			return nil
		}
		changed := a.events.Changed()
		events, atEnd, err := reader.Read(ctx, streamPage, batchBytes)
		var again <-chan time.Time
		switch {
		case ctx.Err() != nil, errors.Is(err, ErrLogReplaced): // it comes back with its cursor, and gets a reset
			return nil
		case err != nil:
			a.log.Debug().Err(err).Stringer("again_in", readAgain).Msg("a stream cannot read the event log")
			again, changed = time.After(readAgain), nil
		case len(events) > 0:
			open = s.send(events)
			continue
		case !atEnd:
			continue
		}
		select {
		case <-changed:
		case <-again:
		case <-heartbeat.C:
			s.beat()
			open = s.flush()
		case <-a.stop:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// stream is one client's.
type stream struct {
	api     *API
	w       http.ResponseWriter
	control *http.ResponseController
	reader  EventReader

	out  bytes.Buffer // not yet sent; empty, and without memory, while the stream waits
	told string       // the cursor that the client knows
}

// open begins the answer. The client gets its cursor at once: should it lose
// the connection before the first event, it misses nothing.
func (s *stream) open() error {
	h := s.w.Header()
	s.told = s.reader.Cursor()
	var reset StreamedEvent
	if s.reader.Reset() {
		var err error
		if reset, err = s.api.resetEvent(s.told); err != nil {
			return err
		}
	}
	h.Set("Content-Type", sseType)
	h.Set("X-Accel-Buffering", "no") // asks a proxy not to hold events back
	s.w.WriteHeader(http.StatusOK)
	s.out.WriteString("retry: " + strconv.FormatInt(retryAfter.Milliseconds(), 10) + "\n")
	s.out.WriteString("id: " + s.told + "\n\n")
	if reset.Type != "" {
		s.add(reset)
	}
	return nil
}

// send writes events, a batch at a time, and reports whether the client took
// them.
func (s *stream) send(events []StreamedEvent) bool {
	size := 0
	for _, e := range events {
		size += len(e.Cursor) + len(e.Type) + len(e.JSON) + blockFrame
	}
	s.out.Grow(min(size, batchBytes))
	for i, e := range events {
		if s.out.Len() > 0 && s.out.Len()+len(e.JSON) > batchBytes && !s.flush() {
			return false
		}
		s.add(e)
		events[i] = StreamedEvent{} // nobody holds it twice while the client takes its time
	}
	return s.flush()
}

// blockFrame is what a block of a stream has around its event, in bytes.
const blockFrame = len("id: \nevent: \ndata: \n\n")

func (s *stream) add(e StreamedEvent) {
	s.out.WriteString("id: " + e.Cursor + "\nevent: " + e.Type + "\ndata: ")
	s.out.Write(e.JSON)
	s.out.WriteString("\n\n")
	s.told = e.Cursor
}

// beat adds a sign of life, and the cursor where it moved on over events that
// were not asked for: it must not grow so old that the log is trimmed past it.
func (s *stream) beat() {
	s.out.WriteString(":\n")
	if now := s.reader.Cursor(); now != s.told {
		s.out.WriteString("id: " + now + "\n")
		s.told = now
	}
	s.out.WriteString("\n")
}

// flush sends what was added and reports whether the client took it in time.
func (s *stream) flush() bool {
	if s.out.Len() == 0 {
		return true
	}
	// A writer without deadlines is one of a test.
	_ = s.control.SetWriteDeadline(time.Now().Add(s.api.streams.Write))
	_, err := s.w.Write(s.out.Bytes())
	if err == nil {
		err = s.control.Flush()
	}
	s.out = bytes.Buffer{} // a stream that waits holds none
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.api.metrics.slow.Inc()
			s.api.log.Debug().Msg("an event stream was ended, its client does not read")
		}
		return false
	}
	// Left in place it would end an HTTP/2 stream, written to or not.
	_ = s.control.SetWriteDeadline(time.Time{})
	return true
}
