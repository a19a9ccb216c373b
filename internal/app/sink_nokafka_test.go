//go:build !kafka

package app

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKafkaIsNotInThisBuild(t *testing.T) {
	t.Parallel()
	conf := sinkFolder(t, map[string]any{"format": "kafka", "brokers": []any{"127.0.0.1:9092"}, "topic": "auth"})
	_, err := outlet{}.subscribed(conf)
	require.ErrorIs(t, err, errNoKafka)
	require.ErrorContains(t, err, "subscriptions.bus: ")
	problems := CheckSinks(conf)
	require.Len(t, problems, 1, "and it is said before the start")
	require.Contains(t, problems[0], "subscriptions[0] (bus): "+errNoKafka.Error())
}
