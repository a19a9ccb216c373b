// Package scheduler decides when: it claims what is due and puts it on the
// queue, opens the slots of the fetch schedules, notices that a clock jumped,
// and trims the event log.
//
// Every replica runs it and none leads. A claim is atomic, so a credential is
// handed to one of them; a slot's task has a fixed ID, so one of their tasks
// for it is taken. What is due and which slots are done is stored, so nothing
// is forgotten while no replica runs: whatever is overdue then is claimed at
// the next start, as fast as each provider's limits allow, and of the slots
// that were missed only the newest is done.
package scheduler
