package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Delivery is one delivery of one event to a subscriber, as it is remembered.
type Delivery struct {
	Event      string // the event's ID
	Type       string // the event's
	Credential credential.ID
	Lane       int
	Attempt    int               // counts deliveries: of this event, or of any as a probe of the endpoint
	At         credential.Millis // when it had ended, by Redis's clock
	Took       time.Duration
	Result     string
	Status     int    // that the receiver answered with; 0 where there was none
	Error      string // why it was not delivered; holds neither a secret nor the receiver's text
}

// storedDelivery is a delivery as it stands in the list, behind its moment.
type storedDelivery struct {
	Event      string        `json:"e"`
	Type       string        `json:"t"`
	Credential credential.ID `json:"c,omitempty"`
	Lane       int           `json:"l"`
	Attempt    int           `json:"n"`
	Micros     int64         `json:"us"`
	Result     string        `json:"r"`
	Status     int           `json:"s,omitempty"`
	Error      string        `json:"x,omitempty"`
}

func encodeDelivery(d Delivery) (string, error) {
	text, err := json.Marshal(storedDelivery{
		Event: d.Event, Type: d.Type, Credential: d.Credential, Lane: d.Lane, Attempt: d.Attempt,
		Micros: d.Took.Microseconds(), Result: d.Result, Status: d.Status, Error: d.Error,
	})
	if err != nil {
		return "", fmt.Errorf("encode a delivery: %w", err)
	}
	return string(text), nil
}

func decodeDelivery(line string) (Delivery, error) {
	at, text, _ := strings.Cut(line, " ")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return Delivery{}, errNumber
	}
	var d storedDelivery
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return Delivery{}, err
	}
	return Delivery{
		Event: d.Event, Type: d.Type, Credential: d.Credential, Lane: d.Lane, Attempt: d.Attempt, At: credential.Millis(ms),
		Took: time.Duration(d.Micros) * time.Microsecond, Result: d.Result, Status: d.Status, Error: d.Error,
	}, nil
}

// Deliveries returns the last deliveries of a subscription, the newest first:
// at most limit of them, and at most 100, for no more are remembered.
func (s *Store) Deliveries(ctx context.Context, sub string, limit int) ([]Delivery, error) {
	if err := checkName("subscription", sub); err != nil {
		return nil, err
	}
	if limit <= 0 {
		return nil, nil
	}
	key := keySubLog(sub)
	lines, err := s.client.LRange(ctx, key, 0, int64(limit)-1).Result()
	if err != nil {
		return nil, fmt.Errorf("deliveries of a subscription: %w", s.explain(ctx, err, key))
	}
	list := make([]Delivery, len(lines))
	for i, line := range lines {
		if list[i], err = decodeDelivery(line); err != nil {
			return nil, &CorruptError{Key: key, Field: strconv.Itoa(i), Err: err}
		}
	}
	return list, nil
}
