// Package app is the wiring: it opens what the service needs, hands each part
// to those that use it, and takes it all down again in the opposite order.
// Nothing else in the project knows more than its neighbours.
package app
