// Package eventlog decodes the event log that refreshd keeps in Redis, for
// subscribers who run that Redis anyway and read the log themselves, as a
// consumer group for instance. It needs nothing but the standard library: how
// Redis is spoken to is the program's own matter.
//
// The log of each shard is a stream ([Stream]). An entry has one field, "e",
// which holds the event in a compact form; [Decode] turns it into the CloudEvent
// that webhooks and the HTTP API deliver. Entries are trimmed by time; [Missed]
// tells a reader whether that has cost it events.
//
//	entry := streams[0].Messages[0]
//	event, err := eventlog.Decode(source, entry.ID, entry.Values["e"].(string))
//
// The page docs/events.md of the project says what else such a reader has to
// mind: who may read what, order, and what comes twice. The folder
// examples/stream has one.
package eventlog
