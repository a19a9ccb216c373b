package event

import (
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event/eventtest"
)

// bundle is a store with an event log, and what reads it.
type bundle struct{ *eventtest.Bundle }

func setup(t *testing.T, shards int) *bundle {
	t.Helper()
	return &bundle{eventtest.Setup(t, shards)}
}

// log returns a follower that is not started.
func (b *bundle) log() *Log {
	l := NewLog(b.Store, zerolog.Nop())
	b.T.Cleanup(l.Stop)
	return l
}

// following returns one that follows, and what it hears.
func (b *bundle) following() (*Log, *ear) {
	b.T.Helper()
	l, e := b.log(), newEar()
	l.Listen(e)
	require.NoError(b.T, l.Start(b.T.Context()))
	return l, e
}

// ear listens.
type ear struct {
	events chan credential.Event
	heard  chan int
}

func newEar() *ear {
	return &ear{events: make(chan credential.Event, 100_000), heard: make(chan int, 100_000)}
}

func (e *ear) Observe(event credential.Event) { e.events <- event }

func (*ear) Asks(int) {}

func (e *ear) Heard(shard int) {
	select {
	case e.heard <- shard:
	default:
	}
}
