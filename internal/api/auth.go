package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/refreshd/refreshd/internal/credential"
)

// holderKey is the context key of the [Key] that a request came with.
type holderKey struct{}

// holder returns the key that the request came with. Only operations behind
// the guard have one.
func holder(ctx context.Context) *Key {
	key, _ := ctx.Value(holderKey{}).(*Key)
	return key
}

// maxBasic is far more than a user name and a key take.
const maxBasic = 1024

// presented takes the key out of the Authorization header. basic also takes it
// as the password of HTTP Basic, which is how a browser can be made to send it.
func presented(r *http.Request, basic bool) string {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimLeft(text, " ")
	}
	if basic && len(values[0]) <= maxBasic {
		_, password, _ := r.BasicAuth()
		return password
	}
	return ""
}

// authenticate finds the key that a request came with.
func (a *API) authenticate(r *http.Request, basic bool) (*Key, *Problem) {
	hash, ok := hashDrawn(keyStart, presented(r, basic))
	if !ok {
		return nil, unauthorized(r, basic)
	}
	key, err := a.keys.find(r.Context(), hash)
	if err != nil {
		return nil, a.unchecked(err, "key")
	}
	if key == nil {
		return nil, unauthorized(r, basic)
	}
	return key, nil
}

// unchecked says that what a request came with cannot be looked up.
func (a *API) unchecked(err error, what string) *Problem {
	a.log.Warn().Err(err).Msg("an API " + what + " cannot be looked up")
	detail := "the " + what + " cannot be checked now"
	if fault, ok := errors.AsType[*FaultError](err); ok {
		detail += ": " + fault.Detail
	} else if word := outage(err); word != "" {
		detail += ": " + word
	}
	return problem(http.StatusServiceUnavailable, string(FaultUnavailable), detail).again(time.Second)
}

func unauthorized(r *http.Request, basic bool) *Problem {
	detail, challenge := "send an API key: Authorization: Bearer rdk_…", `Bearer realm="refreshd"`
	if len(r.Header["Authorization"]) > 0 {
		detail = "this API key does not exist or was revoked"
		challenge += `, error="invalid_token"` // RFC 6750 section 3.1
	}
	p := problem(http.StatusUnauthorized, codeUnauthorized, detail).with("WWW-Authenticate", challenge)
	if basic {
		p.header.Add("WWW-Authenticate", `Basic realm="refreshd", charset="UTF-8"`)
	}
	return p
}

func forbidden(detail string) *Problem {
	return problem(http.StatusForbidden, codeForbidden, detail)
}

// lacksScope refuses a key that may do none of what an operation needs.
func lacksScope(needs []Scope) *Problem {
	names := make([]string, 0, len(needs)+1)
	for _, scope := range needs {
		names = append(names, string(scope))
	}
	if !slices.Contains(needs, ScopeAdmin) {
		names = append(names, string(ScopeAdmin))
	}
	return forbidden("this needs a key with the scope " + strings.Join(names, " or "))
}

// admit lets a request through that came with a key of one of those scopes.
func (a *API) admit(r *http.Request, needs []Scope) (*Key, *Problem) {
	key, p := a.authenticate(r, false)
	if p != nil {
		return nil, p
	}
	if !key.may(needs) {
		return nil, lacksScope(needs)
	}
	return key, nil
}

// credentialID checks the ID in a path against its grammar and against the
// key. Whether anything is stored under an ID that the key is not good for
// cannot be told from the answer.
func credentialID(key *Key, text string) (credential.ID, *Problem) {
	id, p := ownedID("path.id", text)
	if p != nil {
		return "", p
	}
	if !key.covers(id) {
		return "", otherID()
	}
	return id, nil
}

// otherID refuses a key for an ID, whatever is stored there.
func otherID() *Problem { return forbidden("this key is not good for that ID") }

// ownedID checks the ID of an owner's credential against its grammar.
func ownedID(location, text string) (credential.ID, *Problem) {
	id, err := credential.ParseID(text)
	if err != nil {
		return "", invalid(location, "is an "+err.Error())
	}
	if id.IsClient() {
		return "", invalid(location, `starts with "client:", which is kept for refreshd's own records`)
	}
	return id, nil
}

// guard is the middleware of an operation: it lets keys through that may call
// it, for the credential in its path, and puts the key into the context.
func (a *API) guard(rt route) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if text, ok := ticketOf(rt, r); ok {
			hash, p := presentedTicket(r, text)
			if p != nil {
				p.write(w)
				return
			}
			next(huma.WithValue(ctx, ticketHashKey{}, hash)) // the operation redeems it
			return
		}
		key, p := a.admit(r, rt.needs)
		if p == nil {
			p = a.limit(r, rt, key, ctx.Param("id"))
		}
		if p != nil {
			p.write(w)
			return
		}
		next(huma.WithValue(ctx, holderKey{}, key))
	}
}

// keyed guards a plain handler with any key at all, or with any that is not
// limited to a subject.
func (a *API) keyed(h http.Handler, subjects bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, p := a.admit(r, nil)
		if p == nil && key.Subject != "" && !subjects {
			p = subjectOnly()
		}
		if p != nil {
			p.write(w)
			return
		}
		h.ServeHTTP(w, r)
	})
}
