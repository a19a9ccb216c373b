package sinks

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/delivery/jetstream"
	"github.com/refreshd/refreshd/internal/event"
)

// natsServer runs a NATS server with JetStream in a folder; port 0 is any.
func natsServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { stopNATS(s) })
	require.True(t, s.ReadyForConnections(patience))
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func natsSink(t *testing.T, url string, change func(*jetstream.Options)) *jetstream.Sink {
	t.Helper()
	o := jetstream.Options{URL: url, Subject: "refreshd.{provider}.{type}.{credential}", Dial: dial, Source: source, Name: "refreshd"}
	if change != nil {
		change(&o)
	}
	sink := jetstream.New(o)
	t.Cleanup(func() { assert.NoError(t, sink.Close()) })
	return sink
}

// stream makes a stream for all subjects of refreshd.
func stream(t *testing.T, url string, config js.StreamConfig) js.Stream {
	t.Helper()
	conn, err := nats.Connect(url)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	client, err := js.New(conn)
	require.NoError(t, err)
	config.Name, config.Subjects = "EVENTS", []string{"refreshd.>"}
	made, err := client.CreateStream(t.Context(), config)
	require.NoError(t, err)
	return made
}

func TestJetStream(t *testing.T) {
	t.Parallel()
	s := natsServer(t, t.TempDir(), 0)
	events := stream(t, s.ClientURL(), js.StreamConfig{})
	sink := natsSink(t, s.ClientURL(), nil)
	for range 2 { // the second time is one that somebody else has delivered before
		for n := range uint64(3) {
			require.Equal(t, delivery.Outcome{Result: delivery.Delivered}, sink.Carry(t.Context(), entry("alice", n+1)))
		}
	}
	require.Equal(t, delivery.Delivered, sink.Carry(t.Context(), notice()).Result)
	info, err := events.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 4, info.State.Msgs, "the stream drops what comes twice")
	for n := range uint64(3) {
		message, err := events.GetMsg(t.Context(), n+1)
		require.NoError(t, err)
		want := event.Expand(entry("alice", n+1), source, event.Filter{})
		body, err := want.Encode()
		require.NoError(t, err)
		assert.JSONEq(t, string(body), string(message.Data))
		assert.Equal(t, "refreshd.github.credential.refreshed.github:alice", message.Subject)
		assert.Equal(t, want.ID, message.Header.Get(js.MsgIDHeader))
		assert.Equal(t, "application/cloudevents+json", message.Header.Get("content-type"))
	}
	message, err := events.GetMsg(t.Context(), 4)
	require.NoError(t, err)
	assert.Equal(t, "refreshd.-.subscription.lagging.-", message.Subject)
}

// A server that is away, at the first event or later, is found again.
func TestJetStreamServerAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := natsServer(t, dir, 0)
	url := s.ClientURL()
	at, ok := s.Addr().(*net.TCPAddr)
	require.True(t, ok)
	stream(t, url, js.StreamConfig{})
	sink := natsSink(t, url, nil)
	require.Equal(t, delivery.Delivered, sink.Carry(t.Context(), entry("alice", 1)).Result)
	stopNATS(s)
	out := sink.Carry(t.Context(), entry("alice", 2))
	require.Equal(t, delivery.Unreachable, out.Result)
	require.Error(t, out.Err)
	late := natsSink(t, url, nil)
	require.Equal(t, delivery.Unreachable, late.Carry(t.Context(), entry("bob", 1)).Result)

	natsServer(t, dir, at.Port)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, delivery.Delivered, sink.Carry(t.Context(), entry("alice", 2)).Result)
	}, patience, 100*time.Millisecond)
	require.Equal(t, delivery.Delivered, late.Carry(t.Context(), entry("bob", 1)).Result)
}

func TestJetStreamRefusals(t *testing.T) {
	t.Parallel()
	s := natsServer(t, t.TempDir(), 0)
	sink := natsSink(t, s.ClientURL(), nil)
	out := sink.Carry(t.Context(), entry("alice", 1))
	assert.Equal(t, delivery.Refused, out.Result, "no stream")
	require.ErrorContains(t, out.Err, "no stream takes this subject")

	stream(t, s.ClientURL(), js.StreamConfig{MaxMsgs: 1, Discard: js.DiscardNew})
	require.Equal(t, delivery.Delivered, sink.Carry(t.Context(), entry("alice", 1)).Result)
	out = sink.Carry(t.Context(), entry("alice", 2))
	assert.Equal(t, delivery.Refused, out.Result, "a full stream")
	assert.NotZero(t, out.Status)

	forbidden := natsSink(t, s.ClientURL(), func(o *jetstream.Options) { o.Dial = refuseToDial })
	out = forbidden.Carry(t.Context(), entry("alice", 2))
	assert.Equal(t, delivery.Unreachable, out.Result)
	require.ErrorIs(t, out.Err, errForbidden)

	plain := natsSink(t, s.ClientURL(), func(o *jetstream.Options) { o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} })
	assert.Equal(t, delivery.Unreachable, plain.Carry(t.Context(), entry("alice", 2)).Result, "TLS is asked for, and the server has none")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, sink.Carry(ctx, entry("alice", 2)).Err, context.Canceled)
}

// What is closed lets deliveries under way end, and takes no more.
func TestJetStreamClosed(t *testing.T) {
	t.Parallel()
	s := natsServer(t, t.TempDir(), 0)
	stream(t, s.ClientURL(), js.StreamConfig{})
	sink := natsSink(t, s.ClientURL(), nil)
	var lanes sync.WaitGroup
	for lane := range uint64(8) {
		lanes.Go(func() {
			for n := range uint64(1000) {
				out := sink.Carry(t.Context(), entry("alice", lane*1000+n+1))
				if out.Result == delivery.Delivered {
					continue
				}
				assert.ErrorIs(t, out.Err, delivery.ErrReplaced)
				return
			}
		})
	}
	require.NoError(t, sink.Close())
	lanes.Wait()
	require.ErrorIs(t, sink.Carry(t.Context(), entry("alice", 1)).Err, delivery.ErrReplaced)
	require.NoError(t, sink.Close())
}
