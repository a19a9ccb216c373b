package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
)

const keysetHelp = `Look after keyset.file, which holds the keys that everything secret is sealed
with. No command prints any part of a key, and none takes a key away.

    refreshd keyset show       # which keys there are, and which are used
    refreshd keyset rotate     # a step towards new keys
    refreshd keyset rekey      # seal what is stored with the newest key

They need no running service. Run them as the user that runs it, with its
--config or REFRESHD_KEYSET_FILE.`

const keysetRotateHelp = `Bring new keys into use, in two steps: whoever shares Redis must know a key
before anybody seals with it.

The first run stages new keys: processes that load them can open what they
seal, and go on sealing with the old ones. The next run, 15 s later or more,
has them used. Old keys stay in the file: what they sealed can be opened, and
refresh tokens that were spent are recognised.

Running services load the file by themselves within 5 s, or at once on SIGHUP,
and log "the keyset was loaded again", with "staged":2 after the first step and
0 after the second. A file that lacks a key of theirs is refused, and the log
says why.

Processes that share one file:
    refreshd keyset rotate           # stages; then wait for the log line of each
    refreshd keyset rotate           # promotes
    refreshd keyset rekey            # when convenient

Machines with a copy each (make the copy whole: scp to another name, then mv):
    refreshd keyset rotate --stage   # on one; copy the file to all, wait for each log line
    refreshd keyset rotate           # on the same one; copy again, in any order

A single process, or none that runs:
    refreshd keyset rotate --now     # both steps at once

Back the file up after each step, and keep the old copies for as long as
backups of Redis from that time.`

const keysetRekeyHelp = `Seal with the primary key what older ones have sealed in Redis: the tokens of
every credential, and tokens that were put aside. Nothing else changes, there
is no event, and services may run meanwhile.

It works on Redis itself, as doctor does, with redis, data_dir and keyset of
the configuration. The in-process store can only be reached while no service
runs on it. It may be interrupted and run again: what is done is skipped.

At the end it says of each key what still needs it. It takes no key away. Old
sealing keys are needed by journals and backups from before. Old hash keys are
needed for as long as a credential remembers a refresh token that was spent
while they were in use: it remembers 16.

    refreshd keyset rekey --config /etc/refreshd/config.yaml

Exit codes: 0 everything is sealed with the primary key, 1 something is not.`

func (p *program) keysetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keyset", Short: "Show, rotate and apply the keys that secrets are sealed with", Long: keysetHelp, RunE: needsSubcommand}
	var stage, now bool
	rotate := &cobra.Command{
		Use: "rotate", Short: "Stage new keys, or have staged ones used", Long: keysetRotateHelp, Args: args(),
		RunE: func(*cobra.Command, []string) error {
			if stage && now {
				return usage(errors.New("--stage and --now contradict each other: give one of them"))
			}
			return p.rotateKeyset(stage, now)
		},
	}
	rotate.Flags().BoolVar(&stage, "stage", false, "add new keys and never promote them")
	rotate.Flags().BoolVar(&now, "now", false, "have new keys used at once: for a single process, or none")
	cmd.AddCommand(rotate,
		&cobra.Command{
			Use: "show", Short: "List the keys, without any part of them", Args: args(),
			RunE: func(*cobra.Command, []string) error {
				path, keys, err := app.ShowKeyset(p.keysetOptions())
				if err != nil {
					return err
				}
				return p.printKeyset(map[string]any{"file": path, "keys": keys}, keys)
			},
		},
		&cobra.Command{
			Use: "rekey", Short: "Seal what is stored with the newest key", Long: keysetRekeyHelp, Args: args(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				done, err := app.Rekey(cmd.Context(), p.keysetOptions())
				if err != nil {
					return err
				}
				return p.printRekeyed(done)
			},
		})
	return cmd
}

func (p *program) keysetOptions() app.KeysetOptions {
	return app.KeysetOptions{Config: p.config, Env: os.Environ()}
}

func (p *program) rotateKeyset(stage, now bool) error {
	done, err := app.RotateKeyset(p.keysetOptions(), stage, now)
	if err != nil {
		return err
	}
	switch done.Step {
	case app.RotationStage:
		p.say("new keys are staged in %s, and nothing is sealed with them yet; back it up. Once every process has logged \"the keyset was loaded again\" (within 5 s where they share the file; copy it where they do not), run: refreshd keyset rotate", done.File)
	case app.RotationNone:
		p.say("keys are staged in %s already, and nothing was changed. Once every process has loaded them, run: refreshd keyset rotate", done.File)
	case app.RotationPromote, app.RotationReplace:
		p.say("what is sealed from now on is sealed with the new keys in %s; back it up, and copy it to machines that have a file of their own. To seal what is stored with them, too, run: refreshd keyset rekey", done.File)
	}
	return p.printKeyset(done, done.Keys)
}

func (p *program) printKeyset(all any, keys []app.KeyInfo) error {
	if p.json {
		data, err := json.Marshal(all)
		if err != nil {
			return err
		}
		return p.printJSON(data)
	}
	w := p.table("USE\tID\tSTATUS\tFINGERPRINT")
	for _, key := range keys {
		w.row("%s\t%d\t%s\t%s", key.Use, key.ID, key.Status, key.Fingerprint)
	}
	return w.Flush()
}

func (p *program) printRekeyed(done app.Rekeyed) error {
	p.say("credentials: %d, of which %d were sealed again", done.Records, done.Resealed)
	if done.Journals > 0 {
		p.say("journals in data_dir: %d; each needs the old keys until its process has stopped and another has taken it up", done.Journals)
	}
	if p.json {
		data, err := json.Marshal(done)
		if err != nil {
			return err
		}
		if err := p.printJSON(data); err != nil {
			return err
		}
	} else {
		w := p.table("USE\tID\tSTATUS\tFINGERPRINT\tNEEDED FOR")
		for _, key := range done.Keys {
			w.row("%s\t%d\t%s\t%s\t%s", key.Use, key.ID, key.Status, key.Fingerprint, key.Needed)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	switch {
	case len(done.Failed) > 0:
		return errors.New("credentials or subscriptions that cannot be opened, with no key of this keyset: " + strings.Join(done.Failed, ", ") + "; log in to them again, delete such a subscription, or put back the keys that are missing")
	case !done.Settled:
		return errors.New("some process still seals with an older key: see that each has loaded the keyset, and run this again")
	}
	return nil
}
