// Package providercheck says whether a provider's settings work: whether it can
// be reached, takes this client, and answers where the settings expect it to. It
// talks to the provider and to nothing else; no stored credential is read, and
// none is presented.
package providercheck
