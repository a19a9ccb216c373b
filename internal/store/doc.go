// Package store keeps credentials in Redis: sealed records, the due index, the
// event log, and what replicas share beside them (permits, API keys, lanes of
// subscriptions, slots of periodic tasks, heartbeats).
//
// Everything that must be decided together is one Lua script, and all keys of
// one script are in one hash slot. The scripts compare and set; the rules are
// in package credential. What takes part in a decision about time is the clock
// of Redis. Whoever needs a call to be safe to repeat finds that it is: go-redis
// repeats a script whose reply was lost, so every script recognises its own
// repetition by a nonce, a lease or by what it would write.
//
// Keys are listed in keys.go, the layout of a record in record_codec.go.
package store
