package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
	"github.com/refreshd/refreshd/internal/config"
)

// healthTimeout bounds a health check: an orchestrator asks often.
const healthTimeout = 5 * time.Second

func (p *program) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what the service is doing, as JSON", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodGet, "/v1/status", nil, &raw); err != nil {
				return err
			}
			if err := p.sayPaused(raw); err != nil {
				return err
			}
			return p.printJSON(raw)
		},
	}
}

// sayPaused tells a person what is held back, by hand, for its failures, at the
// provider's wish or for want of a provider: it is easily forgotten.
func (p *program) sayPaused(raw json.RawMessage) error {
	var status struct {
		Paused    bool           `json:"paused"`
		Providers []providerInfo `json:"providers"`

		Unconfigured []struct {
			Name        string `json:"name"`
			Credentials int    `json:"credentials"`
		} `json:"unconfigured_providers"`

		Subscriptions []subscriptionInfo `json:"subscriptions"`
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return err
	}
	if status.Paused {
		p.say("the whole service is paused; refreshd resume --all lets it go on")
	}
	for _, one := range status.Providers {
		if one.Paused {
			p.say("provider %s is paused; refreshd resume --provider %s lets it go on", one.Name, one.Name)
		}
		if one.Hold != nil {
			p.say("provider %s has asked to be left alone until %s (%s), and goes on by itself then", one.Name, one.Hold.Until.Format(time.RFC3339), one.Hold.why())
		}
		if one.TokensLive > 0 {
			p.say("provider %s: tokens live %gs, shorter than schedule.min_interval, and are dead in between; see with refreshd provider check %s whether the life is told in another unit", one.Name, one.TokensLive, one.Name)
		}
	}
	for _, one := range status.Unconfigured {
		p.say("live credentials belong to provider %s, which the configuration does not have, and are kept as they are, not refreshed: %d; put it back, or delete what refreshd list --provider %s shows", one.Name, one.Credentials, one.Name)
	}
	for _, one := range status.Subscriptions {
		if one.State == "disabled" {
			p.say("subscription %s is disabled (%s), and its events wait; refreshd subscription enable %s lets it go on", one.Name, one.Reason, one.Name)
		}
	}
	return nil
}

func (p *program) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck", Short: "Exit with 0 if the service on this machine is ready", Args: args(),
		Long: "Ask /readyz of the service that --config or REFRESHD_URL names, without a key.\nMade for a container's health check.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			base := strings.TrimRight(os.Getenv("REFRESHD_URL"), "/")
			if base == "" {
				conf, err := config.Locate(p.config, os.Environ())
				if err != nil {
					return err
				}
				base = localURL(conf)
			}
			r := &remote{base: base, client: &http.Client{Timeout: healthTimeout, Transport: &http.Transport{Proxy: nil}}}
			return r.call(cmd.Context(), http.MethodGet, "/readyz", nil, nil)
		},
	}
}

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the configuration", RunE: needsSubcommand}
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Check the configuration file and say what is wrong with it", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			conf, err := app.LoadConfig(p.config, os.Environ())
			if err != nil {
				return usage(err)
			}
			for _, warning := range conf.Warnings {
				p.say("warning: %s", warning)
			}
			if problems := app.CheckSinks(conf); len(problems) > 0 {
				return usage(fmt.Errorf("%s: %s", p.config, strings.Join(problems, "; ")))
			}
			p.say("%s is valid: %s, %s", p.config, count(len(conf.Providers), "provider"), count(len(conf.Subscriptions), "subscription"))
			return nil
		},
	})
	return cmd
}

func needsSubcommand(cmd *cobra.Command, given []string) error {
	if len(given) > 0 {
		return usage(fmt.Errorf("%s has no command %q; see %s --help", cmd.Name(), given[0], cmd.CommandPath()))
	}
	return usage(fmt.Errorf("%s needs a command; see %s --help", cmd.Name(), cmd.CommandPath()))
}

// apiKey is a key as the service lists it.
type apiKey struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	Prefix    string     `json:"prefix"`
	Subject   string     `json:"subject"`
	CreatedAt *time.Time `json:"created_at"`
	Key       string     `json:"key"`
}

const keyCreateHelp = `Create an API key and print it: once, for only a hash of it is kept.

Scopes: token:read, credential:write, event:read, admin (which implies all).
--prefix limits the key to credentials whose IDs start so, --subject to those of
one user, by his UID: for a front end, which sees nothing of anybody else then.

    refreshd key create ci --scope token:read --prefix ci:
    refreshd key create phone --scope token:read --scope event:read --subject u-42`

func (p *program) keyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Create, list and revoke API keys", RunE: needsSubcommand}
	var scopes []string
	var prefix, subject string
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a key and print it", Long: keyCreateHelp, Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			body := map[string]any{"name": given[0], "scopes": scopes}
			// One that is given and empty is a variable that was not set: without
			// its limit the key would be good for everything.
			for name, limit := range map[string]string{"prefix": prefix, "subject": subject} {
				switch asked := cmd.Flags().Changed(name); {
				case asked && limit == "":
					return usage(fmt.Errorf("--%s is empty; leave it out for a key without that limit", name))
				case asked:
					body[name] = limit
				}
			}
			if err := r.call(cmd.Context(), http.MethodPost, "/v1/keys", body, &raw); err != nil {
				return byOption(err, "body.name", "the name", "body.scopes", "--scope", "body.prefix", "--prefix", "body.subject", "--subject")
			}
			if p.json {
				return p.printJSON(raw)
			}
			var key apiKey
			if err := json.Unmarshal(raw, &key); err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.out, key.Key)
			return err
		},
	}
	create.Flags().StringArrayVar(&scopes, "scope", []string{"token:read"}, "what the key may do, repeatable")
	create.Flags().StringVar(&prefix, "prefix", "", "only credentials whose IDs start so")
	create.Flags().StringVar(&subject, "subject", "", "only credentials of the user with this UID")
	cmd.AddCommand(create,
		&cobra.Command{
			Use: "list", Short: "List the keys", Args: args(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				r, err := p.connect()
				if err != nil {
					return err
				}
				var raw json.RawMessage
				if err := r.call(cmd.Context(), http.MethodGet, "/v1/keys", nil, &raw); err != nil {
					return err
				}
				if p.json {
					return p.printJSON(raw)
				}
				return p.printKeys(raw)
			},
		},
		&cobra.Command{
			Use: "revoke ID", Short: "Revoke a key; refreshd key list shows the IDs", Args: args("ID"),
			RunE: func(cmd *cobra.Command, given []string) error {
				r, err := p.connect()
				if err != nil {
					return err
				}
				if err := r.call(cmd.Context(), http.MethodDelete, "/v1/keys/"+url.PathEscape(given[0]), nil, nil); err != nil {
					return err
				}
				p.say("key %s is revoked", given[0])
				return nil
			},
		})
	return cmd
}

func (p *program) printKeys(raw json.RawMessage) error {
	var list struct {
		Keys []apiKey `json:"keys"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	w := p.table("NAME\tID\tSCOPES\tPREFIX\tSUBJECT\tCREATED")
	for _, key := range list.Keys {
		created := "-"
		if key.CreatedAt != nil {
			created = key.CreatedAt.Format(time.RFC3339)
		}
		w.row("%s\t%s\t%s\t%s\t%s\t%s", key.Name, key.ID, strings.Join(key.Scopes, " "), dash(key.Prefix), dash(key.Subject), created)
	}
	return w.Flush()
}
