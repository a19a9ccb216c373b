package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/refreshd/refreshd/internal/credential"
)

func (a *API) pauseRoutes() {
	for _, row := range []struct {
		verb, summary string
		paused        bool
	}{{"pause", "Hold back ", true}, {"resume", "Let go on ", false}} {
		effect := "Nothing is sent for it until it is resumed, also over restarts. Tokens are served while they live, expiries are told, " +
			"and a token request that would need a call is answered with 503 and the reason paused. One that is paused already stays so."
		if !row.paused {
			effect = "What was missed meanwhile is due at once. Nothing changes where it is not paused."
		}
		define(a, route{
			method: http.MethodPost, path: credentialPath + "/" + row.verb, id: row.verb + "-credential", tag: tagPauses, needs: []Scope{ScopeCredentialWrite},
			summary: row.summary + "a credential", description: effect, problems: []int{http.StatusNotFound, http.StatusConflict},
		}, func(ctx context.Context, in *struct{ IDParam }) (*recordOut, error) {
			held, err := a.control.SetPaused(ctx, credential.ID(in.ID), row.paused, holder(ctx).Subject)
			if err != nil {
				return nil, err
			}
			return a.shown(held), nil
		})
		define(a, route{
			method: http.MethodPost, path: "/v1/providers/{name}/" + row.verb, id: row.verb + "-provider", tag: tagPauses, needs: []Scope{ScopeAdmin},
			summary: row.summary + "a provider", description: "For all its credentials, in every replica. " + effect,
			problems: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity},
		}, func(ctx context.Context, in *providerParam) (*pausedOut, error) {
			return a.pause(ctx, in.Name, row.paused)
		})
		define(a, route{
			method: http.MethodPost, path: "/v1/" + row.verb, id: row.verb + "-service", tag: tagPauses, needs: []Scope{ScopeAdmin},
			summary: row.summary + "the whole service", description: "For all providers, in every replica. " + effect,
		}, func(ctx context.Context, _ *struct{}) (*pausedOut, error) {
			return a.setPaused(ctx, credential.AllClients, row.paused)
		})
	}
}

type providerParam struct {
	Name string `path:"name" maxLength:"128" doc:"Of a configured provider" example:"github"`
}

// Pause says whether something is held back.
type Pause struct {
	Paused  bool `json:"paused"`
	Changed bool `json:"changed" doc:"It was not so before"`
}

type pausedOut struct {
	Body Pause
}

func (a *API) pause(ctx context.Context, provider string, paused bool) (*pausedOut, error) {
	if provider == credential.AllClients {
		return nil, problem(http.StatusNotFound, string(FaultUnknownProvider), fmt.Sprintf("no provider is named %q; the whole service has /v1/pause and /v1/resume", provider))
	}
	out, err := a.setPaused(ctx, provider, paused)
	if p := problemOf(err); p != nil && p.Code == string(FaultUnknownProvider) {
		return nil, problem(http.StatusNotFound, p.Code, p.Detail) // here it is the path that names it
	}
	return out, err
}

func (a *API) setPaused(ctx context.Context, provider string, paused bool) (*pausedOut, error) {
	changed, err := a.control.PauseProvider(ctx, provider, paused)
	if err != nil {
		return nil, err
	}
	return &pausedOut{Body: Pause{Paused: paused, Changed: changed}}, nil
}
