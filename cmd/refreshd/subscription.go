package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const subscriptionHelp = `Say who is told of events, and see how that does. Those of config.yaml are listed
here and changed there; the others are kept by the service. The key needs the
scope admin.

    refreshd subscription add ui --url https://app.example/hooks/auth --type 'credential.*'
    refreshd subscription test ui
    refreshd subscription deliveries ui
    refreshd subscription replay ui --from 2026-01-02T15:04:05Z`

const subscriptionAddHelp = `Add a subscription, and print the secret that its deliveries are signed with: once,
for it is never shown again. A secret of your own comes from the standard input
(--secret-file -), a file or the environment, and is not printed.

    refreshd subscription add ui --url https://app.example/hooks/auth --type 'credential.*'
    refreshd subscription add ui --url https://app.example/hooks/auth --type '*' \
        --provider github --label team=blue --retry 5s --retry 1m --retry 1h --secret-env HOOK_SECRET

Without --retry, deliveries are repeated as Standard Webhooks recommends it, over
four days; after the last one the subscription is disabled, and forgets nothing.`

const subscriptionRotateHelp = `Give a subscription a new secret, and print it: once, for it is never shown again.
Deliveries carry the signatures of both until the overlap ends, so that the
receiver can change over in its own time. A secret of your own is given as with
add, and is not printed.

    refreshd subscription rotate ui --overlap 72h`

const subscriptionReplayHelp = `Deliver events again, from a cursor (as refreshd events prints it), from a moment,
or from the oldest that is left (0). Events that were delivered before keep their
IDs. A subscription that is disabled is enabled by it.

    refreshd subscription replay ui --from 0
    refreshd subscription replay ui --from 2026-01-02T15:04:05Z`

// subscriptionInfo is a subscription as the service shows it.
type subscriptionInfo struct {
	Name          string            `json:"name"`
	URL           string            `json:"url"`
	Format        string            `json:"format"`
	Delivery      string            `json:"delivery"`
	Audience      string            `json:"audience"`
	Types         []string          `json:"types"`
	Providers     []string          `json:"providers"`
	Prefix        string            `json:"prefix"`
	Labels        map[string]string `json:"labels"`
	Retry         []string          `json:"retry"`
	Enabled       bool              `json:"enabled"`
	ManagedBy     string            `json:"managed_by"`
	State         string            `json:"state"`
	Reason        string            `json:"reason"`
	Detail        string            `json:"detail"`
	Since         *time.Time        `json:"since"`
	Lag           float64           `json:"lag_seconds"`
	PreviousUntil *time.Time        `json:"previous_secret_until"`
	Secret        string            `json:"secret"`
}

// subscriptionPath is the path of one subscription, or of what can be done to
// it.
func subscriptionPath(name string, rest ...string) string {
	return "/v1/subscriptions/" + strings.Join(append([]string{url.PathEscape(name)}, rest...), "/")
}

func (p *program) subscriptionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "subscription", Short: "Say who is told of events, and see how that does", Long: subscriptionHelp, RunE: needsSubcommand}
	cmd.AddCommand(
		p.subscriptionAddCommand(), p.subscriptionListCommand(), p.subscriptionGetCommand(), p.subscriptionTestCommand(),
		p.subscriptionReplayCommand(), p.subscriptionEnableCommand(), p.subscriptionRotateCommand(),
		p.subscriptionDeliveriesCommand(), p.subscriptionDeleteCommand(),
	)
	return cmd
}

// subscriptionByOption is byOption for subscriptions.
func subscriptionByOption(err error) error {
	return byOption(err, "path.name", "the name", "body.name", "the name", "body.url", "--url", "body.format", "--format", "body.types", "--type",
		"body.providers", "--provider", "body.prefix", "--prefix", "body.labels", "--label", "body.retry", "--retry", "leave retry out", "leave --retry out",
		"body.secret", "the secret", "body.overlap", "--overlap", "an overlap of 0s", "--overlap 0s", "body.from", "--from", "query.limit", "--limit",
		"leave the list out", "leave --provider out")
}

// secretFlags say where a secret of the user's own comes from.
type secretFlags struct{ file, env string }

func (f *secretFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "secret-file", "", "file with a secret of your own; - is the standard input")
	cmd.Flags().StringVar(&f.env, "secret-env", "", "variable of the environment with it, in place of --secret-file")
}

// readSecret returns the user's own secret, "" if there is none.
func (p *program) readSecret(f secretFlags) (string, error) {
	switch {
	case f.file == "" && f.env == "":
		return "", nil
	case f.file != "" && f.env != "":
		return "", usage(errors.New("--secret-file and --secret-env contradict each other: give one of them"))
	case f.env != "":
		if secret := os.Getenv(f.env); secret != "" {
			return secret, nil
		}
		return "", usage(fmt.Errorf("the environment variable %s is empty or not set", f.env))
	}
	secret, err := p.passwordFrom(f.file)
	if err == nil && secret == "" {
		err = usage(errors.New("the secret is empty"))
	}
	return secret, err
}

