// Package oracle judges a run of refreshd by what others saw of it: the
// provider's ledger, the event log, subscribers, readers, and the records at
// the end. It knows nothing of how refreshd works. [Check] holds a run's
// [Evidence] against what refreshd promises, and every rule has a test with
// evidence that breaks it:
//
//	P1  No generation of a refresh token is presented again, but to ask once
//	    more for a reply that was lost: inside the provider's grace, each time
//	    for a doubt of its own; or where there is none not before the access
//	    token is about to expire; and never two at once. What the provider looks
//	    at when its sender has left counts from when it was asked.
//	P2  A token that came and was kept is never lost: it is what is used and
//	    served from then on.
//	P3  A version never decreases, and nothing comes back to life after a
//	    logout.
//	P4  Each version has exactly one event, in the log and for subscribers,
//	    who may see it again but miss none.
//	P5  A read never returns a token that has expired, nor one with a later end
//	    than the provider knows, nor goes back behind what the process served
//	    before.
//	P6  A person is only called where the provider ended the grant, or a reply
//	    was lost without grace; and no reply is lost without an injected fault.
//	P7  No secret shows.
//	P8  All is settled 60 s after the faults.
//	P9  A dead credential causes no call, nor one that is paused, a refused
//	    client one a minute.
package oracle
