// Command thirdparty is an authorization server that refreshd's authors did not
// write: the grant handlers, client authentication, token strategies and the
// storage are those of github.com/ory/fosite, unmodified. The code here only
// wires them to HTTP and keeps a log of what was seen on the wire. It is for
// tests on one machine and listens on loopback addresses only.
package main
