package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/refreshd/refreshd/internal/credential"
)

// defaultRetention is how long the event log, and a tombstone with it, is kept
// unless told otherwise.
const defaultRetention = 96 * time.Hour

// Keyset seals, hashes and is recognised again.
type Keyset interface {
	Sealer
	Hasher
	Canary
}

// Sealer encrypts and binds what it encrypts to associated data. It is safe
// for concurrent use. Current tells what is sealed with the key that Seal uses
// now from what an older one has sealed.
type Sealer interface {
	Seal(plain, ad []byte) ([]byte, error)
	Open(sealed, ad []byte) ([]byte, error)
	Current(sealed []byte) bool
}

// Hasher makes keyed hashes. MACs returns one per key that ever was in use, so
// that what was hashed before a rotation is recognised.
type Hasher interface {
	MAC(data []byte) credential.MAC
	MACs(data []byte) []credential.MAC
}

// Canary lets a keyset be recognised as the one, or a rotation of the one,
// that sealed what is stored. Fingerprint tells keysets apart for people.
// Behind reports that the blob was made by a later rotation of it, whose keys
// it has and does not use yet.
type Canary interface {
	Check() ([]byte, error)
	Verify(blob []byte) error
	Behind(blob []byte) bool
	Fingerprint() string
}

// Options are what a [Store] is made of. Client, Keyset and Owner are
// required.
type Options struct {
	Client redis.UniversalClient
	Keyset Keyset
	// Shards is fixed with the first start; 1 unless set, at most MaxShards.
	Shards int
	// Owner names this process start: random, of printable ASCII.
	Owner string
	// Place names the folder of the owner's journal; "" if it has none.
	Place string
	// Epoch names the installation where none is described yet; a random name
	// unless set.
	Epoch string
	// Retention is how long a tombstone stays; 96 h unless set.
	Retention time.Duration
	// MaxCredentials bounds how many credentials may be created; 0 is no bound.
	// Over several shards each takes its part.
	MaxCredentials int
	// Memory says that the client speaks to miniredis in this process: scripts
	// go without flags, and RunID is required, for it knows no INFO server.
	Memory bool
	RunID  func(ctx context.Context) (string, error)
}

// Store keeps credentials in Redis. Its methods may be called concurrently and
// honour their context. After an error nothing is known of what was done, and
// repeating the same call is safe.
type Store struct {
	client    redis.UniversalClient
	keyset    Keyset
	shards    []shardKeys
	owner     string
	epoch     string
	retention time.Duration
	perShard  int // most credentials of one shard, 0 for no bound
	most      int
	memory    bool
	runID     func(ctx context.Context) (string, error)
	scripts   scripts
	events    eventTable
	place     string
	gate      atomic.Pointer[gate] // nil lets everything pass
	skewed    atomic.Pointer[func(context.Context) error]
	confirm   atomic.Pointer[Confirm]
}

// New checks what is stored against the options and describes the installation
// where nothing is. It refuses a newer schema ([*SchemaError]), another number
// of shards ([*ShardsError]), a keyset that cannot open what is stored
// ([*KeysetError]) and somebody else's key in place of ours
// ([*WrongTypeError], [*CorruptError]).
func New(ctx context.Context, opts Options) (*Store, error) {
	if opts.Shards == 0 {
		opts.Shards = 1
	}
	if opts.Shards < 0 || opts.Shards > MaxShards {
		return nil, fmt.Errorf("redis.shards is %d; 1 to %d are possible", opts.Shards, MaxShards)
	}
	if opts.Memory && opts.RunID == nil {
		return nil, errors.New("the in-process store needs a run ID of its own")
	}
	if err := checkName("owner", opts.Owner); err != nil {
		return nil, err
	}
	if opts.Epoch == "" {
		opts.Epoch = rand.Text()
	}
	if opts.Retention <= 0 {
		opts.Retention = defaultRetention
	}
	scripts, err := loadScripts(opts.Memory)
	if err != nil {
		return nil, err
	}
	s := &Store{
		client: opts.Client, keyset: opts.Keyset, shards: allShardKeys(opts.Shards), owner: opts.Owner, place: opts.Place, epoch: opts.Epoch,
		retention: opts.Retention, most: opts.MaxCredentials, memory: opts.Memory, runID: opts.RunID,
		scripts: scripts, events: newEventTable(),
	}
	s.perShard = (opts.MaxCredentials + opts.Shards - 1) / opts.Shards
	if err := s.checkMeta(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Shards returns the number of shards.
func (s *Store) Shards() int { return len(s.shards) }

// ShardOf returns the shard of a credential.
func (s *Store) ShardOf(id credential.ID) int {
	return int(shardHash(id) % uint64(len(s.shards))) //nolint:gosec // less than the number of shards
}

// Epoch names this installation's event log among those that number their
// entries alike: it was drawn when this Redis was first used.
func (s *Store) Epoch() string { return s.epoch }

// Now tells the clock of Redis.
func (s *Store) Now(ctx context.Context) (credential.Millis, error) {
	t, err := s.client.Time(ctx).Result()
	if err != nil {
		return 0, fmt.Errorf("time of redis: %w", err)
	}
	return credential.At(t), nil
}

func (s *Store) keysOfID(id credential.ID) shardKeys { return s.shards[s.ShardOf(id)] }

func (s *Store) credKey(id credential.ID) string { return s.keysOfID(id).cred + string(id) }

// ofShard returns the names of a shard.
func (s *Store) ofShard(shard int) (shardKeys, error) {
	if shard < 0 || shard >= len(s.shards) {
		return shardKeys{}, fmt.Errorf("shard %d of %d", shard, len(s.shards))
	}
	return s.shards[shard], nil
}
