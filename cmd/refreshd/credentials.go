package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// record is a credential as the service shows it.
type record struct {
	ID         string            `json:"id"`
	Provider   string            `json:"provider"`
	Subject    string            `json:"subject"`
	Labels     map[string]string `json:"labels"`
	State      string            `json:"state"`
	Reason     string            `json:"reason"`
	Since      *time.Time        `json:"since"`
	Version    uint64            `json:"version"`
	Generation uint64            `json:"generation"`
	ExpiresAt  *time.Time        `json:"expires_at"`
	ExpiresIn  *float64          `json:"expires_in"`
	DueAt      *time.Time        `json:"due_at"`
	InDoubt    bool              `json:"in_doubt"`
}

// tokenReply is a token as the service hands it out.
type tokenReply struct {
	AccessToken string     `json:"access_token"`
	ExpiresAt   *time.Time `json:"expires_at"`
	Generation  uint64     `json:"generation"`
}

const putHelp = `Store a credential, or a new token for one that exists.

The token is read as JSON from the standard input, or from --token-file; it
never stands in an argument, where other users could see it:

    {"access_token": "…", "refresh_token": "…", "expires_in": 3600}

Beside expires_in (seconds), expires_at (RFC 3339), token_type and scope are
understood; a provider's whole reply will do. A refresh token
that was used before under this ID is refused. Store each under one ID only:
under two, both would present it.`

func (p *program) putCommand() *cobra.Command {
	var provider, subject, file string
	var labels []string
	cmd := &cobra.Command{
		Use: "put ID --provider NAME < token.json", Short: "Store a credential or log in again", Long: putHelp, Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if provider == "" {
				return usage(errors.New("--provider is missing; name the provider of config.yaml that issued the token"))
			}
			token, err := p.readToken(file)
			if err != nil {
				return err
			}
			parsed, err := parseLabels(labels)
			if err != nil {
				return err
			}
			r, err := p.connect()
			if err != nil {
				return err
			}
			body := map[string]any{"provider": provider, "token": token}
			if subject != "" {
				body["subject"] = subject
			}
			if len(parsed) > 0 {
				body["labels"] = parsed
			}
			return p.showRecord(cmd, r, http.MethodPut, credentialPath(given[0]), body)
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "", "provider of config.yaml that issued the token (required)")
	cmd.Flags().StringVar(&subject, "subject", "", "the user's UID at the provider")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "k=v, repeatable")
	cmd.Flags().StringVar(&file, "token-file", "-", "file with the token as JSON; - is the standard input")
	return cmd
}

func (p *program) readToken(file string) (json.RawMessage, error) {
	from := p.in
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names the file
		if err != nil {
			return nil, usage(err)
		}
		defer f.Close() //nolint:errcheck // only read from
		from = f
	} else if f, ok := from.(*os.File); ok && isTerminal(f) {
		p.say("reading the token as JSON from the standard input, end with Ctrl-D")
	}
	data, err := io.ReadAll(io.LimitReader(from, 1<<20))
	if err != nil {
		return nil, err
	}
	var token map[string]json.RawMessage
	if err := json.Unmarshal(data, &token); err != nil {
		return nil, usage(errors.New("the token is no JSON object; give {\"access_token\": …, \"refresh_token\": …, \"expires_in\": …}"))
	}
	return p.knownFields(token)
}

// knownFields takes what the service understands out of a token, which may be
// a provider's whole reply, and tells what was left out.
func (p *program) knownFields(token map[string]json.RawMessage) (json.RawMessage, error) {
	var left []string
	for name := range token {
		switch name {
		case "access_token", "refresh_token", "token_type", "scope", "expires_in", "expires_at":
		default:
			left = append(left, name)
			delete(token, name)
		}
	}
	if len(left) > 0 {
		slices.Sort(left)
		p.say("left out of the token: %s", strings.Join(left, ", "))
	}
	return json.Marshal(token)
}

func parseLabels(list []string) (map[string]string, error) {
	labels := make(map[string]string, len(list))
	for _, one := range list {
		name, value, ok := strings.Cut(one, "=")
		if !ok || name == "" {
			return nil, usage(fmt.Errorf("--label %q: give name=value", one))
		}
		labels[name] = value
	}
	return labels, nil
}

// showRecord makes a call that answers with a record, and prints it.
func (p *program) showRecord(cmd *cobra.Command, r *remote, method, path string, body any) error {
	var raw json.RawMessage
	if err := r.call(cmd.Context(), method, path, body, &raw); err != nil {
		return err
	}
	if p.json {
		return p.printJSON(raw)
	}
	var one record
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	return p.printRecords([]record{one})
}

