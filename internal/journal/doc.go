// Package journal is the local write-ahead journal: what must survive the
// death of this process before the store has it. An intent is written before a
// refresh token is presented, a keep when the reply was read, a change before
// an owner's PUT, logout or delete is acknowledged; a drop says that the store
// holds a record durably.
//
// # Files
//
// Each process has one file, <owner>.wal, under an exclusive flock(2) that it
// holds for life. The kernel frees the lock when the process dies, however it
// dies, and not when it is stopped: a free lock is the proof of death by which
// [Adopt] takes a journal over. A file gets its .wal name only once it is
// locked. Because flock cannot be relied on over a network, journals on
// network file systems are refused.
//
// # When the disk fails
//
// A record for which the disk has no room is refused, and the journal goes on;
// room for the replies to what was sent was set aside. A file is made with room
// for a few replies where there is none for more.
//
// A file that is mostly of the past is written anew when it is long: after 32 MiB, or
// on a disk that has no room for as long a file beside it after half a MiB. There it
// takes beside its own room that of the file which will replace it. Who is refused
// for want of room has that done at once, if it gives any: what is allocated and was
// not promised is given back first, and nothing new is begun until the room of the
// replies in the air is free for it. If it cannot be done all the same, the old file
// stays as it is. A process that finds no room for its file cuts the files of the
// dead to their content, and begins with none for replies if there are any to adopt.
//
// After a write or a sync that fails, nothing is known of what the disk holds
// beside what was acknowledged before, and a sync that succeeds later proves
// nothing. The journal is broken then: its calls fail at once, but for a reply,
// which waits up to 4 s. The records that were acknowledged and not dropped are
// read back, checked, written to another file with the room that was promised, and
// synced, and that file takes the name. This is tried after a second, and then again
// after 2, 4, 8, 10, 10 … seconds; while a reply waits, which is nowhere but in
// memory, at once and then each second. Records whose callers were told that they
// failed are not in it: an intent among them was never sent. Until then, and if the
// process dies, the old file stands, and may have them: an adopter takes what was
// not sent for sent, which costs a doubt and no token.
//
// A write or a sync that has neither failed nor returned for 5 s leaves the file as
// it is, for it may still be done. Until it returns nothing new is taken; who waits
// for an intent or a change is told that it was not made, and it is dropped behind
// what is under way. A reply waits.
//
// An acknowledged record that cannot be read back leaves a hole, by which an
// adopter sees that an intent may be missing, until that record is dropped. The
// old file is kept as <owner>.<random>.damaged.
//
// # When somebody takes the file away
//
// A file that is removed, moved or replaced under its living owner is of no use
// to an heir. The owner looks every second whether the file still has its name,
// and if not writes all records to a new one, which takes it. A file that had
// taken the name is kept as <owner>.<random>.damaged.
//
// # Format
//
// A file is a row of frames, each at a multiple of 8 bytes, padded with zeros:
//
//	length   4 bytes  of the payload, little endian
//	sum      4 bytes  CRC-32C of the payload
//	check    4 bytes  CRC-32C of the owner's name, the fields above and below
//	type     1 byte   head, intent, keep, change, drop
//	schema   1 byte   of the payload
//	zero     2 bytes
//	payload
//
// The first frame is a head that names the owner; another ends what was copied
// from an older file. The file is allocated ahead
// of its content, so that a sync has no metadata to write and a reply finds
// the room that was set aside for it; what was never written reads as zeros,
// which no frame starts with.
//
// A frame that is damaged is skipped by looking for the next sound one, and
// reported. What follows the last sound frame is a write that was cut off: it
// was never acknowledged, and is dropped. A file whose length no process
// can have given it was cut short by somebody: that is reported as damage, for
// acknowledged records may be missing. One that was cut between two sectors cannot
// be told from one that ends there.
package journal
