package chaos

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/testproc"
)

// The flags of a campaign, behind -args.
const (
	flagSeed      = "seed"
	flagFaults    = "faults"
	flagRotations = "rotations"
	flagDuration  = "duration"
	flagRedis     = "redis"
	flagReplay    = "replay"
	flagSabotage  = "sabotage"
	flagOut       = "out"
	flagKeep      = "keep"
	flagUsers     = "users"
	flagOnly      = "only"
	flagProgram   = "program"
	flagJudge     = "judge"
)

func TestMain(m *testing.M) {
	flag.Uint64(flagSeed, 1, "what the plan of faults follows from")
	flag.Int(flagFaults, 304, "how many faults are injected at least, over all kinds of Redis")
	flag.Int(flagRotations, 5020, "how many refresh tokens are rotated at least, over all kinds of Redis")
	flag.Duration(flagDuration, 150*time.Second, "how long faults are injected at the most, for each kind of Redis; a run that has not got there by then fails")
	flag.String(flagRedis, "both", "kind of Redis: everysec (with a replica and failovers), always, or both")
	flag.String(flagReplay, "", "folder of an earlier run (absolute path), whose plan is carried out again")
	flag.String(flagSabotage, "", "take a protection away: journal deletes the journal of a killed process")
	flag.String(flagOut, "", "where folders of runs are made (absolute path); empty is the temporary folder")
	flag.Bool(flagKeep, false, "keep the folder of a run without violations as well")
	flag.Int(flagUsers, 120, "credentials at the strict provider, and at that with grace; a third as many at each other")
	flag.String(flagOnly, "", "inject only kinds of faults that match this regular expression")
	flag.String(flagProgram, "", "a refreshd that is built already, with the tag failpoints; empty builds one")
	flag.String(flagJudge, "", "folder of an earlier run (absolute path), whose evidence TestJudge holds against the promises once more")
	flag.Parse()
	zerolog.SetGlobalLevel(zerolog.WarnLevel) // a part of toxiproxy logs to the global logger
	goleak.VerifyTestMain(m,
		// The library leaves the goroutines of a cut connection behind now and
		// then: a toxic that is taken away while its neighbour writes.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.Cleanup(func(code int) {
			if err := testproc.RemoveBuilds(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
			os.Exit(code)
		}))
}

// absolute refuses a path that says one thing where it was written and another
// where a test runs, which is in the folder of its package.
func absolute(name, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("-%s %s: give an absolute path, for go test runs in the folder of its package", name, path)
	}
	return nil
}

// option reads a flag. Flags are looked up by name where they are used, so
// that nothing global holds them.
func option[T any](t testing.TB, name string) T {
	t.Helper()
	f := flag.Lookup(name)
	if f == nil {
		t.Fatalf("there is no flag -%s", name)
	}
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		t.Fatalf("-%s cannot be read", name)
	}
	value, ok := getter.Get().(T)
	if !ok {
		t.Fatalf("-%s is a %T", name, getter.Get())
	}
	return value
}
