package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

const pauseHelp = `Hold a credential, a provider or the whole service back: nothing is sent until it
is resumed, also over restarts and in every replica. Tokens are served while
they live, and expiries are told. The latter two need the scope admin. A
credential's own pause outlives a put.

    refreshd pause github:alice
    refreshd pause --provider github
    refreshd pause --all

refreshd get, list, status and provider list say what is paused.`

const resumeHelp = `Let a credential, a provider or the whole service go on. What was missed
meanwhile is due at once. Each is resumed by itself: a paused credential stays so
when its provider goes on.

    refreshd resume github:alice
    refreshd resume --provider github
    refreshd resume --all`

// pauses are what is held back beside single credentials, by hand or at a
// provider's wish.
type pauses struct {
	service   bool
	providers map[string]providerInfo
}

// pauses asks what is held back. It is told beside something else, which does
// not fail where this cannot be had.
func (r *remote) pauses(ctx context.Context) pauses {
	var said struct {
		Paused    bool           `json:"paused"`
		Providers []providerInfo `json:"providers"`
	}
	if r.call(ctx, http.MethodGet, "/v1/providers", nil, &said) != nil {
		return pauses{}
	}
	held := pauses{service: said.Paused, providers: map[string]providerInfo{}}
	for _, one := range said.Providers {
		held.providers[one.Name] = one
	}
	return held
}

// of lists by whose hand a credential is held back.
func (h pauses) of(one record) []string {
	var list []string
	if one.Paused {
		list = append(list, "paused")
	}
	if h.providers[one.Provider].Paused {
		list = append(list, "provider paused")
	}
	if h.service {
		list = append(list, "service paused")
	}
	return list
}

// hold is what keeps a credential from being called that is due before its end, at
// its provider's wish; nil if nothing does.
func (h pauses) hold(one record) *holdInfo {
	hold := h.providers[one.Provider].Hold
	ends := one.ExpiresAt != nil && one.DueAt != nil && one.DueAt.Equal(*one.ExpiresAt)
	if hold == nil || !one.Callable || ends || one.DueAt == nil || !one.DueAt.Before(hold.Until) {
		return nil
	}
	return hold
}

// due is when a credential is looked at next: not before the end of a hold, unless
// a session that lives has a moment of its own that is told meanwhile.
func (h pauses) due(one record) *time.Time {
	hold := h.hold(one)
	lives := one.Session != nil && one.ExpiresAt != nil
	if hold == nil || lives && one.DueAt.Before(*one.ExpiresAt) {
		return one.DueAt
	}
	return &hold.Until
}

// notes lists what holds a credential back, and for how long where that is known.
func (h pauses) notes(one record) []string {
	list := h.of(one)
	if hold := h.hold(one); hold != nil {
		list = append(list, hold.note())
	}
	if h.refused(one) {
		list = append(list, "provider refuses the client ("+h.providers[one.Provider].Breaker.Reason+")")
	}
	return list
}

// why lists what keeps a credential without a token from one: what holds it back,
// and how its last attempt failed, unless that is the same.
func (h pauses) why(one record) []string {
	list := h.notes(one)
	if one.Failure == nil {
		return list
	}
	var told bool
	switch one.Failure.Reason {
	case reasonPaused:
		told = len(h.of(one)) > 0
	case reasonClientMisconfigured:
		told = h.refused(one) && one.Failure.Detail == ""
	default:
		hold := h.hold(one)
		told = hold != nil && hold.Reason == one.Failure.Reason
	}
	if told {
		return list
	}
	return append(list, one.Failure.String())
}

// refused reports whether a credential is not called because its provider refuses
// the client.
func (h pauses) refused(one record) bool {
	return one.Callable && h.providers[one.Provider].Breaker.Open
}

// pauseCommand is pause or resume.
func (p *program) pauseCommand(verb, short, long string) *cobra.Command {
	var provider string
	var all bool
	cmd := &cobra.Command{
		Use: verb + " [ID | --provider NAME | --all]", Short: short, Long: long, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error {
			kinds := len(given)
			if cmd.Flags().Changed("provider") {
				kinds++
			}
			if all {
				kinds++
			}
			if kinds != 1 {
				return usage(fmt.Errorf("%s takes one of: an ID, --provider NAME, --all; see %s --help", verb, cmd.CommandPath()))
			}
			r, err := p.connect()
			if err != nil {
				return err
			}
			switch {
			case all:
				return p.pause(cmd, r, verb, "/v1/"+verb, "the whole service")
			case len(given) == 0:
				return p.pauseProvider(cmd, r, verb, provider)
			default:
				return p.showRecord(cmd, r, http.MethodPost, credentialPath(given[0], verb), nil)
			}
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "", "a provider, with all its credentials")
	cmd.Flags().BoolVar(&all, "all", false, "the whole service")
	return cmd
}

func (p *program) pauseProvider(cmd *cobra.Command, r *remote, verb, name string) error {
	if name == "" {
		return usage(errors.New("the provider has no name"))
	}
	err := p.pause(cmd, r, verb, "/v1/providers/"+url.PathEscape(name)+"/"+verb, "provider "+name)
	return byOption(err, "/v1/pause and /v1/resume", "--all")
}

func (p *program) pause(cmd *cobra.Command, r *remote, verb, path, what string) error {
	var raw json.RawMessage
	if err := r.call(cmd.Context(), http.MethodPost, path, nil, &raw); err != nil {
		return err
	}
	var said struct {
		Changed bool `json:"changed"`
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return err
	}
	switch {
	case verb == "pause" && said.Changed:
		p.say("%s is paused", what)
	case verb == "pause":
		p.say("%s was paused already", what)
	case said.Changed:
		p.say("%s goes on", what)
	default:
		p.say("%s was not paused", what)
	}
	if p.json {
		return p.printJSON(raw)
	}
	return nil
}
