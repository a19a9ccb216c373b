// Package model explores the crash-safe refresh exhaustively: every order in
// which two processes, one authorization server, one store that can lose its
// last writes, crashes, lost requests, lost replies, logins and logouts can
// meet, within small bounds. What is written in it is decided by package
// credential, by the functions that the service itself uses, and stored under
// the rules of the store's scripts. In every state it is checked that no
// refresh token is spent twice and none is lost.
//
// It can take parts of the protocol away, to show that each is needed.
package model
