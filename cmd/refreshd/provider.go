package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
)

const providerCheckHelp = `Say whether a provider's settings work, with advice where they do not. It reads
config.yaml and talks to the provider; it needs no running service, and neither
reads nor presents a stored credential.

It looks at name, connection, certificate and clock, at discovery, and whether
the client is accepted: a made-up refresh token is presented, and the way that it
is refused tells. Of kind http, give a test login: every declared call is made
with it, the places of the replies are looked at, and it is logged out again.

    refreshd provider check github
    refreshd provider check shop --username test@example.com < password.txt
    refreshd provider check github --output json | jq '.findings[] | select(.severity == "fail")'

Each line has ok, skipped, warn or fail, what was looked at, and what to do.

Exit codes: 0 nothing fails (there may be warnings), 1 something does, 2 the
configuration is not valid, 3 it has no such provider.`

const presetsHelp = `List what is known of providers, or show one in full. A preset fills in what the
file does not set:

    providers:
      github: {preset: github, client_id: …, client_secret: {env: GITHUB_SECRET}}

    refreshd provider presets
    refreshd provider presets microsoft`

func (p *program) providerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "provider", Short: "List, check, pause and resume providers", RunE: needsSubcommand}
	cmd.AddCommand(p.providerListCommand(), p.providerCheckCommand(), p.presetsCommand())
	for _, row := range [][2]string{{"pause", "Hold a provider back, with all its credentials"}, {"resume", "Let a provider go on"}} {
		cmd.AddCommand(&cobra.Command{
			Use: row[0] + " NAME", Short: row[1], Long: row[1] + ", as refreshd " + row[0] + " --provider NAME does.", Args: args("NAME"),
			RunE: func(cmd *cobra.Command, given []string) error {
				r, err := p.connect()
				if err != nil {
					return err
				}
				return p.pauseProvider(cmd, r, row[0], given[0])
			},
		})
	}
	return cmd
}

// providerInfo is a provider as the service shows it.
type providerInfo struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Paused  bool   `json:"paused"`
	Breaker struct {
		Open   bool       `json:"open"`
		Reason string     `json:"reason"`
		Since  *time.Time `json:"since"`
	} `json:"breaker"`
	Hold       *holdInfo `json:"hold"`
	TokensLive float64   `json:"tokens_live_seconds"`
}

// holdInfo is what a provider has asked for that has had too many calls.
type holdInfo struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail"`
}

// why says what the provider answered.
func (h holdInfo) why() string {
	return strings.Join(slices.DeleteFunc([]string{h.Reason, h.Detail}, func(s string) bool { return s == "" }), ", ")
}

// note says it beside a credential.
func (h holdInfo) note() string {
	note := "provider held until " + h.Until.Format(time.RFC3339)
	if why := h.why(); why != "" {
		note += " (" + why + ")"
	}
	return note
}

// state says in a few words whether the provider is called.
func (i providerInfo) state(allPaused bool) string {
	var words []string
	if i.Paused {
		words = append(words, "paused")
	}
	if allPaused {
		words = append(words, "service paused")
	}
	if i.Breaker.Open {
		words = append(words, "refuses the client")
	}
	if i.Hold != nil {
		words = append(words, "held until "+i.Hold.Until.Format(time.RFC3339))
	}
	if words == nil {
		return "in use"
	}
	return strings.Join(words, ", ")
}

func (p *program) providerListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the configured providers, and which are held back", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodGet, "/v1/providers", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(raw)
			}
			var said struct {
				Paused    bool           `json:"paused"`
				Providers []providerInfo `json:"providers"`
			}
			if err := json.Unmarshal(raw, &said); err != nil {
				return err
			}
			w := p.table("NAME\tKIND\tSTATE\tREASON\tSINCE")
			for _, one := range said.Providers {
				reason, since := one.Breaker.Reason, "-"
				if one.Breaker.Since != nil {
					since = one.Breaker.Since.Format(time.RFC3339)
				}
				if one.Hold != nil && reason == "" {
					reason = one.Hold.why()
				}
				w.row("%s\t%s\t%s\t%s\t%s", one.Name, one.Kind, one.state(said.Paused), dash(reason), since)
			}
			if said.Paused {
				p.say("the whole service is paused; refreshd resume --all lets it go on")
			}
			return w.Flush()
		},
	}
}

