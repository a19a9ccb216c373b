// Package harness runs refreshd as its users do: real processes on a data
// folder, a practice provider on a loopback port, a redis-server, calls of the
// API, subscribers of both kinds. What it saw it returns as package oracle
// wants it. It is test support and is imported by tests only.
package harness
