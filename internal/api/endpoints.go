package api

import (
	"context"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	// usualOverlap is how long a secret signs beside the one that took its
	// place, unless told otherwise.
	usualOverlap = 24 * time.Hour
	maxOverlap   = 30 * 24 * time.Hour
)

func (a *API) endpointRoutes() {
	admin := []Scope{ScopeAdmin}
	one := subscriptionsPath + "/{name}"
	define(a, route{
		method: http.MethodPost, path: one + "/test", id: "test-subscription", tag: tagSubscriptions, needs: admin,
		summary:     "Send a subscription a test event",
		description: "Sends stream.verification with a signature, now and past all other events, once, and answers with what came of it. The answer is 200 also where the receiver did not take it.",
		problems:    append(named(), http.StatusConflict),
	}, a.testSubscription)
	define(a, route{
		method: http.MethodPost, path: one + "/replay", id: "replay-subscription", tag: tagSubscriptions, needs: admin,
		summary:     "Deliver events again",
		description: "From a cursor, from the oldest event that is left (0), or from a moment on. Events that were delivered before keep their IDs. A subscription that is disabled is enabled by it.",
		problems:    append(named(), http.StatusConflict),
	}, a.replaySubscription)
	define(a, route{
		method: http.MethodPost, path: one + "/enable", id: "enable-subscription", tag: tagSubscriptions, needs: admin,
		summary:     "Go on with a subscription that is disabled",
		description: "From where it stopped, at once. One that was turned off is turned on.",
		problems:    append(named(), http.StatusConflict),
	}, a.enableSubscription)
	define(a, route{
		method: http.MethodPost, path: one + "/secret", id: "rotate-subscription-secret", tag: tagSubscriptions, needs: admin,
		summary: "Give a subscription a new secret",
		description: "Deliveries are signed with it from now on, and with the old one beside it until the overlap ends. " +
			"Without a secret one is drawn, which is shown in this answer and never again.",
		bodyOptional: true, problems: append(named(), http.StatusConflict),
	}, a.rotateSecret)
	define(a, route{
		method: http.MethodGet, path: one + "/deliveries", id: "list-deliveries", tag: tagSubscriptions, needs: admin,
		summary: "Show the last deliveries of a subscription", description: "The newest first, of the last hundred.",
		problems: named(),
	}, a.listDeliveries)
}

type testOut struct {
	Body struct {
		Event  string  `json:"event" doc:"ID of the event that was sent"`
		Result string  `json:"result" doc:"delivered, refused, unreachable or invalid" example:"delivered"`
		Status int     `json:"status,omitempty" doc:"That the receiver answered with" example:"204"`
		Error  string  `json:"error,omitempty" doc:"For people"`
		Took   float64 `json:"took_seconds"`
	} `nameHint:"TestResult"`
}

func (a *API) testSubscription(ctx context.Context, in *struct{ SubscriptionParam }) (*testOut, error) {
	result, err := a.endpoints.Verify(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	out := &testOut{}
	out.Body.Event, out.Body.Result, out.Body.Status = result.Event, result.Result, result.Status
	out.Body.Error, out.Body.Took = result.Error, result.Took.Seconds()
	return out, nil
}

type replayIn struct {
	SubscriptionParam

	Body struct {
		From string `json:"from" minLength:"1" maxLength:"4096" doc:"A cursor of the event stream, 0, or a moment such as 2026-01-02T15:04:05Z" example:"0"`
	} `nameHint:"Replay"`
}

type replayOut struct {
	Body struct {
		Reset bool `json:"reset" doc:"Events behind that place are gone: delivery goes on from the oldest that is left"`
	} `nameHint:"Replayed"`
}

func (a *API) replaySubscription(ctx context.Context, in *replayIn) (*replayOut, error) {
	reset, err := a.endpoints.Replay(ctx, in.Name, in.Body.From)
	if p := problemOf(err); p != nil && p.Code == string(FaultBadCursor) {
		return nil, p.at("body.from")
	}
	if err != nil {
		return nil, err
	}
	out := &replayOut{}
	out.Body.Reset = reset
	return out, nil
}

func (a *API) enableSubscription(ctx context.Context, in *struct{ SubscriptionParam }) (*subscriptionOut, error) {
	enabled, err := a.endpoints.Enable(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return &subscriptionOut{Body: subscriptionInfo(enabled)}, nil
}

// SecretRotation says what takes the place of a subscription's secret.
type SecretRotation struct {
	Secret  string `json:"secret,omitempty" maxLength:"128" doc:"The new one: whsec_ and the base64 form of 24 to 64 bytes; drawn if absent"`
	Overlap string `json:"overlap,omitempty" maxLength:"32" doc:"How long the old one signs beside it, up to 720h; 24h if absent, 0s for not at all" example:"24h"`
}

type rotateIn struct {
	SubscriptionParam

	Body *SecretRotation `required:"false"`
}

func (a *API) rotateSecret(ctx context.Context, in *rotateIn) (*createSubscriptionOut, error) {
	var wish SecretRotation
	if in.Body != nil {
		wish = *in.Body
	}
	overlap := usualOverlap
	if wish.Overlap != "" {
		var p *Problem
		if overlap, p = parseSpan("body.overlap", wish.Overlap, maxOverlap); p != nil {
			return nil, p
		}
	}
	changed, drawn, err := a.endpoints.Rotate(ctx, in.Name, credential.NewSecret(wish.Secret), overlap)
	if err != nil {
		return nil, err
	}
	return &createSubscriptionOut{Body: NewSubscriptionInfo{SubscriptionInfo: subscriptionInfo(changed), Secret: drawn.Reveal()}}, nil
}

type deliveriesIn struct {
	SubscriptionParam

	Limit int `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"At most this many"`
}

// DeliveryInfo is one delivery that was made.
type DeliveryInfo struct {
	Event      string     `json:"event" doc:"ID of the event" example:"github:alice/7/9f86d081"`
	Type       string     `json:"type" example:"credential.refreshed"`
	Credential string     `json:"credential,omitempty"`
	Lane       int        `json:"lane" doc:"Events of one credential share a lane, in which they are delivered in order"`
	Attempt    int        `json:"attempt" doc:"1 is the first of this event"`
	At         *time.Time `json:"at"`
	Took       float64    `json:"took_seconds"`
	Result     string     `json:"result" doc:"delivered, refused, unreachable or invalid" example:"delivered"`
	Status     int        `json:"status,omitempty" doc:"That the receiver answered with" example:"204"`
	Error      string     `json:"error,omitempty" doc:"For people"`
}

type deliveriesOut struct {
	Body struct {
		Deliveries []DeliveryInfo `json:"deliveries" nullable:"false"`
	} `nameHint:"DeliveryList"`
}

func (a *API) listDeliveries(ctx context.Context, in *deliveriesIn) (*deliveriesOut, error) {
	list, err := a.endpoints.Deliveries(ctx, in.Name, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &deliveriesOut{}
	out.Body.Deliveries = make([]DeliveryInfo, len(list))
	for i, one := range list {
		out.Body.Deliveries[i] = DeliveryInfo{
			Event: one.Event, Type: one.Type, Credential: string(one.Credential), Lane: one.Lane, Attempt: one.Attempt,
			At: moment(one.At), Took: one.Took.Seconds(), Result: one.Result, Status: one.Status, Error: one.Error,
		}
	}
	return out, nil
}