func (p *program) providerCheckCommand() *cobra.Command {
	var username, file, env string
	cmd := &cobra.Command{
		Use: "check NAME", Short: "Say whether a provider's settings work", Long: providerCheckHelp, Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			opts := app.ProviderCheckOptions{Config: p.config, Env: os.Environ(), Version: version, Name: given[0]}
			if username != "" {
				password, err := p.readPassword(file, env)
				if err != nil {
					return err
				}
				opts.SignIn = app.SignIn(username, password)
			} else if env != "" || file != "-" {
				return usage(errors.New("a password needs --username beside it"))
			}
			list, err := app.CheckProvider(cmd.Context(), opts)
			switch {
			case errors.Is(err, app.ErrNoProvider):
				return &exitError{exitNotFound, err}
			case err != nil:
				return usage(err)
			}
			return p.printChecked(given[0], list)
		},
	}
	cmd.Flags().StringVar(&username, "username", "", "name of a test login, which is made and logged out again")
	cmd.Flags().StringVar(&file, "password-file", "-", "file with its password; - is the standard input")
	cmd.Flags().StringVar(&env, "password-env", "", "variable of the environment with it, in place of --password-file")
	return cmd
}

func (p *program) printChecked(name string, list []app.ProviderFinding) error {
	if p.json {
		data, err := json.Marshal(map[string]any{"provider": name, "findings": list})
		if err != nil {
			return err
		}
		if err := p.printJSON(data); err != nil {
			return err
		}
	} else {
		w := p.table("\tABOUT\tWHAT — REMEDY")
		for _, f := range list {
			said := slices.DeleteFunc([]string{f.What, f.Remedy}, func(s string) bool { return s == "" })
			w.row("%s\t%s\t%s", f.Severity, f.Check, strings.Join(strings.Fields(strings.Join(said, " — ")), " "))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	failed := 0
	for _, f := range list {
		if f.Severity == app.ProviderFail {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("findings that fail: %d of %d", failed, len(list))
	}
	return nil
}

func (p *program) presetsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "presets [NAME]", Short: "List what is known of providers", Long: presetsHelp,
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) > 1 {
				return args("NAME")(cmd, given)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, given []string) error {
			list := app.Presets()
			if len(given) == 1 {
				i := slices.IndexFunc(list, func(one app.Preset) bool { return one.Name == given[0] })
				if i < 0 {
					return &exitError{exitNotFound, fmt.Errorf("there is no preset %q; refreshd provider presets lists them", given[0])}
				}
				return p.printPreset(list[i])
			}
			if p.json {
				data, err := json.Marshal(map[string]any{"presets": list})
				if err != nil {
					return err
				}
				return p.printJSON(data)
			}
			w := p.table("NAME\tPROVIDER\tKIND\tASKS FOR")
			for _, one := range list {
				w.row("%s\t%s\t%s\t%s", one.Name, one.Title, one.Kind, dash(strings.Join(asksFor(one), ", ")))
			}
			return w.Flush()
		},
	}
}

// asksFor lists what a preset leaves to the operator, beside the client.
func asksFor(one app.Preset) []string {
	var list []string
	if one.Part != "" && one.Usual == "" {
		list = append(list, one.Part)
	}
	if one.Issuer != "" {
		list = append(list, "issuer")
	}
	for _, need := range one.Needs {
		list = append(list, need.Key)
	}
	return list
}

func (p *program) printPreset(one app.Preset) error {
	if p.json {
		data, err := json.Marshal(one)
		if err != nil {
			return err
		}
		return p.printJSON(data)
	}
	text := []string{fmt.Sprintf("# %s (%s), see %s", one.Title, one.Kind, one.Docs)}
	if one.Part != "" {
		text = append(text, fmt.Sprintf("# preset: {name: %s, %s: %s}", one.Name, one.Part, one.Example))
		if one.Usual != "" {
			text = append(text, fmt.Sprintf("# %s is %s unless it is given", one.Part, one.Usual))
		}
	} else {
		text = append(text, "# preset: "+one.Name)
	}
	if one.Issuer != "" {
		text = append(text, "# issuer looks like "+one.Issuer)
	}
	for _, need := range one.Needs {
		text = append(text, "# set "+need.Key+": "+need.What)
	}
	for _, note := range one.Notes {
		text = append(text, "# "+note)
	}
	if len(one.Unverified) > 0 {
		text = append(text, "# not verified: "+strings.Join(one.Unverified, ", "))
	}
	_, err := fmt.Fprintln(p.out, strings.Join(append(text, strings.TrimRight(one.Settings, "\n")), "\n"))
	return err
}
