// Package examples runs the programs of examples/ as their readers would,
// against the built service and practice backends, and looks at what they print
// and show. It is a module of its own: what drives a browser stays out of the
// service's dependencies.
package examples
