package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// event is what an event tells the demo. It holds no token, as no event does.
type event struct {
	Type     credential.EventType
	ID       string // the credential's; "" for an event of the stream itself
	At       time.Time
	State    credential.State
	Previous credential.State
	Reason   string
	Version  uint64
	Expires  time.Time // zero if there is none
}

// cloudEvent is the part of a CloudEvent that the demo reads.
type cloudEvent struct {
	Type    credential.EventType `json:"type"`
	Subject string               `json:"subject"`
	Time    time.Time            `json:"time"`
	Data    struct {
		State     credential.State `json:"state"`
		Previous  credential.State `json:"previous_state"`
		Reason    string           `json:"reason"`
		Version   uint64           `json:"version"`
		ExpiresAt time.Time        `json:"expires_at"`
	} `json:"data"`
}

func parseEvent(data []byte) (event, error) {
	var c cloudEvent
	if err := json.Unmarshal(data, &c); err != nil {
		return event{}, fmt.Errorf("an event cannot be read: %w", err)
	}
	return event{
		Type: c.Type, ID: c.Subject, At: c.Time, State: c.Data.State, Previous: c.Data.Previous,
		Reason: c.Data.Reason, Version: c.Data.Version, Expires: c.Data.ExpiresAt,
	}, nil
}

// message is one dispatched message of an event stream.
type message struct {
	cursor string // the last event ID
	data   []byte
}

// maxEvent bounds one line of the stream in bytes.
const maxEvent = 1 << 20

// readStream calls got with each message of a Server-Sent Events stream (HTML,
// section 9.2.6) that has data, until the stream ends or got fails, and returns
// the cursor to resume from.
func readStream(r io.Reader, cursor string, got func(message) error) (string, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	var data []byte
	next := cursor
	for lines.Scan() {
		line := lines.Text()
		if line == "" { // the message is complete
			if len(data) > 0 {
				if err := got(message{cursor: next, data: data}); err != nil {
					return cursor, err
				}
			}
			cursor, data = next, nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			next = value
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
	return cursor, lines.Err()
}
