// Package clienttest is a refreshd in memory, for the tests of programs that
// use package client.
//
//	func TestOrders(t *testing.T) {
//		server := clienttest.New(t)
//		server.Put("shop:alice", clienttest.Credential{})
//		shop := NewShop(server.Client(t), "shop:alice")
//		…
//		server.Expire("shop:alice") // the next request needs another token
//		…
//		server.RequireReauth("shop:alice", "invalid_grant") // and now nothing helps but a login
//	}
//
// It answers over HTTP as the service does, for what the client asks: tokens,
// refreshes, records, logins, user data, touches, presence and events. It talks
// to no provider: a refresh makes up the next token. What a test needs to see
// is counted ([Server.Calls], [Server.Refreshes]), and what a test needs to
// happen has a method: a token that dies before its time, an outage, a user who
// has to sign in again, events that were trimmed.
package clienttest
