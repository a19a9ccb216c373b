// Package event carries committed events from the store's event log to those
// who want to hear of them: it follows the log, expands what is stored
// compactly into CloudEvents, and delivers by stream and by webhook. Delivery
// is at least once and in order for each credential.
package event
