//go:build kafka

package app

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/delivery/kafka"
)

func TestKafkaIsTakenAsConfigured(t *testing.T) {
	t.Parallel()
	conf := sinkFolder(t, map[string]any{"format": "kafka", "brokers": []any{"127.0.0.1:9092"}, "topic": "auth"})
	list, err := outlet{}.subscribed(conf)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.IsType(t, &kafka.Sink{}, list[0].Carrier)
}
