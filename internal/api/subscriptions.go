package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const subscriptionsPath = "/v1/subscriptions"

func (a *API) subscriptionRoutes() {
	admin := []Scope{ScopeAdmin}
	define(a, route{
		method: http.MethodGet, path: subscriptionsPath, id: "list-subscriptions", tag: tagSubscriptions, needs: admin,
		summary: "List the subscriptions", description: "Those of config.yaml and those that were made here, without their secrets.",
	}, a.listSubscriptions)
	define(a, route{
		method: http.MethodPost, path: subscriptionsPath, id: "create-subscription", tag: tagSubscriptions, needs: admin,
		summary: "Add a subscription",
		description: "Events that are committed from now on are delivered, by every replica within 2 seconds. " +
			"Without a secret one is drawn, which is shown in this answer and never again.",
		success: http.StatusCreated, problems: []int{http.StatusConflict},
	}, a.createSubscription)
	define(a, route{
		method: http.MethodGet, path: subscriptionsPath + "/{name}", id: "get-subscription", tag: tagSubscriptions, needs: admin,
		summary: "Show a subscription", description: "Without its secrets.", problems: named(),
	}, a.getSubscription)
	define(a, route{
		method: http.MethodPut, path: subscriptionsPath + "/{name}", id: "replace-subscription", tag: tagSubscriptions, needs: admin,
		summary:     "Change a subscription",
		description: "All of its settings but its secrets are replaced. What was not delivered yet is delivered by the new ones.",
		problems:    append(named(), http.StatusConflict),
	}, a.replaceSubscription)
	define(a, route{
		method: http.MethodDelete, path: subscriptionsPath + "/{name}", id: "delete-subscription", tag: tagSubscriptions, needs: admin,
		summary:     "Delete a subscription",
		description: "Deliveries under way come to their end, and what is known of it is removed. Its name is free again after half a minute.",
		success:     http.StatusNoContent, problems: append(named(), http.StatusConflict),
	}, a.deleteSubscription)
}

// named lists the problems of a path with a subscription's name.
func named() []int {
	return []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity}
}

// SubscriptionParam is embedded into the input of every operation on one.
type SubscriptionParam struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9-]{0,31}$" doc:"Of the subscription" example:"ui"`
}

type listSubscriptionsOut struct {
	Body struct {
		Subscriptions []SubscriptionInfo `json:"subscriptions" nullable:"false"`
	} `nameHint:"SubscriptionList"`
}

func (a *API) listSubscriptions(ctx context.Context, _ *struct{}) (*listSubscriptionsOut, error) {
	list, err := a.subscriptions.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &listSubscriptionsOut{}
	out.Body.Subscriptions = make([]SubscriptionInfo, len(list))
	for i, one := range list {
		out.Body.Subscriptions[i] = subscriptionInfo(one)
	}
	return out, nil
}

type subscriptionOut struct {
	Body SubscriptionInfo
}

