package kafka

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// trouble remembers why the last connection failed: the client goes on by
// itself, and all that a delivery sees is that its time is over.
type trouble struct {
	mu   sync.Mutex
	last error
}

// OnBrokerConnect is called by the client.
func (t *trouble) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if answer, ok := errors.AsType[*kerr.Error](err); ok {
		err = answer // without what the broker has to say about it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = err
}

// behind returns err, with what may be behind it.
func (t *trouble) behind(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		return err
	}
	return fmt.Errorf("%w; the last connection failed: %w", err, t.last)
}
