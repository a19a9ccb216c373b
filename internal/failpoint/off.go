//go:build !failpoints

package failpoint

import "time"

// Hit returns nil at once: this build has no failpoints.
func Hit(Point) error { return nil }

// Offset returns 0: this build has no failpoints.
func Offset(Point) time.Duration { return 0 }

// Reads reports whether this package reads the environment variable.
func Reads(string) bool { return false }
