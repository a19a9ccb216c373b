package main

import (
	"encoding/json"
	"net/http"

	"github.com/spf13/cobra"
)

const signalsHelp = `Look after the security event tokens that subscriptions of format caep get. The
service needs ssf.issuer in config.yaml; docs/signals.md has the rest.

    refreshd signals verify soc      send a verification event down the stream soc
    refreshd signals keys            which key signs when
    refreshd signals rotate          make the next signing key`

const signalsRotateHelp = `Make the next key that security event tokens are signed with. It is published at
once and signs an hour later; the one of before is published for a day beyond, so
that receivers can verify whatever was signed.

With --immediate it signs at once, and no other is published any more: for a key
that others have got hold of.`

const signalsVerifyHelp = `Send a verification event down a stream, which is named like its subscription:
one that is pushed gets it now, one that is polled with its next poll.`

// signingKey is one as the service tells of it.
type signingKey struct {
	ID    string `json:"id"`
	From  string `json:"from"`
	Until string `json:"until"`
}

func (p *program) signalsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "signals", Short: "Look after security event tokens", Long: signalsHelp, RunE: needsSubcommand}
	cmd.AddCommand(p.signalsVerifyCommand(), p.signalsKeysCommand(), p.signalsRotateCommand())
	return cmd
}

func (p *program) signalsVerifyCommand() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "verify NAME", Short: "Send a verification event", Long: signalsVerifyHelp, Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			body := map[string]string{"stream_id": given[0], "state": state}
			if err := r.call(cmd.Context(), http.MethodPost, "/v1/signals/verify", body, nil); err != nil {
				return err
			}
			p.say("a verification event was sent, or waits for the next poll")
			return nil
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "what comes back in the event")
	return cmd
}

func (p *program) signalsKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keys", Short: "List the signing keys", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodGet, "/v1/signals/keys", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(raw)
			}
			var list struct {
				Keys []signingKey `json:"keys"`
			}
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			return p.printSigningKeys(list.Keys)
		},
	}
}

func (p *program) signalsRotateCommand() *cobra.Command {
	var immediate bool
	cmd := &cobra.Command{
		Use: "rotate", Short: "Make the next signing key", Long: signalsRotateHelp, Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodPost, "/v1/signals/keys", map[string]bool{"immediate": immediate}, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(raw)
			}
			var key signingKey
			if err := json.Unmarshal(raw, &key); err != nil {
				return err
			}
			return p.printSigningKeys([]signingKey{key})
		},
	}
	cmd.Flags().BoolVar(&immediate, "immediate", false, "withdraw the other keys at once")
	return cmd
}

func (p *program) printSigningKeys(keys []signingKey) error {
	w := p.table("ID\tSIGNS FROM\tPUBLISHED UNTIL")
	for _, key := range keys {
		until := key.Until
		if until == "" {
			until = "-"
		}
		w.row("%s\t%s\t%s", key.ID, key.From, until)
	}
	return w.Flush()
}
