// Package demo shows refreshd at work: it starts a practice provider in its own
// process and the built refreshd as a child, stores credentials over the HTTP
// API, and draws what the event stream tells until it is interrupted. All of it
// is on loopback and in one temporary folder.
//
// [Run] is the whole of it. What is shown is decided by pure functions of the
// [board], so that a golden text is a test; a terminal gets a table that is
// drawn again and again, anything else gets lines.
package demo