func (a *API) getSubscription(ctx context.Context, in *struct{ SubscriptionParam }) (*subscriptionOut, error) {
	found, err := a.subscriptions.Find(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return &subscriptionOut{Body: subscriptionInfo(found)}, nil
}

type createSubscriptionIn struct {
	Body struct {
		Name      string            `json:"name" pattern:"^[a-z0-9][a-z0-9-]{0,31}$" doc:"1 to 32 characters of a-z, 0-9 and -" example:"ui"`
		URL       string            `json:"url" maxLength:"2048" doc:"Where events are posted: https, and public but for the networks in network.allow" example:"https://app.example/hooks/auth"`
		Format    string            `json:"format,omitempty" enum:"webhook" default:"webhook" doc:"How"`
		Types     []string          `json:"types" minItems:"1" maxItems:"64" nullable:"false" doc:"Event types; credential.* and * stand for several" example:"[\"credential.*\"]"`
		Providers []string          `json:"providers,omitempty" maxItems:"64" nullable:"false" doc:"Of these only"`
		Prefix    string            `json:"prefix,omitempty" maxLength:"128" doc:"Of credentials whose IDs start so only"`
		Labels    map[string]string `json:"labels,omitempty" doc:"Of credentials with all of these only"`
		Retry     []string          `json:"retry,omitempty" maxItems:"32" nullable:"false" doc:"Waits between deliveries of one event, 10ms to 168h, after the last of which the subscription is disabled; those of Standard Webhooks if absent" example:"[\"5s\",\"5m\"]"`
		Enabled   *bool             `json:"enabled,omitempty" doc:"Whether events are delivered; true if absent"`
		Secret    string            `json:"secret,omitempty" maxLength:"128" doc:"What deliveries are signed with: whsec_ and the base64 form of 24 to 64 bytes; drawn if absent"`
	} `nameHint:"NewSubscription"`
}

type createSubscriptionOut struct {
	Body NewSubscriptionInfo
}

func (a *API) createSubscription(ctx context.Context, in *createSubscriptionIn) (*createSubscriptionOut, error) {
	body := in.Body
	retry, p := parseRetry(body.Retry)
	if p != nil {
		return nil, p
	}
	made, drawn, err := a.subscriptions.Create(ctx, SubscriptionSettings{
		Name: body.Name, URL: body.URL, Format: body.Format, Types: body.Types, Providers: body.Providers, Prefix: body.Prefix,
		Labels: body.Labels, Retry: retry, Enabled: body.Enabled == nil || *body.Enabled,
	}, credential.NewSecret(body.Secret))
	if err != nil {
		return nil, err
	}
	return &createSubscriptionOut{Body: NewSubscriptionInfo{SubscriptionInfo: subscriptionInfo(made), Secret: drawn.Reveal()}}, nil
}

type replaceSubscriptionIn struct {
	SubscriptionParam

	Body struct {
		URL       string            `json:"url" maxLength:"2048"`
		Format    string            `json:"format,omitempty" enum:"webhook" default:"webhook"`
		Types     []string          `json:"types" minItems:"1" maxItems:"64" nullable:"false"`
		Providers []string          `json:"providers,omitempty" maxItems:"64" nullable:"false"`
		Prefix    string            `json:"prefix,omitempty" maxLength:"128"`
		Labels    map[string]string `json:"labels,omitempty"`
		Retry     []string          `json:"retry,omitempty" maxItems:"32" nullable:"false"`
		Enabled   *bool             `json:"enabled,omitempty" doc:"true if absent"`
	} `nameHint:"SubscriptionSettings"`
}

func (a *API) replaceSubscription(ctx context.Context, in *replaceSubscriptionIn) (*subscriptionOut, error) {
	body := in.Body
	retry, p := parseRetry(body.Retry)
	if p != nil {
		return nil, p
	}
	changed, err := a.subscriptions.Replace(ctx, SubscriptionSettings{
		Name: in.Name, URL: body.URL, Format: body.Format, Types: body.Types, Providers: body.Providers, Prefix: body.Prefix,
		Labels: body.Labels, Retry: retry, Enabled: body.Enabled == nil || *body.Enabled,
	})
	if err != nil {
		return nil, err
	}
	return &subscriptionOut{Body: subscriptionInfo(changed)}, nil
}

func (a *API) deleteSubscription(ctx context.Context, in *struct{ SubscriptionParam }) (*struct{}, error) {
	if err := a.subscriptions.Delete(ctx, in.Name); err != nil {
		return nil, err
	}
	return nil, nil //nolint:nilnil // huma answers with the status alone
}

// parseRetry reads waits between deliveries of one event; how long they may be is
// checked with the rest of the settings.
func parseRetry(list []string) ([]time.Duration, *Problem) {
	var waits []time.Duration
	for i, text := range list {
		wait, p := parseDuration("body.retry["+strconv.Itoa(i)+"]", text)
		if p != nil {
			return nil, p
		}
		waits = append(waits, wait)
	}
	return waits, nil
}
