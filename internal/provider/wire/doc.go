// Package wire makes single HTTP calls whose fate must be known: a refresh
// token that can be spent once is presented once, and whatever happens it is
// told apart whether anything can have reached the provider.
//
// It uses net/http's transport with everything taken out that repeats,
// forwards or guesses. A request has no GetBody and no Idempotency-Key, so the
// transport never sends it a second time. Redirects are replies like others.
// No environment variable names a proxy. Only HTTP/1.1 is spoken: each call
// then has a connection to itself, what was written on that connection was
// written for that call, and the death of a connection concerns one call.
//
// Between the transport and the network sits a connection of our own. It
// counts what is written, follows where each reply ends, and never lets a byte
// behind that end pass: a provider that sends more than it announced can
// neither answer the next call in advance, nor get that text into net/http's
// log, which prints unsolicited bytes.
//
// Below that, right above the socket and below TLS, a call that must not be
// made too late is asked about for the last time: whatever held the process up
// on the way there, nothing of such a call gets out.
//
// At the socket itself is a gate: a reply is taken from the network only
// when it can be worked on. A process that dies then loses few replies that it
// had read and not kept; those that it had not read are reset, and a provider
// that looks can tell that they were not delivered. None is left unread for
// long. Each client has a gate of its own. Systems on which a socket cannot be looked into have none.
package wire
