// Package worker does what the tasks on the queue ask for: it refreshes
// batches and single credentials, sweeps a provider's credentials, and
// advances the lanes of subscriptions.
//
// Every handler may run twice, and may be abandoned: asynq runs a task again
// after its worker was killed or its "done" was lost, and walks away from a
// handler whose time is up. So handlers decide by what is stored, a refresh
// that was sent runs to its end whatever becomes of its task, and nothing
// relies on a task being run again: the due index, the lanes and the slots
// bring back what was left undone.
package worker
