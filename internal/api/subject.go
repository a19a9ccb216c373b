package api

import (
	"cmp"
	"context"
	"net/http"

	"github.com/refreshd/refreshd/internal/credential"
)

// What a key that is limited to a subject cannot see does not exist for it: the
// answer is the one for an ID under which nothing is stored, byte for byte. To
// store under an ID that is taken is the one thing that has to be refused
// otherwise.

// subjectOnly refuses a key for what is about no credential.
func subjectOnly() *Problem {
	return forbidden("this key is limited to one subject: it is good for that subject's credentials and events alone")
}

// limit keeps a key from what it is not good for. text is the ID in the path, if
// the operation has one.
func (a *API) limit(r *http.Request, rt route, key *Key, text string) *Problem {
	if !rt.withID() {
		if key.Subject != "" && len(rt.needs) == 0 {
			return subjectOnly()
		}
		return nil
	}
	id, p := credentialID(key, text)
	if p != nil || key.Subject == "" || rt.creates {
		return p
	}
	own, err := a.records.OfSubject(r.Context(), []credential.ID{id}, key.Subject)
	switch {
	case err != nil:
		return a.explain(r.Context(), err, rt.id)
	case len(own) != 1 || !own[0]:
		return a.explain(r.Context(), unknownCredential(text), rt.id)
	default:
		return nil
	}
}

// hold keeps a record back that went to another subject after the guard had
// looked at it.
func hold(ctx context.Context, r credential.Record) error {
	if key := holder(ctx); key.Subject != "" && key.Subject != r.Subject {
		return unknownCredential(string(r.ID))
	}
	return nil
}

// ownIDs keeps the IDs, and their places among the answers, that are those of
// the key's subject. The others are answered as unknown.
func (a *API) ownIDs(ctx context.Context, ids []credential.ID, places []int, answers []TouchAnswer) ([]credential.ID, []int, error) {
	key := holder(ctx)
	if key.Subject == "" || len(ids) == 0 {
		return ids, places, nil
	}
	own, err := a.records.OfSubject(ctx, ids, key.Subject)
	if err != nil {
		return nil, nil, err
	}
	var mine []credential.ID
	var at []int
	for i, id := range ids {
		if own[i] {
			mine, at = append(mine, id), append(at, places[i])
			continue
		}
		answers[places[i]].Result = string(credential.TouchUnknown)
	}
	return mine, at, nil
}

// boundTo returns the body with the subject to which the key is limited; "" if it
// is not.
func (b LoginBody) boundTo(subject string) (LoginBody, *Problem) {
	if subject != "" && b.Subject != "" && b.Subject != subject {
		return LoginBody{}, forbidden("this key is limited to one subject, and stores credentials of that one alone")
	}
	b.Subject = cmp.Or(subject, b.Subject)
	return b, nil
}
