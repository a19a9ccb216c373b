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
// The first frame is a head that names the owner. The file is allocated ahead
// of its content, so that a sync has no metadata to write and a reply finds
// the room that was set aside for it; what was never written reads as zeros,
// which no frame starts with.
//
// A frame that is damaged is skipped by looking for the next sound one, and
// reported. What follows the last sound frame is a write that was cut off: it
// was never acknowledged, and is dropped.
package journal
