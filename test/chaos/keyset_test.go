package chaos

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/harness"
)

// rekeyLimit bounds how long it is tried to seal again what is stored: Redis is
// away now and then.
const rekeyLimit = 45 * time.Second

// rotateKeyset brings new keys into use as its operator does: staged, and used
// when every process had the time to load them; then what is stored is sealed
// with them.
func (c *campaign) rotateKeyset(ctx context.Context, a act) error {
	if err := c.command(ctx, "keyset", "rotate", "--stage"); err != nil {
		return err
	}
	harness.Pass(ctx, a.length())
	if ctx.Err() != nil {
		return nil // staged keys do no harm, and the time to wait for was not
	}
	if err := c.command(ctx, "keyset", "rotate"); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, rekeyLimit)
	defer cancel()
	err := await(limited, func() error { return c.command(limited, "keyset", "rekey") })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// command runs the program once, with the first replica's configuration.
func (c *campaign) command(ctx context.Context, args ...string) error {
	r := c.house.replicas[0]
	cmd := exec.CommandContext(ctx, r.program, append(args, "--config", r.file("config.yaml"))...)
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); failed {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	if err != nil {
		return fmt.Errorf("refreshd %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
