// Package testproc runs real programs for tests: it builds a Go command once
// per test binary, starts processes, waits for what they say, stops, kills,
// pauses and resumes them, and runs redis-server on a unix socket or a free
// loopback port.
//
// It is test support and is imported by tests only. A process is ended through
// t.Cleanup and only ever by its own process handle. Every wait is on a pipe,
// a connection or a process, inside a bounded time.
package testproc
