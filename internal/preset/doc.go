// Package preset holds what is known of providers, as settings that a
// configuration can take over by a name: addresses, how the client says who it
// is, whether refresh tokens rotate and how long things live. A preset fills in
// only what the configuration does not set itself.
//
// It is data, and no rule of the program depends on it. What was not found in
// the provider's own documentation is listed with each preset as unverified.
//
// Providers whose tokens are not refreshed by a refresh token have none:
// Facebook and Instagram exchange the access token itself.
package preset
