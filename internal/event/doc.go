// Package event reads committed events from the store's event log: it follows
// the log, serves readers by cursor, and expands what is stored compactly into
// CloudEvents. Taking them to subscribers is package delivery's matter.
package event
