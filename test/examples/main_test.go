package examples

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/testproc"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := testproc.RemoveBuilds(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}
