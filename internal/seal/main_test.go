package seal_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/seal"
)

// openEnv makes the test binary a process that opens the keyset file of that
// name, once its standard input is closed, and prints the fingerprint.
const openEnv = "SEAL_TEST_OPEN"

// rotateEnv makes it one that rotates that file over and over until it is
// killed, and prints a line for each rotation.
const rotateEnv = "SEAL_TEST_ROTATE"

func TestMain(m *testing.M) {
	if path := os.Getenv(openEnv); path != "" {
		os.Exit(openOnce(path))
	}
	if path := os.Getenv(rotateEnv); path != "" {
		fmt.Fprintln(os.Stderr, rotateForEver(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func rotateForEver(path string) error {
	for {
		if _, _, err := seal.Rotate(path, seal.RotateOptions{Now: true, At: time.Now()}); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(os.Stdout, "rotated"); err != nil {
			return err
		}
	}
}

func openOnce(path string) int {
	if _, err := os.Stdin.Read(make([]byte, 1)); err == nil {
		fmt.Fprintln(os.Stderr, "standard input was not closed")
		return 2
	}
	k, created, err := seal.Open(path, seal.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := fmt.Fprintln(os.Stdout, k.Fingerprint(), created); err != nil {
		return 1
	}
	return 0
}
