package service

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/testproc"
)

// sideBySide is how many tests run at a time where there are fewer processors:
// they wait far more than they compute.
const sideBySide = 4

func TestMain(m *testing.M) {
	flag.Parse()
	if given := flag.Lookup("test.parallel"); given.Value.String() == given.DefValue && runtime.GOMAXPROCS(0) < sideBySide {
		if err := given.Value.Set(strconv.Itoa(sideBySide)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := testproc.RemoveBuilds(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// soak skips a test that takes minutes unless it was asked for.
func soak(t *testing.T) {
	t.Helper()
	if !soaking() {
		t.Skip("takes minutes; REFRESHD_SOAK=1 (make soak) runs it")
	}
}

// soaking reports whether loads are run at full length, on a machine that has
// nothing else to do.
func soaking() bool { return os.Getenv("REFRESHD_SOAK") == "1" }