func (p *program) listCommand() *cobra.Command {
	var provider, state, prefix string
	var labels []string
	cmd := &cobra.Command{
		Use: "list", Short: "List credentials", Args: args(),
		Long: "List credentials, all of them unless a filter is given. No secrets are shown.\n\n    refreshd list --provider acme --state reauth_required",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			query := url.Values{"limit": {"1000"}}
			for name, value := range map[string]string{"provider": provider, "state": state, "prefix": prefix} {
				if value != "" {
					query.Set(name, value)
				}
			}
			for _, label := range labels {
				query.Add("label", label)
			}
			return p.listAll(cmd, r, query)
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "", "only of this provider")
	cmd.Flags().StringVar(&state, "state", "", "only in this state")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only IDs that start so")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "only with this label, k=v, repeatable")
	return cmd
}

func (p *program) listAll(cmd *cobra.Command, r *remote, query url.Values) error {
	all := []record{}
	raws := []json.RawMessage{}
	for {
		var page struct {
			Credentials []json.RawMessage `json:"credentials"`
			Next        string            `json:"next"`
			Unreadable  []string          `json:"unreadable"`
		}
		if err := r.call(cmd.Context(), http.MethodGet, "/v1/credentials?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, raw := range page.Credentials {
			var one record
			if err := json.Unmarshal(raw, &one); err != nil {
				return err
			}
			all = append(all, one)
			raws = append(raws, raw)
		}
		for _, id := range page.Unreadable {
			p.say("%s is stored but cannot be read; the service's log has the cause", id)
		}
		if page.Next == "" {
			break
		}
		query.Set("cursor", page.Next)
	}
	if p.json {
		data, err := json.Marshal(raws)
		if err != nil {
			return err
		}
		return p.printJSON(data)
	}
	return p.printRecords(all)
}

func (p *program) getCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show one credential, without its secrets", Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			return p.showRecord(cmd, r, http.MethodGet, credentialPath(given[0]), nil)
		},
	}
}

//nolint:gosec // help, not a token
const printTokenHelp = `Print a valid access token to the standard output and nothing else.

It is refreshed first if it would not stay valid for --min-ttl. Exit code 4
means that only the user can mend it, by a new login.

    curl -H "Authorization: Bearer $(refreshd token github:alice)" https://api.example/me`

func (p *program) tokenCommand() *cobra.Command {
	var minTTL time.Duration
	cmd := &cobra.Command{
		Use: "token ID", Short: "Print a valid access token", Long: printTokenHelp, Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			path := credentialPath(given[0], "token") + "?min_ttl=" + url.QueryEscape(minTTL.String())
			return p.printToken(cmd, r, http.MethodGet, path, nil)
		},
	}
	cmd.Flags().DurationVar(&minTTL, "min-ttl", 0, "how long it has to stay valid at least")
	return cmd
}

func (p *program) printToken(cmd *cobra.Command, r *remote, method, path string, body any) error {
	var raw json.RawMessage
	if err := r.call(cmd.Context(), method, path, body, &raw); err != nil {
		return err
	}
	if p.json {
		return p.printJSON(raw)
	}
	var token tokenReply
	if err := json.Unmarshal(raw, &token); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.out, token.AccessToken)
	return err
}

func (p *program) refreshCommand() *cobra.Command {
	var rejected uint64
	cmd := &cobra.Command{
		Use: "refresh ID", Short: "Refresh now", Args: args("ID"),
		Long: "Refresh a credential now and show it.\n\nWith --rejected-generation, only if that generation is still the current one:\nsay which one the resource refused, and a token that is newer is left alone.",
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			body := map[string]uint64{}
			if rejected != 0 {
				body["rejected_generation"] = rejected
			}
			var token tokenReply
			if err := r.call(cmd.Context(), http.MethodPost, credentialPath(given[0], "refresh"), body, &token); err != nil {
				return err
			}
			return p.showRecord(cmd, r, http.MethodGet, credentialPath(given[0]), nil)
		},
	}
	cmd.Flags().Uint64Var(&rejected, "rejected-generation", 0, "the generation that was refused")
	return cmd
}

func (p *program) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout ID", Short: "End a credential: erase its secrets, keep its record", Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			return p.showRecord(cmd, r, http.MethodPost, credentialPath(given[0], "logout"), nil)
		},
	}
}

func (p *program) deleteCommand() *cobra.Command {
	var revoke bool
	cmd := &cobra.Command{
		Use: "delete ID", Short: "Delete a credential", Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			path := credentialPath(given[0]) + "?revoke=" + strconv.FormatBool(revoke)
			if err := r.call(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
			p.say("%s is deleted", given[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke", false, "also revoke its tokens at the provider")
	return cmd
}
