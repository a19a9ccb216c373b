// Package tasks is what travels through the queue: the types of tasks, their
// payloads, the queues they go to and the options they carry. A payload names
// credentials and never holds anything of theirs: whoever can read the queue
// learns IDs.
//
// Tasks are hints. What is due stands in the due index, what is to be
// delivered in the lanes of subscriptions, how far a fetch came in its slot;
// whatever happens to a task, those bring the work back. So asynq never runs
// one a second time by itself (MaxRetry is 0 everywhere), nothing is read from
// its archive, and its Unique locks, which stay behind for their whole time
// when the ID conflicts as well, are not used.
package tasks
