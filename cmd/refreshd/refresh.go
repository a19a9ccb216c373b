package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Why nothing is sent.
const (
	reasonRateLimited         = "rate_limited"         // the provider is held
	reasonPaused              = "paused"               // by hand
	reasonClientMisconfigured = "client_misconfigured" // the provider refuses the client
)

const refreshHelp = `Refresh a credential now, or once at another time, and show it.

With --rejected-generation, only if that generation is still the current one:
say which one the resource refused, and a token that is newer is left alone.

With --in or --at it is refreshed once then, beside what is planned. That is
stored, so it comes also after a restart; a later one takes its place, the first
refresh from then on ends it, and --cancel takes it back.

    refreshd refresh github:alice
    refreshd refresh github:alice --in 10m
    refreshd refresh github:alice --at 2026-11-30T03:00:00Z
    refreshd refresh github:alice --cancel`

// refreshFlags are what refresh was called with.
type refreshFlags struct {
	rejected uint64
	in       span
	at       string
	cancel   bool
}

func (p *program) refreshCommand() *cobra.Command {
	var f refreshFlags
	cmd := &cobra.Command{
		Use: "refresh ID", Short: "Refresh now, or once at another time", Args: args("ID"), Long: refreshHelp,
		RunE: func(cmd *cobra.Command, given []string) error {
			body, err := f.body(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			r, err := p.connect()
			if err != nil {
				return err
			}
			var said struct {
				Queued bool       `json:"queued"`
				DueAt  *time.Time `json:"due_at"`
			}
			if err := r.call(cmd.Context(), http.MethodPost, credentialPath(given[0], "refresh"), body, &said); err != nil {
				err = byOption(err, "path.id", "the ID", "body.at", "--at", "body.after", "--in", `{"after": "0s"}`, "--in 0s", "body.rejected_generation", "--rejected-generation")
				refused, known := errors.AsType[*problem](err)
				if !known || refused.Reason != reasonRateLimited {
					return err
				}
				var one record
				if r.call(cmd.Context(), http.MethodGet, credentialPath(given[0]), nil, &one) == nil {
					if hold := r.pauses(cmd.Context()).providers[one.Provider].Hold; hold != nil {
						p.say("%s", hold.note())
					}
				}
				return err
			}
			switch {
			case said.Queued:
				p.say("the process that answered does not refresh, and has asked one that does")
			case f.cancel:
				p.say("%s is refreshed as planned, and not beside that", given[0])
			}
			one, held, err := p.shownRecord(cmd, r, http.MethodGet, credentialPath(given[0]), nil)
			if said.DueAt != nil {
				p.say("%s %s", given[0], planned(*said.DueAt, one, held))
			}
			return err
		},
	}
	cmd.Flags().Uint64Var(&f.rejected, "rejected-generation", 0, "the generation that was refused")
	cmd.Flags().Var(&f.in, "in", "refresh once after that time, such as 10m or 4d; 0s is as soon as possible")
	cmd.Flags().StringVar(&f.at, "at", "", "refresh once at that moment, such as 2026-11-30T03:00:00Z")
	cmd.Flags().BoolVar(&f.cancel, "cancel", false, "take back what was asked for with --in or --at")
	return cmd
}

// planned says what becomes of a refresh that was asked for at a moment, as far
// as it is known what keeps it from being made then.
func planned(at time.Time, one record, held pauses) string {
	when := at.Format(time.RFC3339)
	if list := held.of(one); len(list) > 0 {
		return fmt.Sprintf("is to be refreshed at %s; it waits until what is paused is resumed: %s", when, strings.Join(list, ", "))
	}
	one.DueAt = &at
	if hold := held.hold(one); hold != nil {
		return fmt.Sprintf("is to be refreshed at %s; it waits: %s", when, hold.note())
	}
	return "is refreshed at " + when
}

func (f refreshFlags) body(given func(flag string) bool) (map[string]any, error) {
	var set []string
	for _, name := range []string{"rejected-generation", "in", "at", "cancel"} {
		if given(name) {
			set = append(set, name)
		}
	}
	if len(set) > 1 {
		return nil, usage(fmt.Errorf("--%s and --%s contradict each other: give one of them", set[0], set[1]))
	}
	switch {
	case given("in"):
		if f.in < 0 {
			return nil, usage(errors.New("--in is a time from now; give 0s or more"))
		}
		return map[string]any{"after": f.in.String()}, nil
	case given("at"):
		at, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return nil, usage(fmt.Errorf("--at is %q; give a moment such as 2026-11-30T03:00:00Z", f.at))
		}
		return map[string]any{"at": at}, nil
	case f.cancel:
		return map[string]any{"cancel": true}, nil
	case f.rejected != 0:
		return map[string]any{"rejected_generation": f.rejected}, nil
	default:
		return map[string]any{}, nil
	}
}
