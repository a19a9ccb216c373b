package testproc

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := RemoveBuilds(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// talker is the program in testdata/talker, which says what it can do.
func talker(t *testing.T) string {
	t.Helper()
	return Build(t, BuildOptions{Package: "./testdata/talker"})
}