func (p *program) subscriptionAddCommand() *cobra.Command {
	var secret secretFlags
	var address, format, prefix string
	var types, providers, labels, retry []string
	var off bool
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a subscription and print its secret", Long: subscriptionAddHelp, Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			body := map[string]any{"name": given[0], "url": address, "format": format, "types": types, "enabled": !off}
			for name, list := range map[string][]string{"providers": providers, "retry": retry} {
				if len(list) > 0 {
					body[name] = list
				}
			}
			if prefix != "" {
				body["prefix"] = prefix
			}
			wanted, err := parseLabels(labels)
			if err != nil {
				return err
			}
			if len(wanted) > 0 {
				body["labels"] = wanted
			}
			own, err := p.readSecret(secret)
			if err != nil {
				return err
			}
			if own != "" {
				body["secret"] = own
			}
			return p.withSecret(cmd, "/v1/subscriptions", body, "subscription "+given[0]+" is told of events from now on")
		},
	}
	cmd.Flags().StringVar(&address, "url", "", "where events are posted")
	cmd.Flags().StringVar(&format, "format", "webhook", "how they are sent")
	cmd.Flags().StringArrayVar(&types, "type", []string{"*"}, "only of these types; credential.* stands for several; repeatable")
	cmd.Flags().StringArrayVar(&providers, "provider", nil, "only of this provider, repeatable")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only of credentials whose IDs start so")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "only of credentials with this label, k=v; repeatable")
	cmd.Flags().StringArrayVar(&retry, "retry", nil, "wait before the next delivery of an event that failed, repeatable")
	cmd.Flags().BoolVar(&off, "off", false, "deliver nothing until it is enabled, and forget nothing")
	secret.add(cmd)
	return cmd
}

// withSecret makes a call whose answer may hold a secret that was drawn, and
// prints that.
func (p *program) withSecret(cmd *cobra.Command, path string, body any, done string) error {
	r, err := p.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := r.call(cmd.Context(), http.MethodPost, path, body, &raw); err != nil {
		return subscriptionByOption(err)
	}
	if p.json {
		return p.printJSON(raw)
	}
	var made subscriptionInfo
	if err := json.Unmarshal(raw, &made); err != nil {
		return err
	}
	p.say("%s", done)
	if made.Secret == "" {
		return nil
	}
	_, err = fmt.Fprintln(p.out, made.Secret)
	return err
}

func (p *program) subscriptionRotateCommand() *cobra.Command {
	var secret secretFlags
	var overlap time.Duration
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "Give a subscription a new secret and print it", Long: subscriptionRotateHelp, Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			body := map[string]any{"overlap": overlap.String()}
			own, err := p.readSecret(secret)
			if err != nil {
				return err
			}
			if own != "" {
				body["secret"] = own
			}
			done := fmt.Sprintf("deliveries of %s are signed with the new secret, and with the old one for %s", given[0], overlap)
			if overlap == 0 {
				done = fmt.Sprintf("deliveries of %s are signed with the new secret alone: whoever knows only an old one refuses them from now on", given[0])
			}
			return p.withSecret(cmd, subscriptionPath(given[0], "secret"), body, done)
		},
	}
	const usualOverlap = 24 * time.Hour
	cmd.Flags().DurationVar(&overlap, "overlap", usualOverlap, "how long the old secret signs beside the new one")
	secret.add(cmd)
	return cmd
}

func (p *program) subscriptionListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the subscriptions", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodGet, "/v1/subscriptions", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(raw)
			}
			var said struct {
				Subscriptions []subscriptionInfo `json:"subscriptions"`
			}
			if err := json.Unmarshal(raw, &said); err != nil {
				return err
			}
			return p.printSubscriptions(said.Subscriptions)
		},
	}
}

func (p *program) printSubscriptions(list []subscriptionInfo) error {
	w := p.table("NAME\tSTATE\tREASON\tBEHIND\tFORMAT\tTYPES\tURL\tMANAGED BY")
	for _, one := range list {
		w.row("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", one.Name, one.State, dash(one.Reason), one.behind(), one.how(),
			strings.Join(one.Types, " "), dash(one.where()), one.ManagedBy)
	}
	return w.Flush()
}

// how is the format, and for security event tokens who comes to whom.
func (i subscriptionInfo) how() string {
	if i.Delivery == "" {
		return i.Format
	}
	return i.Format + "/" + i.Delivery
}

// where is the address, and whom what goes there is for where that is said.
func (i subscriptionInfo) where() string {
	if i.Audience == "" {
		return i.URL
	}
	return strings.TrimSpace(i.URL + " for " + i.Audience)
}

// behind is the age of the oldest event that is not delivered.
func (i subscriptionInfo) behind() string {
	if i.Lag == 0 {
		return "-"
	}
	return time.Duration(i.Lag * float64(time.Second)).Round(time.Second).String()
}

func (p *program) subscriptionGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show a subscription, without its secrets", Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return p.showSubscription(cmd, http.MethodGet, subscriptionPath(given[0]))
		},
	}
}

