// Package sinks delivers events to the servers that other people wrote: a NATS
// server as a library, and the brokers of franz-go's own tests. It is a module
// of its own, so that these stay out of the service's dependencies.
package sinks
