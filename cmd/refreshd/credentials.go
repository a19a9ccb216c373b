package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
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
	OnceAt     *time.Time        `json:"refresh_once_at"`
	Callable   bool              `json:"refreshable"`
	InDoubt    bool              `json:"in_doubt"`
	Paused     bool              `json:"paused"`
	HasLogin   bool              `json:"has_login"`
	Presence   string            `json:"presence"`
	Session    *struct{}         `json:"session"`
	Success    time.Time         `json:"last_success_at"`
	Failure    *failure          `json:"last_failure"`
	Learned    int64             `json:"learned_lifetime"` // seconds
	Missing    []string          `json:"missing"`          // of what was just stored
	Unchanged  bool              `json:"unchanged"`        // nothing was just stored
}

// failure is how the last refresh, or login, failed.
type failure struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail"`
}

// String gives the reason, and what the provider said.
func (f failure) String() string {
	if f.Detail == "" {
		return f.Reason
	}
	return f.Reason + ": " + f.Detail
}

// reason says why the record is in its state. One without a token has the
// reason for which it has none yet.
func (r record) reason() string {
	if r.Reason == "" && r.State == statePending && r.Failure != nil {
		return r.Failure.Reason
	}
	return r.Reason
}

// failed returns how the last attempt failed; nil if it did not.
func (r record) failed() *failure {
	if r.Failure == nil || r.Failure.At.Before(r.Success) {
		return nil
	}
	return r.Failure
}

// statePending is that of a record without a token.
const statePending = "pending"

// tokenReply is a token as the service hands it out.
type tokenReply struct {
	AccessToken string     `json:"access_token"`
	ExpiresAt   *time.Time `json:"expires_at"`
	Generation  uint64     `json:"generation"`
}

// showRecord makes a call that answers with a record, and prints it.
func (p *program) showRecord(cmd *cobra.Command, r *remote, method, path string, body any) error {
	_, _, err := p.shownRecord(cmd, r, method, path, body)
	return err
}

// shownRecord is showRecord, and returns what was shown and what is paused.
func (p *program) shownRecord(cmd *cobra.Command, r *remote, method, path string, body any) (record, pauses, error) {
	var raw json.RawMessage
	var one record
	if err := r.call(cmd.Context(), method, path, body, &raw); err != nil {
		return one, pauses{}, err
	}
	if err := json.Unmarshal(raw, &one); err != nil {
		return one, pauses{}, err
	}
	held := r.pauses(cmd.Context())
	if p.json {
		return one, held, p.printJSON(raw)
	}
	return one, held, p.printRecords([]record{one}, held, record.account)
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
	return p.printRecords(all, r.pauses(cmd.Context()), record.brief)
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
	var minTTL span
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
	cmd.Flags().Var(&minTTL, "min-ttl", "how long it has to stay valid at least")
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