func (p *program) subscriptionEnableCommand() *cobra.Command {
	return &cobra.Command{
		Use: "enable NAME", Short: "Go on with a subscription that is disabled or off", Args: args("NAME"),
		Long: "Go on with a subscription that is disabled or off, from where it stopped, at once.",
		RunE: func(cmd *cobra.Command, given []string) error {
			return p.showSubscription(cmd, http.MethodPost, subscriptionPath(given[0], "enable"))
		},
	}
}

// showSubscription makes a call that answers with a subscription.
func (p *program) showSubscription(cmd *cobra.Command, method, path string) error {
	r, err := p.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := r.call(cmd.Context(), method, path, nil, &raw); err != nil {
		return subscriptionByOption(err)
	}
	if p.json {
		return p.printJSON(raw)
	}
	var one subscriptionInfo
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	if one.Detail != "" {
		p.say("its last delivery: %s", one.Detail)
	}
	if one.PreviousUntil != nil {
		p.say("the secret before the current one signs beside it until %s", one.PreviousUntil.Format(time.RFC3339))
	}
	return p.printSubscriptions([]subscriptionInfo{one})
}

func (p *program) subscriptionTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "Send a test event and say what came of it", Args: args("NAME"),
		Long: "Send stream.verification with a signature, now and past all other events, once.\nOne of format caep is tested with refreshd signals verify.\n\nExit codes: 0 it was taken, 1 it was not.",
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodPost, subscriptionPath(given[0], "test"), nil, &raw); err != nil {
				return subscriptionByOption(err)
			}
			var said struct {
				Result string  `json:"result"`
				Status int     `json:"status"`
				Error  string  `json:"error"`
				Took   float64 `json:"took_seconds"`
			}
			if err := json.Unmarshal(raw, &said); err != nil {
				return err
			}
			if p.json {
				if err := p.printJSON(raw); err != nil {
					return err
				}
			}
			took := time.Duration(said.Took * float64(time.Second)).Round(time.Millisecond)
			if said.Error != "" {
				return fmt.Errorf("%s after %s: %s", said.Result, took, said.Error)
			}
			if said.Status == 0 { // of a stream or topic
				p.say("%s in %s", said.Result, took)
				return nil
			}
			p.say("%s in %s: the receiver answered %d", said.Result, took, said.Status)
			return nil
		},
	}
}

func (p *program) subscriptionReplayCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use: "replay NAME --from CURSOR", Short: "Deliver events again", Long: subscriptionReplayHelp, Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if from == "" {
				return usage(errors.New("replay needs --from: a cursor, a moment such as 2026-01-02T15:04:05Z, or 0 for all that is left"))
			}
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := r.call(cmd.Context(), http.MethodPost, subscriptionPath(given[0], "replay"), map[string]string{"from": from}, &raw); err != nil {
				return subscriptionByOption(err)
			}
			var said struct {
				Reset bool `json:"reset"`
			}
			if err := json.Unmarshal(raw, &said); err != nil {
				return err
			}
			p.say("events are delivered to %s again from there", given[0])
			if said.Reset {
				p.say("some of them are gone: it goes on from the oldest that is left")
			}
			if p.json {
				return p.printJSON(raw)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "a cursor, a moment, or 0 for the oldest event that is left")
	return cmd
}

func (p *program) subscriptionDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a subscription", Args: args("NAME"),
		Long: "Delete a subscription. Deliveries under way come to their end; its name is free\nagain after half a minute.",
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			if err := r.call(cmd.Context(), http.MethodDelete, subscriptionPath(given[0]), nil, nil); err != nil {
				return subscriptionByOption(err)
			}
			p.say("subscription %s is deleted", given[0])
			return nil
		},
	}
}

func (p *program) subscriptionDeliveriesCommand() *cobra.Command {
	const usualLimit = 20
	var limit int
	cmd := &cobra.Command{
		Use: "deliveries NAME", Short: "Show the last deliveries of a subscription, the newest first", Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			path := subscriptionPath(given[0], "deliveries") + "?limit=" + strconv.Itoa(limit)
			if err := r.call(cmd.Context(), http.MethodGet, path, nil, &raw); err != nil {
				return subscriptionByOption(err)
			}
			if p.json {
				return p.printJSON(raw)
			}
			return p.printDeliveries(raw)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", usualLimit, "at most this many, up to 100")
	return cmd
}

func (p *program) printDeliveries(raw json.RawMessage) error {
	var said struct {
		Deliveries []struct {
			Event   string    `json:"event"`
			Type    string    `json:"type"`
			Attempt int       `json:"attempt"`
			At      time.Time `json:"at"`
			Took    float64   `json:"took_seconds"`
			Result  string    `json:"result"`
			Status  int       `json:"status"`
			Error   string    `json:"error"`
		} `json:"deliveries"`
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return err
	}
	w := p.table("AT\tEVENT\tTYPE\tATTEMPT\tRESULT\tSTATUS\tTOOK\tERROR")
	for _, one := range said.Deliveries {
		status := "-"
		if one.Status != 0 {
			status = strconv.Itoa(one.Status)
		}
		took := time.Duration(one.Took * float64(time.Second)).Round(time.Millisecond)
		w.row("%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s", one.At.Format(time.RFC3339), one.Event, one.Type, one.Attempt, one.Result, status, took, dash(one.Error))
	}
	return w.Flush()
}
