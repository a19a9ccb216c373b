package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"time"
)

// Limits are those of one provider's client, shared by all replicas. Zero
// means no limit.
type Limits struct {
	Concurrency int     // permits that may be out at once
	PerSecond   float64 // permits given out in any second at the most; a tenth of them at once after a pause
}

// Permits leases up to want permits. They come back with [Store.ReturnPermits],
// or by themselves when the lease has passed: a holder that dies takes none
// with it. If fewer are granted, wait says how long it takes until another may
// be: exactly for the rate, at most a second where it depends on others.
// Without limits everything is granted and Redis is not asked.
func (s *Store) Permits(ctx context.Context, provider string, limits Limits, want int, lease time.Duration) (granted int, leaseID string, wait time.Duration, err error) {
	if limits == (Limits{}) || want <= 0 {
		return max(want, 0), "", 0, nil
	}
	leaseID = leasesOf(s.owner) + rand.Text()
	reply, err := s.permits(ctx, provider, limits, want, leaseID, lease)
	if err != nil {
		return 0, "", 0, err
	}
	if reply[0] == 0 {
		leaseID = ""
	}
	return int(reply[0]), leaseID, time.Duration(reply[1]) * time.Millisecond, nil
}

// leasesOf is what the leases of an owner begin with.
func leasesOf(owner string) string { return owner + "/" }

// ReclaimPermits gives back what an owner holds of a provider's permits who is
// proven dead: those who take up his work need not wait for the leases to end.
func (s *Store) ReclaimPermits(ctx context.Context, provider, owner string) error {
	if err := checkName("provider", provider); err != nil {
		return err
	}
	_, err := s.runInt(ctx, s.scripts.reclaim, []string{keyPermitLeases(provider), keyPermitState(provider)}, leasesOf(owner))
	if err != nil {
		return fmt.Errorf("reclaim permits: %w", err)
	}
	return nil
}

// FreePermits estimates how many permits could be leased within horizon:
// those that are free now, and no more than the rate will give out by then.
// Without limits it is math.MaxInt.
func (s *Store) FreePermits(ctx context.Context, provider string, limits Limits, horizon time.Duration) (int, error) {
	if limits == (Limits{}) {
		return math.MaxInt, nil
	}
	reply, err := s.permits(ctx, provider, limits, 0, "", 0)
	if err != nil {
		return 0, err
	}
	free := math.MaxInt
	if reply[2] >= 0 {
		free = int(reply[2])
	}
	if reply[3] >= 0 {
		free = min(free, int(float64(reply[3])/1000+limits.PerSecond*horizon.Seconds()))
	}
	return free, nil
}

// permits runs the script: granted, ms to wait, free at once, tokens in
// thousandths.
func (s *Store) permits(ctx context.Context, provider string, limits Limits, want int, leaseID string, lease time.Duration) ([4]int64, error) {
	var numbers [4]int64
	if err := checkName("provider", provider); err != nil {
		return numbers, err
	}
	reply, err := s.runList(ctx, s.scripts.permits, []string{keyPermitLeases(provider), keyPermitState(provider)},
		limits.Concurrency, limits.PerSecond, want, leaseID, lease.Milliseconds())
	if err != nil {
		return numbers, fmt.Errorf("permits: %w", err)
	}
	if len(reply) != len(numbers) {
		return numbers, errReply
	}
	for i, v := range reply {
		n, ok := v.(int64)
		if !ok {
			return numbers, errReply
		}
		numbers[i] = n
	}
	return numbers, nil
}

// ReturnPermits gives n permits of a lease back. A lease that has ended, or
// "", has nothing to give.
func (s *Store) ReturnPermits(ctx context.Context, provider, leaseID string, n int) error {
	if leaseID == "" || n <= 0 {
		return nil
	}
	if err := checkName("provider", provider); err != nil {
		return err
	}
	var nonce [4]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the process instead
	_, err := s.runInt(ctx, s.scripts.unpermit, []string{keyPermitLeases(provider), keyPermitState(provider)},
		leaseID, n, hex.EncodeToString(nonce[:]))
	if err != nil {
		return fmt.Errorf("return permits: %w", err)
	}
	return nil
}
