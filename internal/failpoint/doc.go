// Package failpoint is where a test build of the program can be made to die,
// hang, fail or lose its clock at a chosen place. Without the build tag
// failpoints, [Hit] and [Offset] do nothing, are inlined away, and the
// environment is not read: a program that is shipped cannot be armed.
//
// With the tag, what happens where comes from the environment:
//
//	REFRESHD_FAILPOINTS       rules, joined by commas
//	REFRESHD_FAILPOINTS_FILE  a file of rules, one a line, which is read again
//	                          when it changes (looked at every 50 ms at most),
//	                          so that a running process can be armed
//	REFRESHD_FAILPOINTS_LOG   a file to which every rule that acts appends a
//	                          line "point action pid" before it acts
//
// A rule is point=action or point=action@n. Empty lines and lines that begin
// with # are skipped. The actions:
//
//	kill         SIGKILL to the own process: Hit never returns
//	stop         SIGSTOP to the own process: Hit returns after SIGCONT
//	fail         Hit returns an error; places that have no error to give go on
//	full         as fail, the error wraps ENOSPC
//	delay:200ms  Hit returns after that long
//	jump:-1h     the clock of that point differs by that much from now on
//
// @n lets a rule act at the n-th hit after it was armed, @* at each; without
// either it acts at the first. A clock jumps at its n-th reading and stays
// there until the rule is taken away. A rule that stands unchanged in a changed
// file keeps its count. Rules of one point act in the order in which they are
// written, up to the first that gives an error.
//
// A rule that cannot be read, or names a point that does not exist, is a
// mistake of the test that wrote it: the process panics.
package failpoint
