package sinks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	source   = "urn:refreshd:e"
	patience = 20 * time.Second
)

var errForbidden = errors.New("link-local and metadata addresses are refused")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func refuseToDial(context.Context, string, string) (net.Conn, error) { return nil, errForbidden }

// entry is version n of a user's credential.
func entry(user string, n uint64) credential.LogEntry {
	at := credential.Millis(1_800_000_000_000 + n) //nolint:gosec // versions are few
	return credential.LogEntry{
		Position: fmt.Sprintf("%d-0", 1_800_000_000_000+n), At: at,
		Event: credential.Event{
			Type: credential.EventRefreshed, ID: credential.ID("github:" + user), Version: n, State: credential.StateActive,
			PreviousState: credential.StateActive, InitiatedBy: credential.BySchedule, Nonce: credential.Nonce(binary.BigEndian.AppendUint64([]byte("nonce-of"), n)),
			Provider: "github", Subject: "u-7", ExpiresAt: 1_800_003_600_000,
		},
	}
}

// notice is an event that is about no credential.
func notice() credential.LogEntry {
	return credential.LogEntry{Position: "1800000000000-0", At: 1_800_000_000_000, Event: credential.Event{
		Type: credential.EventSubscriptionLagging, InitiatedBy: credential.BySchedule, Nonce: credential.Nonce{1},
		Notice: credential.Notice{Subscription: "ui", Since: 1_800_000_000_000, Oldest: 1_799_000_000_000},
	}}
}
