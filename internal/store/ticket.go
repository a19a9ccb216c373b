package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

var errTicket = errors.New("it is no ticket")

// Ticket is what a ticket for the event stream lets see: what the key that it
// was made with may, as far as that passes the filter. Empty fields of the
// filter let everything pass.
type Ticket struct {
	Key      [sha256.Size]byte // hash of the key that it was made with
	Types    []string          // globs over event types; any may match
	Provider string
	Prefix   string            // of the credential's ID
	Labels   map[string]string // all of them, with these values
}

// storedTicket is the stored form of a Ticket.
type storedTicket struct {
	Key      string            `json:"key"`
	Types    []string          `json:"types,omitempty"`
	Provider string            `json:"provider,omitempty"`
	Prefix   string            `json:"prefix,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// AddTicket stores a ticket by the SHA-256 of its text, which is enough for one
// that is drawn at random, for as long as life. Where its key has made most
// tickets within one such time, nothing is stored, and again is how long it has
// to wait.
func (s *Store) AddTicket(ctx context.Context, hash [sha256.Size]byte, ticket Ticket, life time.Duration, most int) (again time.Duration, err error) {
	key := hex.EncodeToString(ticket.Key[:])
	value, err := json.Marshal(storedTicket{Key: key, Types: ticket.Types, Provider: ticket.Provider, Prefix: ticket.Prefix, Labels: ticket.Labels})
	if err != nil {
		return 0, fmt.Errorf("encode a ticket: %w", err)
	}
	wait, err := s.runInt(ctx, s.scripts.ticket, []string{keyTicket(hash), keyTicketsMade(key)}, value, life.Milliseconds(), most)
	if err != nil {
		return 0, fmt.Errorf("store a ticket: %w", err)
	}
	return time.Duration(wait) * time.Millisecond, nil
}

// TakeTicket uses a ticket up: whoever comes second, on whichever replica, gets
// [ErrTicketNotFound], and so does whoever comes too late.
func (s *Store) TakeTicket(ctx context.Context, hash [sha256.Size]byte) (Ticket, error) {
	name := keyTicket(hash)
	value, err := s.client.GetDel(ctx, name).Result()
	switch {
	case isMissing(err):
		return Ticket{}, ErrTicketNotFound
	case err != nil:
		return Ticket{}, fmt.Errorf("take a ticket: %w", s.explain(ctx, err, name))
	}
	var stored storedTicket
	ticket := Ticket{}
	err = json.Unmarshal([]byte(value), &stored)
	if err == nil && len(stored.Key) != hex.EncodedLen(len(ticket.Key)) {
		err = errTicket
	}
	if err == nil {
		_, err = hex.Decode(ticket.Key[:], []byte(stored.Key))
	}
	if err != nil {
		return Ticket{}, &CorruptError{Key: tickets, Err: errTicket}
	}
	ticket.Types, ticket.Provider, ticket.Prefix, ticket.Labels = stored.Types, stored.Provider, stored.Prefix, stored.Labels
	return ticket, nil
}
