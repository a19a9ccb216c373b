package demo

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Bounds of the options.
const (
	maxCredentials = 1000
	minAccessTTL   = 3 * time.Second
	maxAccessTTL   = 24 * time.Hour
)

// ErrOptions is wrapped by every error about an option that makes no sense.
var ErrOptions = errors.New("invalid option")

// Options say what the demo does.
type Options struct {
	Refreshd    string        // path of the program
	Credentials int           // how many are kept fresh, 1 to 1000
	AccessTTL   time.Duration // life of an access token, 3s to 24h
	For         time.Duration // how long it runs; 0 is until the context ends
	Keep        bool          // the temporary folder stays
	Faults      bool          // the provider is out of order now and then
	Env         []string      // as of os.Environ
	Out         io.Writer     // a terminal gets a table, anything else lines
}

// Validate reports what is wrong with the options. Its errors wrap
// [ErrOptions].
func (o Options) Validate() error {
	var errs []error
	bad := func(flag string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("%w: --%s is %v; allowed: %s", ErrOptions, flag, value, allowed))
	}
	if o.Refreshd == "" {
		errs = append(errs, fmt.Errorf("%w: --refreshd is empty; give the path of the refreshd program", ErrOptions))
	}
	if o.Credentials < 1 || o.Credentials > maxCredentials {
		bad("credentials", o.Credentials, fmt.Sprintf("1 to %d", maxCredentials))
	}
	if o.AccessTTL < minAccessTTL || o.AccessTTL > maxAccessTTL {
		bad("access-ttl", o.AccessTTL, fmt.Sprintf("%s to %s", minAccessTTL, maxAccessTTL))
	}
	if o.For < 0 {
		bad("for", o.For, "0 and above")
	}
	return errors.Join(errs...)
}

// env returns the value of an environment variable.
func (o Options) env(name string) string {
	for _, pair := range o.Env {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// childEnv is the environment without what would have refreshd do something
// else than the demo's configuration says, such as a REFRESHD_REDIS_URL that
// names a real Redis, or report to a supervisor that did not start it.
func (o Options) childEnv() []string {
	var kept []string
	for _, pair := range o.Env {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "REFRESHD_") || name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "WATCHDOG_") {
			continue
		}
		kept = append(kept, pair)
	}
	return kept
}
