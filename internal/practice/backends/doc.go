// Package backends has HTTP backends to practise against, as companies build
// them for their own apps: no authorization server, but a login call with a user
// name and a password, tokens with a life or sessions that slide, and as many
// ways as there are kinds to say that something is over. Each keeps its users
// and sessions in memory, answers wrongly on demand, and has a ledger of every
// call. They answer loopback only and are never part of a production image.
//
// [New] makes one of a [Kind]; it is an [http.Handler]:
//
//   - bearer: POST /login (a form) answers with an access token, its life, the
//     user's UID and data and, where [Options.Refreshes] is set, a refresh token
//     that works once: POST /refresh (JSON). A refresh token that comes a second
//     time ends all that its login brought. What is refused is 401.
//   - header: POST /login (JSON) answers with a sliding session in the header
//     X-Session-Token. Any call that carries it uses it. What is over is 401.
//   - cookie: POST /login (a form) answers with a redirect and a sliding session
//     in the cookie SID, or with the login page and 200. What is over is a
//     redirect to the login page.
//   - graphql: POST /graphql, a mutation Login and a query Me. The session is a
//     bearer token. Everything is 200; what is refused is an error with the code
//     UNAUTHENTICATED.
//
// GET /me uses the session, or shows the token, and answers with the user's
// data; POST /logout ends it. Three wrong passwords in a row lock an account,
// which then answers 423 (cookie: the login page; graphql: ACCOUNT_LOCKED).
//
// What refreshd's ledger tells from what it did itself: whoever uses a session
// beside it, as its owner does, calls [Backend.Visit], which is in no ledger.
package backends
