// Package rig is what the comparisons stand on: the machine that they run on,
// the programs that they start and wait for, and a redis-server on a unix
// socket. How long something may take and what is said then is theirs.
package rig
