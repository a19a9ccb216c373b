// Package client is the Go SDK of refreshd, the service that keeps stored
// credentials fresh: OAuth tokens, logins to a backend, sessions that die when
// they are not used. refreshd refreshes them ahead of their end; this package
// hands out what is valid now, and tells when something changes.
//
//	c, err := client.New("http://127.0.0.1:7420", client.Options{Key: os.Getenv("REFRESHD_KEY")})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
//	api := &http.Client{Transport: c.Transport("github:alice", nil)}
//	res, err := api.Get("https://api.github.com/user")
//
// # Tokens
//
// [Client.Token] and [Client.TokenSource] return the token in hand: without a
// call, a lock or an allocation as long as it is good. The next one is fetched
// in the background before that ends, once however many goroutines ask, and
// while refreshd cannot be reached the token in hand serves to its very end.
//
// [Client.Transport] puts the token on each request of an [http.Client], in the
// way that the provider's configuration says: as a bearer, in a header, or in a
// cookie. If a resource rejects a token before its time, the transport has
// that one replaced, once for all requests that used it, and sends the request
// again. A program that sends requests itself does the same with
// [Token.Apply] and [Client.Refresh].
//
// # Storing credentials
//
// [Client.Put] stores a token or a login, for instance at the end of an
// authorization code flow, with [FromOAuth2]. [Client.Logout] and
// [Client.Delete] end it, and [UserData] returns what a backend tells of its
// user as a value of the program's own type. A session that slides with its use
// is kept alive by [Client.Touch] and [Client.SetPresence]; a transport touches
// by itself.
//
// # Events
//
// [Client.Watch] yields what happens to credentials, and goes on where it was
// after every interruption. [Client.State] yields the state of one credential
// and then its changes. [WebhookHandler] receives events by HTTP, checks their
// signature and age, and keeps their order.
//
// # Errors
//
// Errors are matched with [errors.Is] and the package's sentinels, such as
// [ErrReauthRequired] or [ErrUnavailable], and with [errors.As] where there is
// more to know: [ReauthError] tells why and since when only the user can mend a
// credential, [UnavailableError] when to ask again, [Error] what refreshd
// objects to. No error, and nothing that this package prints or logs, holds a
// token, a key or a password.
//
//	token, err := c.Token(ctx, "github:alice")
//	if reauth, ok := errors.AsType[*client.ReauthError](err); ok {
//		return showLogin(reauth.Reason)
//	}
//
// # Tests
//
// Package clienttest, beside this one, is a refreshd in memory for the tests of
// programs that use the SDK.
package client
