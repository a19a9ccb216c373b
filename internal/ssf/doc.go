// Package ssf makes Security Event Tokens (RFC 8417) of committed events, as a
// transmitter of the OpenID Shared Signals Framework 1.0 does: which event
// becomes which of CAEP 1.0 and RISC 1.0, how it is signed, with which keys,
// and how receivers fetch the tokens by polling (RFC 8936). How they are pushed
// (RFC 8935) is package delivery's matter.
package ssf
