// Package redisconn turns one URL into a Redis that is fit to keep
// credentials: it connects, waits while the server loads, and refuses one that
// is too old, evicts keys, persists nothing or is a read-only replica, each
// with the remedy.
//
// Without a URL it provides a Redis itself. Where redis-server is installed it
// runs as a child of whichever refreshd process came first, on a unix socket,
// with every write synced; all processes that share the data folder use the
// same one, it outlives a crash of its parent, and the last process to stop in
// order stops it. Elsewhere a small in-process store stands in, with snapshots.
//
// What is in the data folder:
//
//	redis/                    the server's data, socket and log
//	redis/server.lock         held by the running redis-server itself
//	redis/users.lock          held shared by every process that uses it, and
//	                          alone by one that uses the in-process store
//	embedded.snapshot         the in-process store, as of a few seconds ago
package redisconn
