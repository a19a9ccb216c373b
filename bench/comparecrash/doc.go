// Command comparecrash kills refreshd, and a plain worker as it is written with
// asynq and golang.org/x/oauth2, in the middle of their refreshes, and counts
// what is left of the credentials: by the ledger of one practice provider, and
// by what the subject itself has stored in the end.
//
// A run has fresh grants, a provider, a redis-server (append-only file, fsync
// every second, unix socket) and two processes of one subject. All credentials
// become due at once. In the scenario "kill" the provider delays its answers, from
// half of the latency to one and a half; for half of the requests it has rotated
// the token before that, for the other half it does so with the answer. When a number of answers that was drawn from the seed has
// been given, the same number for all subjects, both processes are killed with
// SIGKILL and started again. In the scenario "slow" nobody is killed, and the
// provider takes longer than the plain worker's lock lasts.
//
// A run is over when the subject holds a fresh token of every credential, or
// says that its user has to log in again, and nothing is in the air any more.
// Then every token is shown to the provider's resource: what the subject holds
// is taken at its word only where the provider agrees.
package main
