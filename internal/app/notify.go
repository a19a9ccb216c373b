package app

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// systemd tells a supervising systemd how this process is doing (sd_notify(3)).
// Without one it does nothing.
type systemd struct{ log zerolog.Logger }

func (s systemd) say(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn().Err(err).Str("state", state).Msg("systemd could not be told")
	}
}

func (s systemd) ready()     { s.say(daemon.SdNotifyReady) }
func (s systemd) stopping()  { s.say(daemon.SdNotifyStopping) }
func (s systemd) reloading() { s.say(daemon.SdNotifyReloading) }

// watch feeds the watchdog at half its period, as long as alive returns: a
// process that hangs is ended and started again.
func (s systemd) watch(ctx context.Context, alive func()) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil || period <= 0 {
		return
	}
	ticker := time.NewTicker(period / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		alive()
		s.say(daemon.SdNotifyWatchdog)
	}
}
