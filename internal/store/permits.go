package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

// Limits are those of one provider's client, shared by all replicas. Zero
// means no limit.
type Limits struct {
	Concurrency int // permits that may be out at once
	// PerSecond is how many calls any second sees at the most, if each is written
	// within [Limits.Within]; below 1, one in as many seconds as that makes. A
	// twentieth of them may come at once after a pause. In the long run it is less
	// by that twentieth and by a fifth: whoever has a permit may use it a moment
	// later.
	PerSecond float64
}

const (
	// burstShare of a second's calls may come at once after a pause.
	burstShare = 20
	// A permit is good for a withinShare of the time that its rate is counted in,
	// and no longer than longestWithin. Calls of a second are of permits that were
	// given out in that second or so long before it, so the longer it is, the
	// fewer can be given out.
	withinShare   = 5
	longestWithin = 5 * time.Second
	// wayShare of that is added for what nobody here can measure: the call's way,
	// and Redis telling the time in whole milliseconds.
	wayShare = 4
)

// window is the time that the rate is counted in, in seconds, and how many calls
// it may see: those of one second, or a single one.
func (l Limits) window() (calls, seconds float64) {
	if l.PerSecond < 1 {
		return 1, 1 / l.PerSecond
	}
	return math.Floor(l.PerSecond), 1
}

// Within is for how long after it was asked for a permit lets a call be written.
// Whoever is later needs another one (see [Store.Permits]). 0 is for ever: there
// is no rate.
func (l Limits) Within() time.Duration {
	if l.PerSecond == 0 {
		return 0
	}
	_, seconds := l.window()
	return time.Duration(min(seconds/withinShare, longestWithin.Seconds()) * float64(time.Second))
}

// bucket is what the bucket of permits holds, and what fills it in a second. Of
// permits that are given out in a time T there are at most burst + T * fill, and
// the calls of one window are of permits of that window and what [Limits.Within]
// and their way make more: that is less than one call above what is allowed.
func (l Limits) bucket() (burst, fill float64) {
	if l.PerSecond == 0 {
		return 0, 0
	}
	calls, seconds := l.window()
	late := l.Within().Seconds()
	burst = max(1, math.Floor(calls/burstShare))
	return burst, (calls + 1 - burst) / (seconds + late + late/wayShare)
}

// Permits leases up to want permits. They come back with [Store.ReturnPermits],
// or by themselves when the lease has passed: a holder that dies takes none
// with it. If fewer are granted, wait says for how long the rate or a hold lets no
// other be; 0 where it depends on those who have them.
//
// A lease of 0 is for one who has a permit that has lapsed (see [Limits.Within]):
// granted are calls within the rate, there is nothing to return, and
// limits.Concurrency has to be 0.
//
// Without limits everything is granted and Redis is not asked.
func (s *Store) Permits(ctx context.Context, provider string, limits Limits, want int, lease time.Duration) (granted int, leaseID string, wait time.Duration, err error) {
	if limits == (Limits{}) || want <= 0 {
		return max(want, 0), "", 0, nil
	}
	if lease > 0 {
		leaseID = leasesOf(s.owner) + rand.Text()
	}
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
// those that are free now, and no more than most, which is what the rate will
// give out by then. Without limits both are math.MaxInt, and while the provider
// is held (see [Store.HoldPermits]) for longer than that, 0.
func (s *Store) FreePermits(ctx context.Context, provider string, limits Limits, horizon time.Duration) (free, most int, err error) {
	if limits == (Limits{}) {
		return math.MaxInt, math.MaxInt, nil
	}
	reply, err := s.permits(ctx, provider, limits, 0, "", 0)
	if err != nil {
		return 0, 0, err
	}
	free, most = math.MaxInt, math.MaxInt
	held := time.Duration(reply[1]) * time.Millisecond
	if reply[2] >= 0 {
		free = int(reply[2])
	}
	if reply[3] >= 0 {
		most = int((float64(reply[3]) + float64(reply[4])*max(horizon-held, 0).Seconds()) / 1000)
	}
	if held > 0 && held >= horizon {
		most = 0
	}
	return min(free, most), most, nil
}

// Hold is until when a provider has asked to be left alone, and with what words.
// Its end may have passed.
type Hold struct {
	Until  credential.Millis // 0 if it never has
	Reason credential.Reason
	Detail string // of the outcome that asked for it
}

// HoldPermits has no more permits of a provider given out for a while, by
// anyone: it has asked to be left alone. What is out stays out, and a longer
// hold is not cut short. A provider without limits gives no permits out and
// cannot be held. why tells in [Store.Holds] what it is for; its Until is of no
// account.
func (s *Store) HoldPermits(ctx context.Context, provider string, lasts time.Duration, why Hold) error {
	if err := checkName("provider", provider); err != nil {
		return err
	}
	_, err := s.runInt(ctx, s.scripts.hold, []string{keyPermitState(provider)}, max(lasts.Milliseconds(), 1), string(why.Reason), why.Detail)
	if err != nil {
		return fmt.Errorf("hold permits: %w", err)
	}
	return nil
}

// Holds reads the last hold of each provider, in order.
func (s *Store) Holds(ctx context.Context, providers ...string) ([]Hold, error) {
	keys := make([]string, len(providers))
	replies := make([]*redis.SliceCmd, len(providers))
	pipe := s.client.Pipeline()
	for i, provider := range providers {
		if err := checkName("provider", provider); err != nil {
			return nil, err
		}
		keys[i] = keyPermitState(provider)
		replies[i] = pipe.HMGet(ctx, keys[i], "hold", "why", "detail")
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read holds: %w", s.explain(ctx, err, keys...))
	}
	list := make([]Hold, len(keys))
	for i, reply := range replies {
		values := reply.Val()
		until, err := strconv.ParseInt(cmp.Or(text(values[0]), "0"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read holds: %s: %w", keys[i], errReply)
		}
		list[i] = Hold{Until: credential.Millis(until), Reason: credential.Reason(text(values[1])), Detail: text(values[2])}
	}
	return list, nil
}

// permits runs the script: granted, ms to wait, free at once, tokens in
// thousandths, and how many come in a second, in thousandths.
func (s *Store) permits(ctx context.Context, provider string, limits Limits, want int, leaseID string, lease time.Duration) ([5]int64, error) {
	var numbers [5]int64
	if err := checkName("provider", provider); err != nil {
		return numbers, err
	}
	burst, fill := limits.bucket()
	reply, err := s.runList(ctx, s.scripts.permits, []string{keyPermitLeases(provider), keyPermitState(provider)},
		limits.Concurrency, burst, fill, want, leaseID, lease.Milliseconds())
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
