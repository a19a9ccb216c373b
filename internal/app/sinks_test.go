package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/delivery/jetstream"
	"github.com/refreshd/refreshd/internal/provider/wire"
)

// sinkFolder has a configuration with one sink.
func sinkFolder(t *testing.T, set map[string]any) *config.Config {
	t.Helper()
	f := newFolder(t, "https://id.acme.example/token")
	set["name"], set["types"] = "bus", []any{"*"}
	f.config["subscriptions"] = []any{set}
	return f.load(t)
}

func TestJetStreamIsTakenAsConfigured(t *testing.T) {
	t.Parallel()
	conf := sinkFolder(t, map[string]any{"format": "jetstream", "url": "nats://127.0.0.1:4222", "subject": "refreshd.{type}"})
	list, err := outlet{}.subscribed(conf)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.IsType(t, &jetstream.Sink{}, list[0].Carrier)
	assert.Empty(t, CheckSinks(conf))
}

func TestSinksAreNotDialledEverywhere(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"169.254.169.254:4222", "[fe80::1]:4222", "[::ffff:169.254.169.254]:4222", "100.100.100.200:9092"} {
		conn, err := dialSink(t.Context(), "tcp", address)
		require.ErrorIs(t, err, wire.ErrForbiddenAddress, address)
		assert.Nil(t, conn)
	}
}

func TestSinkTLS(t *testing.T) {
	t.Parallel()
	none, err := sinkTLS(config.SinkTLS{})
	require.NoError(t, err)
	assert.Nil(t, none)
	system, err := sinkTLS(config.SinkTLS{Enabled: true})
	require.NoError(t, err)
	assert.Nil(t, system.RootCAs)

	text := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(text, []byte("no certificate"), 0o600))
	for says, set := range map[string]config.SinkTLS{
		"tls.ca_file: open":                 {Enabled: true, CAFile: text + "x"},
		"tls.ca_file: it holds no":          {Enabled: true, CAFile: text},
		"tls.cert: open":                    {Enabled: true, Cert: text + "x", Key: text},
		"tls.cert: tls: failed to find any": {Enabled: true, Cert: text, Key: text},
	} {
		_, err := sinkTLS(set)
		require.ErrorContains(t, err, says)
	}
}
