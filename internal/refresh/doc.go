// Package refresh is the crash-safe refresh. A rotating refresh token can be
// spent once: spend it twice and a strict provider revokes the whole family,
// lose the reply and the user has to log in again. So every refresh goes
// through the same steps, whoever asked for it:
//
//	permit    the provider's limits, over all replicas
//	begin     the sole right to present this generation, stored durably
//	intent    noted in the local journal, with room for the reply
//	exchange  once, detached from whoever asked
//	keep      what came, in the journal and synced: a token before it is
//	          parsed, the end of a grant before anything else is looked at
//	commit    token, next due time and events in one script
//	release   the journal's record goes when the store is known to hold it
//
// What happens to a credential is decided by the pure functions of package
// credential; this package carries the decisions out, and recovers what dead
// processes left open.
package refresh
