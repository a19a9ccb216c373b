package httpflow_test

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also makes sure that net/http writes nothing to the standard
// logger: what it has to say there quotes replies. The logger is the only one
// to write to said, and does so under a lock.
func TestMain(m *testing.M) {
	said := new(bytes.Buffer)
	log.SetOutput(said)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if said.Len() > 0 {
			fmt.Fprintf(os.Stderr, "the standard logger was written to: %q\n", said.String())
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}
