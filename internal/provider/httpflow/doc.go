// Package httpflow speaks to a backend of one's own, whose calls are declared
// and not programmed: a login with name and password, a refresh, the use of a
// session that extends it, a check, the user's data, a log-out. A declaration
// says what is sent, where in the reply what stands, and what counts as
// failure.
//
// It is the sister of package oauth2 and gives the same guarantees: each
// exchange is one request, nothing is repeated, no redirect is followed, and
// what was received is kept before anything is made of it.
package httpflow
