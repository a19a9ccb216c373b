// Package subscription knows who is told of events: the subscriptions of the
// configuration and those that were made through the API, what their settings
// may be, and how a change of one reaches every process.
package subscription
