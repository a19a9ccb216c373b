// Package matrix kills refreshd at every place at which it can be killed, with
// every kind of trouble that Redis can have at that moment and every kind of
// provider, and holds what became of the credentials against the promises.
//
// A cell of the matrix is a test of its own: TestCrashMatrix/point/mode/provider.
// The points are those of package failpoint. The modes:
//
//	healthy  the process kills itself at the point; Redis goes on
//	dead     it stands still at the point; Redis is killed, then the process,
//	         then Redis comes back with all that it had
//	tail     it stands still at the point; Redis is killed and comes back
//	         without what was written since the cell's mark, at most the last
//	         second or what the trigger did; then the process is killed
//	fail     the step fails, and the process lives
//	resume   it stands still beyond the deadline of its attempt and goes on
//	away     as resume, and the neighbour is on another machine
//
// The processes are real ones, built with the tag failpoints and without the
// race detector, for speed.
package matrix
