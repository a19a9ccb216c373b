package wire

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// stdlog collects what net/http says to the standard logger. It quotes bytes
// that came unasked, so here it must never have anything to say.
type stdlog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *stdlog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func TestMain(m *testing.M) {
	said := new(stdlog)
	log.SetOutput(said)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if said.text.Len() > 0 {
			fmt.Fprintf(os.Stderr, "the standard logger was written to: %q\n", said.text.String())
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}
