// Command stream reads the events of a refreshd out of the Redis that it keeps
// them in, as a consumer group: for programs that run this Redis anyway. Their
// Redis user should be able to read the event log and nothing else; the section
// "Reading the log in Redis" of docs/events.md has one.
//
//	export REDIS_URL=redis://app:PASSWORD@127.0.0.1:6379/0
//	go run ./examples/stream --group app --consumer app-1
//
// Every program that wants all events has a group of its own. Within a group,
// one consumer at a time keeps the events of each credential in order; started
// again by the same name, it goes on where it was.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/client/eventlog"
)

func main() {
	group := flag.String("group", "app", "consumer `group` that is read as")
	consumer := flag.String("consumer", "app-1", "`name` of the consumer within the group")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := read(ctx, os.Getenv("REDIS_URL"), *group, *consumer)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// read follows the logs of all shards until ctx is done.
func read(ctx context.Context, url, group, consumer string) error {
	options, err := redis.ParseURL(url)
	if err != nil {
		return errors.New("REDIS_URL is not set to redis://user:password@host:port/0")
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()

	meta, err := client.HMGet(ctx, eventlog.Meta, "shards", "epoch").Result()
	if err != nil {
		return err
	}
	shards, err := strconv.Atoi(fmt.Sprint(meta[0]))
	if err != nil {
		return errors.New("this Redis holds no refreshd")
	}
	readers, ctx := errgroup.WithContext(ctx)
	for shard := range shards {
		l := &logOf{
			client: client, group: group, consumer: consumer, source: fmt.Sprintf("urn:refreshd:%v", meta[1]),
			stream: eventlog.Stream(shard), trimmed: eventlog.Trimmed(shard),
		}
		readers.Go(func() error { return l.follow(ctx) })
	}
	return readers.Wait()
}

// logOf is the log of one shard. A credential's events are all in one.
type logOf struct {
	client          *redis.Client
	group, consumer string
	source          string
	stream, trimmed string // keys
	last            string // the newest entry that the group was handed
}

// join makes the group where there is none, at the oldest event that is left.
func (l *logOf) join(ctx context.Context) error {
	err := l.client.XGroupCreateMkStream(ctx, l.stream, l.group, "0").Err()
	if err == nil {
		l.last, err = l.trimmedTo(ctx) // what went before is not missed
		return err
	}
	if !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return err
	}
	groups, err := l.client.XInfoGroups(ctx, l.stream).Result()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.Name == l.group {
			l.last = g.LastDeliveredID
		}
	}
	return nil
}

// follow handles events until ctx is done. It begins, and begins again after
// each failure, with what this consumer was handed and has not acknowledged:
// the reply that brought it may have been lost. Only then come new ones.
func (l *logOf) follow(ctx context.Context) error {
	if err := l.join(ctx); err != nil {
		return err
	}
	for {
		err := l.handAll(ctx, "0")
		if err == nil {
			err = l.handAll(ctx, ">")
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop
		} else if strings.HasPrefix(err.Error(), "NOGROUP") {
			return fmt.Errorf("%s: the log began anew without this group; look at the present state, and start again: %w", l.stream, err)
		}
		log.Printf("%s: %v", l.stream, err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// handAll handles what is pending for this consumer ("0") and returns, or what
// is new (">") until something fails.
func (l *logOf) handAll(ctx context.Context, from string) error {
	for {
		streams, err := l.client.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: l.group, Consumer: l.consumer, Streams: []string{l.stream, from}, Count: 100, Block: 2 * time.Second,
		}).Result()
		if errors.Is(err, redis.Nil) {
			continue // nothing new for a while
		} else if err != nil {
			return err
		}
		entries := streams[0].Messages
		if len(entries) == 0 {
			return nil // nothing is pending
		}
		if from == ">" {
			if err := l.lookForGap(ctx); err != nil {
				return err
			}
			l.last = entries[len(entries)-1].ID
		}
		for _, entry := range entries {
			if err := l.hand(entry); err != nil {
				return err
			}
			// Acknowledged once it is handled: an event is not lost with this
			// process, but may come twice.
			if err := l.client.XAck(ctx, l.stream, l.group, entry.ID).Err(); err != nil {
				return err
			}
		}
	}
}

func (l *logOf) hand(entry redis.XMessage) error {
	stored, ok := entry.Values["e"].(string)
	if !ok {
		missing(l.stream) // it was trimmed before it was handled
		return nil
	}
	event, err := eventlog.Decode(l.source, entry.ID, stored)
	if errors.Is(err, eventlog.ErrUnknown) {
		return nil // refreshd is newer than this program
	} else if err != nil {
		return err
	}
	return handle(event)
}

// lookForGap asks whether entries were trimmed that this group has not seen.
func (l *logOf) lookForGap(ctx context.Context) error {
	trimmed, err := l.trimmedTo(ctx)
	if err != nil {
		return err
	}
	missed, err := eventlog.Missed(l.last, trimmed)
	if missed {
		missing(l.stream)
	}
	return err
}

func (l *logOf) trimmedTo(ctx context.Context) (string, error) {
	trimmed, err := l.client.Get(ctx, l.trimmed).Result()
	if errors.Is(err, redis.Nil) {
		return "0", nil
	}
	return trimmed, err
}

// handle is called with every event, in the order of each credential's
// versions. One that comes twice has the same Source and ID.
func handle(event eventlog.Event) error {
	_, err := fmt.Printf("%s %s %s\n", event.ID, event.Type, event.Data.State)
	return err
}

// missing is called where this program was away for longer than events are
// kept. Here a program looks at the present state of its credentials.
func missing(stream string) { fmt.Printf("events of %s are missing\n", stream) }
