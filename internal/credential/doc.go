// Package credential is the domain of refreshd: what a stored credential is,
// the states it can be in, which events its changes publish, and when it is
// due. Everything here is a pure function of its arguments and uses the
// standard library only; clocks, storage and the network belong to others.
//
// All times are UTC with millisecond precision and come from one clock, that
// of the shared store; see [Millis].
package credential
