// Command compare measures how many refreshes per second refreshd makes beside
// a plain loop that stores nothing (L) and an ordinary asynq worker (N), all
// against one practice provider on loopback.
//
// Each run gets fresh grants and a redis-server of its own (append-only file,
// fsync every second, unix socket). The provider's ledger is the only clock: of
// the n rotations of a run, those between the first and the last tenth are
// counted over the time between them, for all three in the same way. Pairs
// alternate, and the medians of their ratios are compared with the targets.
package main
