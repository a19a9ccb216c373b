package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// reservationKept is for how long a reservation is remembered that nobody has
// worked on: as long as the claim lasts that it was made for.
const reservationKept = 5 * time.Second

// ReserveClaims takes up to want of the room that a provider has. What this or any
// other replica reserved is gone already, until [Store.ClaimsDone]: a claim shows in
// the permits only when a worker has begun it, and a room that each replica took as
// its own would be claimed once by each of them. What is lost on its way comes back
// after 5 s. id is for [Store.SettleClaims] and [Store.ClaimsDone]; ""
// if there is no room.
func (s *Store) ReserveClaims(ctx context.Context, provider string, room, want int) (reserved int, id string, err error) {
	if err := checkName("provider", provider); err != nil {
		return 0, "", err
	}
	if room <= 0 || want <= 0 {
		return 0, "", nil
	}
	id = rand.Text()
	n, err := s.runInt(ctx, s.scripts.reserve, []string{keyPermitClaims(provider)}, id, reservationKept.Milliseconds(), room, want)
	if err != nil {
		return 0, "", fmt.Errorf("reserve claims: %w", err)
	}
	if n == 0 {
		id = ""
	}
	return int(n), id, nil
}

// SettleClaims notes how many of a reservation were claimed; the rest is there for
// others. One that is gone, or "", has nothing to settle.
func (s *Store) SettleClaims(ctx context.Context, provider, id string, claimed int) error {
	if err := checkName("provider", provider); err != nil {
		return err
	}
	if id == "" {
		return nil
	}
	if _, err := s.runInt(ctx, s.scripts.settle, []string{keyPermitClaims(provider)}, id, max(claimed, 0)); err != nil {
		return fmt.Errorf("settle claims: %w", err)
	}
	return nil
}

// ClaimsDone notes that n claims of a reservation wait no more: they have their
// permits, or were put back. One that is gone, or "", and more than there are, are
// no error.
func (s *Store) ClaimsDone(ctx context.Context, provider, id string, n int) error {
	if err := checkName("provider", provider); err != nil {
		return err
	}
	if id == "" || n <= 0 {
		return nil
	}
	if _, err := s.runInt(ctx, s.scripts.claimsDone, []string{keyPermitClaims(provider)}, id, n); err != nil {
		return fmt.Errorf("claims that are done: %w", err)
	}
	return nil
}
