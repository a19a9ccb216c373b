package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/store"
)

// apiTickets keeps the API's tickets.
type apiTickets struct{ store *store.Store }

func (t apiTickets) Issue(ctx context.Context, hash [sha256.Size]byte, ticket api.Ticket, life time.Duration, most int) (time.Duration, error) {
	return t.store.AddTicket(ctx, hash, store.Ticket{
		Key: ticket.Key, Types: ticket.Filter.Types, Provider: ticket.Filter.Provider, Prefix: ticket.Filter.Prefix, Labels: ticket.Filter.Labels,
	}, life, most)
}

func (t apiTickets) Take(ctx context.Context, hash [sha256.Size]byte) (*api.Ticket, error) {
	found, err := t.store.TakeTicket(ctx, hash)
	if errors.Is(err, store.ErrTicketNotFound) {
		return nil, nil //nolint:nilnil // no such ticket is an answer
	}
	if err != nil {
		return nil, err
	}
	return &api.Ticket{
		Key:    found.Key,
		Filter: api.EventFilter{Types: found.Types, Provider: found.Provider, Prefix: found.Prefix, Labels: found.Labels},
	}, nil
}
