// Package practice is an OAuth 2.0 authorization server to practise against:
// for demonstrations, tests and benchmarks. It hands out refresh tokens that
// rotate, notices when one is spent twice, misbehaves on demand in every way
// that real authorization servers do, and keeps a ledger that tells afterwards
// what truly happened to each presentation of a refresh token. It keeps
// everything in memory, about 200 bytes per rotation, and it is never part of
// a production image.
//
// [New] makes a server; [Server.Handler] serves it in the process of a test,
// [Server.Serve] on a listener, which cmd/practice does. [Admin] steers one in
// another process.
//
// # Endpoints
//
// /.well-known/oauth-authorization-server and /.well-known/openid-configuration
// (RFC 8414), /token (RFC 6749: refresh_token and client_credentials), /revoke
// (RFC 7009), /introspect (RFC 7662), /resource (a resource that wants a bearer
// token, RFC 6750), /healthz, and /admin/… to mint grants, set faults and read
// the ledger. Tokens are "at_" or "rt_" and 32 random base62 characters, so
// that a search for leaked tokens finds them by their shape.
//
// # One presentation
//
// A call of the token endpoint is read, its refresh token is looked up, the
// client is authenticated, and the first fault that fits is taken. Then follow
// the latency and the token's judgement: by default the latency first, and the
// judgement (and with it the rotation) right before the reply. A client that is
// gone before the judgement leaves its token unspent, outcome "abandoned". The
// fault kind "slow" rotates first and delays afterwards unless told otherwise.
//
// # What delivered means
//
// An entry of the ledger is delivered when every byte of its reply was handed
// to the connection and the connection was alive. In detail:
//
//   - During a delay the end of the client's connection ends the wait at once.
//   - Right before the reply the request's context is looked at, and after a
//     delay also, where the server runs under [Server.Serve] on Linux, the
//     kernel's state of the connection: a peer that has closed its side, or was
//     killed, shows there before any goroutine has noticed. Nothing is written
//     then, and a token that was to be judged after the delay is left alone.
//   - The reply is written and flushed; an error makes it undelivered.
//   - After that the kernel is asked (again): a reset that has come back by then
//     means that the peer had closed, or closed without reading all of the reply.
//   - Under [Server.Serve], a reset that comes later, before another request on
//     that connection, takes the delivery back: the peer's kernel throws away
//     unread bytes in that way when their process dies.
//
// So delivered=false is certain: the client did not get the whole reply.
// delivered=true says that the peer's kernel took it and, as far as has been
// heard, that the program behind has read it. What it read may still die in its
// memory. The closer replied_at is to the death of a client, the less
// delivered=true says; a test that kills clients has to allow for the moment
// between both (loopback: well under 50 ms). A client that half-closes its
// connection after the request counts as gone, as it does for net/http.
//
// token_sent tells about the refresh token alone: all its bytes were handed to
// a connection that was alive, even if the reply around it was cut or broken.
package practice
