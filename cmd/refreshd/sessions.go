package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

const touchHelp = `Tell that sessions were used: their idle timeouts start anew. Nothing is sent to
the backend, and there is no event. Many IDs can be given at once.

    refreshd touch air:alice air:bob

Exit codes: 0 all were touched, 3 there is no such credential, 4 a session had
ended before, 1 one is no session, or the key is not good for it. With several
of these it is the first in this order, and the others are touched all the same.`

// touchesPerCall is how many the service takes at once.
const touchesPerCall = 1000

type touchAnswer struct {
	ID           string     `json:"id"`
	Result       string     `json:"result"`
	IdleDeadline *time.Time `json:"idle_deadline"`
}

func (p *program) touchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "touch ID...", Short: "Tell that sessions were used", Long: touchHelp,
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return usage(fmt.Errorf("touch takes one ID or more; see %s --help", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			answers := []touchAnswer{}
			for ids := range slices.Chunk(given, touchesPerCall) {
				var said struct {
					Touches []touchAnswer `json:"touches"`
				}
				if err := r.call(cmd.Context(), http.MethodPost, "/v1/touches", map[string]any{"ids": ids}, &said); err != nil {
					return err
				}
				answers = append(answers, said.Touches...)
			}
			if err := p.printTouches(answers); err != nil {
				return err
			}
			return untouched(answers)
		},
	}
}

func (p *program) printTouches(answers []touchAnswer) error {
	if p.json {
		data, err := json.Marshal(map[string]any{"touches": answers})
		if err != nil {
			return err
		}
		return p.printJSON(data)
	}
	w := p.table("ID\tRESULT\tENDS IN")
	for _, one := range answers {
		w.row("%s\t%s\t%s", one.ID, one.Result, until(one.IdleDeadline))
	}
	return w.Flush()
}

// untouched is the error that tells of what could not be touched, nil if all
// was.
func untouched(answers []touchAnswer) error {
	for _, row := range []struct {
		result, what string
		code         int
	}{
		{"unknown", "there is no such credential", exitNotFound},
		{"over", "the session had ended before", exitPerson},
		{"no_session", "its token is no session: it has an expiry of its own, which use does not move", exitFailure},
		{"forbidden", "the key is not good for it", exitFailure},
	} {
		if i := slices.IndexFunc(answers, func(one touchAnswer) bool { return one.Result == row.result }); i >= 0 {
			return &exitError{row.code, fmt.Errorf("%s: %s", answers[i].ID, row.what)}
		}
	}
	return nil
}

const presenceHelp = `Tell who uses a session: active (somebody looks at it, and is told before its
end), passive (it is kept alive silently, as it is unless told otherwise) or
background (nobody needs it now: its clock runs, and nothing is sent). On the
return from the background it is extended at once if two thirds of its idle
timeout have passed since its last use, also if its user has left again before
the call was made; after all of that it is over.

    refreshd presence air:alice background
    refreshd presence air:alice active`

func (p *program) presenceCommand() *cobra.Command {
	return &cobra.Command{
		Use: "presence ID active|passive|background", Short: "Tell who uses a session", Long: presenceHelp,
		Args: args("ID", "active|passive|background"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if !slices.Contains([]string{"active", "passive", "background"}, given[1]) {
				return usage(fmt.Errorf("%q is no presence; give active, passive or background", given[1]))
			}
			r, err := p.connect()
			if err != nil {
				return err
			}
			return p.showRecord(cmd, r, http.MethodPut, credentialPath(given[0], "presence"), map[string]string{"presence": given[1]})
		},
	}
}

const userDataHelp = `Print what is known of the user behind a credential, as JSON: what the backend
told, or what was stored with put --user-data-file. With --output json, also the
user's UID, the state and the expiry.

    refreshd user-data shop:alice | jq -r .role`

func (p *program) userDataCommand() *cobra.Command {
	return &cobra.Command{
		Use: "user-data ID", Short: "Print what is known of the user", Long: userDataHelp, Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodGet, credentialPath(given[0], "user-data"), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(raw)
			}
			var said struct {
				UserData json.RawMessage `json:"user_data"`
			}
			if err := json.Unmarshal(raw, &said); err != nil {
				return err
			}
			if said.UserData == nil {
				return &exitError{exitNotFound, errors.New("no user data is kept for " + given[0])}
			}
			return p.printJSON(said.UserData)
		},
	}
}
