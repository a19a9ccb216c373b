package sinks

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/delivery/kafka"
	"github.com/refreshd/refreshd/internal/event"
)

const topic = "auth-events"

func brokers(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2), kfake.SeedTopics(4, topic)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func kafkaSink(t *testing.T, c *kfake.Cluster, change func(*kafka.Options)) *kafka.Sink {
	t.Helper()
	o := kafka.Options{Brokers: c.ListenAddrs(), Topic: topic, Dial: dial, Source: source, Name: "refreshd"}
	if change != nil {
		change(&o)
	}
	sink, err := kafka.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sink.Close()) })
	return sink
}

// consume returns the first n records of the topic.
func consume(t *testing.T, c *kfake.Cluster, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var list []*kgo.Record
	for len(list) < n {
		fetched := client.PollFetches(ctx)
		require.NoError(t, fetched.Err())
		list = append(list, fetched.Records()...)
	}
	return list
}

func TestKafka(t *testing.T) {
	t.Parallel()
	c := brokers(t)
	sink := kafkaSink(t, c, nil)
	const users, versions = 5, 20
	for n := range uint64(versions) {
		for user := range users {
			out := sink.Carry(t.Context(), entry(fmt.Sprintf("user-%d", user), n+1))
			require.Equal(t, delivery.Outcome{Result: delivery.Delivered}, out)
		}
	}
	require.Equal(t, delivery.Delivered, sink.Carry(t.Context(), notice()).Result)

	partition, last := map[string]int32{}, map[string]uint64{}
	for _, r := range consume(t, c, users*versions+1) {
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		var data event.Data
		require.NoError(t, json.Unmarshal(r.Value, &data))
		if headers["ce_type"] == string(credential.EventSubscriptionLagging) {
			assert.Equal(t, "ui", string(r.Key))
			assert.NotContains(t, headers, "ce_subject")
			continue
		}
		key := string(r.Key)
		if before, seen := partition[key]; seen {
			require.Equal(t, before, r.Partition, "a credential's events are in one partition")
		}
		partition[key] = r.Partition
		require.Equal(t, last[key]+1, data.Version, "in order")
		last[key] = data.Version
		want := event.Expand(entry(key[len("github:"):], data.Version), source, event.Filter{})
		assert.Equal(t, map[string]string{
			"ce_specversion": "1.0", "ce_id": want.ID, "ce_source": source, "ce_type": "credential.refreshed", "ce_subject": key,
			"ce_time": want.Time.Format("2006-01-02T15:04:05.999999999Z07:00"), "content-type": "application/json",
		}, headers)
		assert.Equal(t, *want.Data, data)
		assert.True(t, want.Time.Equal(r.Timestamp))
	}
	assert.Len(t, last, users)
}

func TestKafkaRefusals(t *testing.T) {
	t.Parallel()
	c := brokers(t)
	c.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked, ok := request.(*kmsg.ProduceRequest)
		if !ok {
			return nil, nil, false
		}
		reply, ok := asked.ResponseKind().(*kmsg.ProduceResponse)
		if !ok {
			return nil, nil, false
		}
		for _, of := range asked.Topics {
			to := kmsg.NewProduceResponseTopic()
			to.Topic, to.TopicID = of.Topic, of.TopicID
			for _, p := range of.Partitions {
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				to.Partitions = append(to.Partitions, part)
			}
			reply.Topics = append(reply.Topics, to)
		}
		return reply, nil, true
	})
	out := kafkaSink(t, c, nil).Carry(t.Context(), entry("alice", 1))
	assert.Equal(t, delivery.Refused, out.Result)
	assert.EqualValues(t, kerr.TopicAuthorizationFailed.Code, out.Status)
	require.ErrorContains(t, out.Err, kerr.TopicAuthorizationFailed.Message)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, kafkaSink(t, c, nil).Carry(ctx, entry("alice", 1)).Err, context.Canceled)
}

func TestKafkaLogin(t *testing.T) {
	t.Parallel()
	c := brokers(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "refreshd", "hush"))
	login := func(password string) func(*kafka.Options) {
		return func(o *kafka.Options) {
			o.Mechanism, o.Username, o.Password = kafka.ScramSHA512, "refreshd", credential.NewSecret(password)
		}
	}
	assert.Equal(t, delivery.Outcome{Result: delivery.Delivered}, kafkaSink(t, c, login("hush")).Carry(t.Context(), entry("alice", 1)))
	out := kafkaSink(t, c, login("wrong-password")).Carry(t.Context(), entry("alice", 2))
	assert.Equal(t, delivery.Unreachable, out.Result)
	require.ErrorContains(t, out.Err, "last err: ")
	assert.NotContains(t, out.Err.Error(), "wrong-password")

	_, err := kafka.New(kafka.Options{Brokers: c.ListenAddrs(), Topic: topic, Mechanism: "gssapi", Dial: dial})
	require.ErrorContains(t, err, "none of")
}

func TestKafkaAwayAndClosed(t *testing.T) {
	t.Parallel()
	c := brokers(t)
	sink := kafkaSink(t, c, nil)
	require.Equal(t, delivery.Delivered, sink.Carry(t.Context(), entry("alice", 1)).Result)
	require.NoError(t, sink.Close())
	require.ErrorIs(t, sink.Carry(t.Context(), entry("alice", 2)).Err, delivery.ErrReplaced)
	require.NoError(t, sink.Close())

	forbidden := kafkaSink(t, c, func(o *kafka.Options) { o.Dial = refuseToDial })
	out := forbidden.Carry(t.Context(), entry("alice", 2))
	assert.Equal(t, delivery.Unreachable, out.Result)
	require.ErrorContains(t, out.Err, errForbidden.Error())
}
