// Package failpointtest runs tests that are armed with failpoints. A process
// reads what arms it once, so that each of them gets one of its own. There is
// nothing in it without the build tag failpoints.
package failpointtest
