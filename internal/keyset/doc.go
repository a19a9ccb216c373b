// Package keyset looks after the file with the keys that everything secret is
// sealed with: it shows and rotates the keys, seals again what older ones have
// sealed, and takes over a file that has changed under a running service.
package keyset
