package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

func (a *API) sessionRoutes() {
	define(a, route{
		method: http.MethodPost, path: credentialPath + "/touch", id: "touch-credential", tag: tagSessions, needs: readers(),
		summary: "Tell that a session was used",
		description: "Its idle timeout starts anew; there is no event, and no call to the backend. " +
			"409 no_session: its token has an expiry of its own. 409 session_over: it had ended before.",
		problems: []int{http.StatusNotFound, http.StatusConflict},
	}, a.touchCredential)
	define(a, route{
		method: http.MethodPost, path: "/v1/touches", id: "touch-credentials", tag: tagSessions, needs: readers(),
		summary:     "Tell that many sessions were used",
		description: "As touch, for up to 1000 at once, with an answer for each. One that cannot be touched keeps no other from it.",
	}, a.touchCredentials)
	define(a, route{
		method: http.MethodPut, path: credentialPath + "/presence", id: "set-presence", tag: tagSessions, needs: readers(),
		summary: "Tell who uses a session",
		description: "active: somebody looks at it, and is told before its end (session.expiring). passive: it is kept alive silently, as without this call. " +
			"background: nobody needs it now, its clock runs and nothing is sent; on the return from there it is extended at once if two thirds of its idle timeout have passed since its last use, and over if all of it has. " +
			"409 no_session: its token has an expiry of its own, and its provider has no sessions.",
		problems: []int{http.StatusNotFound, http.StatusConflict},
	}, a.setPresence)
}

// Touched is what a touch did.
type Touched struct {
	IdleDeadline time.Time `json:"idle_deadline" doc:"When the session dies unless it is used before"`
	ExpiresIn    int64     `json:"expires_in" doc:"Seconds until then"`
}

type touchOut struct {
	Body Touched
}

func (a *API) touchCredential(ctx context.Context, in *struct{ IDParam }) (*touchOut, error) {
	answers, err := a.control.Touch(ctx, []credential.ID{credential.ID(in.ID)})
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, fmt.Errorf("one touch has %d answers", len(answers))
	}
	switch one := answers[0]; one.Result {
	case credential.TouchDone:
		return &touchOut{Body: Touched{IdleDeadline: one.Deadline.Time(), ExpiresIn: secondsLeft(one.Deadline, one.At)}}, nil
	case credential.TouchUnknown:
		return nil, unknownCredential(in.ID)
	case credential.TouchNoSession:
		return nil, problem(http.StatusConflict, string(FaultNoSession), "its token is no sliding session: it has an expiry of its own, which use does not move")
	case credential.TouchOver:
		return nil, problem(http.StatusConflict, codeSessionOver, "the session had ended before; see the credential's state and reason")
	default:
		return nil, fmt.Errorf("a touch has the result %q", one.Result)
	}
}

type touchesIn struct {
	Body struct {
		IDs []string `json:"ids" minItems:"1" maxItems:"1000" nullable:"false" doc:"Of credentials whose sessions were used"`
	} `nameHint:"Touches"`
}

// touchForbidden is the result for an ID that the key is not good for.
const touchForbidden = "forbidden"

// TouchAnswer is what became of one touch.
type TouchAnswer struct {
	ID           string     `json:"id"`
	Result       string     `json:"result" enum:"touched,unknown,no_session,over,forbidden" doc:"touched: its idle timeout starts anew; unknown: no credential has this ID; no_session: its token has an expiry of its own; over: the session had ended before; forbidden: the key is not good for it"`
	IdleDeadline *time.Time `json:"idle_deadline,omitempty" doc:"When a touched session dies unless it is used before"`
}

type touchesOut struct {
	Body struct {
		Touches []TouchAnswer `json:"touches" nullable:"false" doc:"In the order of the request"`
	} `nameHint:"TouchAnswers"`
}

func (a *API) touchCredentials(ctx context.Context, in *touchesIn) (*touchesOut, error) {
	key := holder(ctx)
	out := &touchesOut{}
	out.Body.Touches = make([]TouchAnswer, len(in.Body.IDs))
	ids := make([]credential.ID, 0, len(in.Body.IDs))
	places := make([]int, 0, len(in.Body.IDs)) // of ids in the answer
	for i, text := range in.Body.IDs {
		id, p := ownedID(fmt.Sprintf("body.ids[%d]", i), text)
		if p != nil {
			return nil, p
		}
		out.Body.Touches[i] = TouchAnswer{ID: text, Result: touchForbidden}
		if key.covers(id) {
			ids, places = append(ids, id), append(places, i)
		}
	}
	ids, places, err := a.ownIDs(ctx, ids, places, out.Body.Touches)
	if err != nil || len(ids) == 0 {
		return out, err
	}
	answers, err := a.control.Touch(ctx, ids)
	if err != nil {
		return nil, err
	}
	if len(answers) != len(ids) {
		return nil, fmt.Errorf("%d touches have %d answers", len(ids), len(answers))
	}
	for i, one := range answers {
		out.Body.Touches[places[i]] = TouchAnswer{ID: string(ids[i]), Result: string(one.Result), IdleDeadline: moment(one.Deadline)}
	}
	return out, nil
}

type presenceIn struct {
	IDParam

	Body struct {
		Presence string `json:"presence" enum:"active,passive,background"`
	} `nameHint:"PresenceBody"`
}

func (a *API) setPresence(ctx context.Context, in *presenceIn) (*recordOut, error) {
	held, err := a.control.SetPresence(ctx, credential.ID(in.ID), credential.Presence(in.Body.Presence), holder(ctx).Subject)
	if err != nil {
		return nil, unserved(err)
	}
	return a.shown(held), nil
}
