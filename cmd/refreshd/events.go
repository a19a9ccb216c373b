package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const eventsHelp = `Print events as they are committed, one line each, or JSON lines.

Without --follow, print what the log holds after --cursor and end. The last
line on the standard error names the cursor to go on from.

    refreshd events --follow --type 'credential.*' --provider acme`

// reconnectWait is how long a broken stream rests before it is resumed.
const reconnectWait = time.Second

func (p *program) eventsCommand() *cobra.Command {
	var follow bool
	var cursor, provider, prefix string
	var types, labels []string
	cmd := &cobra.Command{
		Use: "events", Short: "Print events", Long: eventsHelp, Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.connect()
			if err != nil {
				return err
			}
			query := url.Values{"type": types, "label": labels}
			for name, value := range map[string]string{"provider": provider, "prefix": prefix} {
				if value != "" {
					query.Set(name, value)
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if follow {
				return p.follow(ctx, r, query, cursor)
			}
			return p.dump(ctx, r, query, cursor)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	cmd.Flags().StringVar(&cursor, "cursor", "", "start after this cursor; 0 is the oldest that is left (the default without --follow)")
	cmd.Flags().StringArrayVar(&types, "type", nil, "only of these types; * matches any text; repeatable")
	cmd.Flags().StringVar(&provider, "provider", "", "only of this provider")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only of credentials whose IDs start so")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "only of credentials with this label, k=v; repeatable")
	return cmd
}

// dump prints pages until there is no more.
func (p *program) dump(ctx context.Context, r *remote, query url.Values, cursor string) error {
	if cursor == "" {
		cursor = "0"
	}
	query.Set("limit", "1000")
	for {
		query.Set("cursor", cursor)
		var page struct {
			Events []struct {
				Event json.RawMessage `json:"event"`
			} `json:"events"`
			Cursor string `json:"cursor"`
		}
		if err := r.call(ctx, http.MethodGet, "/v1/events?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, one := range page.Events {
			if err := p.printEvent(one.Event); err != nil {
				return err
			}
		}
		if page.Cursor == cursor { // a page may be empty before the end: nothing on it was asked for
			p.say("cursor %s", page.Cursor)
			return nil
		}
		cursor = page.Cursor
	}
}

// follow prints a stream and resumes it where it broke off.
func (p *program) follow(ctx context.Context, r *remote, query url.Values, cursor string) error {
	for {
		last, err := p.stream(ctx, r, query, cursor)
		cursor = cmp.Or(last, cursor)
		if ctx.Err() != nil {
			p.say("cursor %s", cursor)
			return nil //nolint:nilerr // it broke off because the user wanted it to
		}
		if refused, ok := errors.AsType[*problem](err); ok && refused.Status < http.StatusInternalServerError {
			return err
		}
		p.say("the stream broke off, resuming")
		timer := time.NewTimer(reconnectWait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// stream prints one connection's events and returns the last cursor.
func (p *program) stream(ctx context.Context, r *remote, query url.Values, cursor string) (string, error) {
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	resp, err := r.send(ctx, http.MethodGet, "/v1/events?"+query.Encode(), nil, "text/event-stream")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	var last string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			last = value
		case "data":
			if err := p.printEvent([]byte(value)); err != nil {
				return last, err
			}
		}
	}
	return last, lines.Err()
}

func (p *program) printEvent(raw []byte) error {
	if p.json {
		_, err := fmt.Fprintf(p.out, "%s\n", raw)
		return err
	}
	var e struct {
		Type    string    `json:"type"`
		Subject string    `json:"subject"`
		Time    time.Time `json:"time"`
		Data    struct {
			State    string `json:"state"`
			Previous string `json:"previous_state"`
			Reason   string `json:"reason"`
			Version  uint64 `json:"version"`

			Subscription string `json:"subscription"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("an event cannot be read: %w", err)
	}
	_, err := fmt.Fprintf(p.out, "%s  %-28s %-24s v%-5d %s -> %s %s\n",
		e.Time.Local().Format("15:04:05.000"), e.Type, cmp.Or(e.Subject, e.Data.Subscription), e.Data.Version, dash(e.Data.Previous), dash(e.Data.State), e.Data.Reason)
	return err
}
