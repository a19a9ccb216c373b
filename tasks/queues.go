package tasks

import "fmt"

// The queues that are not of a shard.
const (
	QueueSingle   = "single"
	QueueFetch    = "fetch"
	QueueDelivery = "delivery"
)

// RefreshQueue is the queue for the batches of one shard. Its name is the hash
// tag of the shard's keys as well, so a credential and the tasks about it are
// on one node of a cluster.
func RefreshQueue(shard int) string { return fmt.Sprintf("refresh-%02d", shard) }

// RefreshQueues lists the queues of all shards.
func RefreshQueues(shards int) []string {
	names := make([]string, shards)
	for i := range names {
		names[i] = RefreshQueue(i)
	}
	return names
}
