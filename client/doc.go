// Package client is the Go SDK of refreshd, the service that keeps stored
// credentials fresh.
package client
