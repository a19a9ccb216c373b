// Package delivery takes committed events to those who subscribed to them: by
// lanes, in order for each credential, at least once, with the cursor of each
// lane in the store, so that whoever goes on after a crash knows where. How an
// event travels is a [Carrier]'s matter.
package delivery
