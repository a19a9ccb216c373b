package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"
)

const keysPath = "/v1/keys"

// KeyInfo is an API key without the key itself.
type KeyInfo struct {
	ID        string     `json:"id" doc:"Tells keys apart; not secret" example:"9f86d081884c7d65"`
	Name      string     `json:"name" doc:"For people"`
	Scopes    []string   `json:"scopes" nullable:"false"`
	Prefix    string     `json:"prefix,omitempty" doc:"It is good for credentials whose IDs start so"`
	Subject   string     `json:"subject,omitempty" doc:"It is good for this user's credentials alone"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
}

// NewKeyInfo is a key that was just created. It is the only time that it is
// shown.
type NewKeyInfo struct {
	KeyInfo

	Key string `json:"key" doc:"The key itself, shown this once" example:"rdk_…"`
}

func infoOf(k Key) KeyInfo {
	info := KeyInfo{ID: k.ID, Name: k.Name, Prefix: k.Prefix, Subject: k.Subject, CreatedAt: moment(k.CreatedAt), Scopes: make([]string, len(k.Scopes))}
	for i, scope := range k.Scopes {
		info.Scopes[i] = string(scope)
	}
	return info
}

func (a *API) keyRoutes() {
	admin := []Scope{ScopeAdmin}
	define(a, route{
		method: http.MethodPost, path: keysPath, id: "create-key", tag: tagKeys, needs: admin,
		summary:     "Create an API key",
		description: "The key is shown in this answer and never again.",
		success:     http.StatusCreated,
	}, a.createKey)
	define(a, route{
		method: http.MethodGet, path: keysPath, id: "list-keys", tag: tagKeys, needs: admin,
		summary: "List the API keys", description: "Without the keys themselves.",
	}, a.listKeys)
	define(a, route{
		method: http.MethodDelete, path: keysPath + "/{key}", id: "revoke-key", tag: tagKeys, needs: admin,
		summary:     "Revoke an API key",
		description: "It stops working here at once, and on every other replica within 3 seconds.",
		success:     http.StatusNoContent, problems: []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, a.revokeKey)
}

type createKeyIn struct {
	Body struct {
		Name   string   `json:"name" minLength:"1" maxLength:"128" doc:"For people: whose it is"`
		Scopes []string `json:"scopes" minItems:"1" maxItems:"4" nullable:"false" enum:"token:read,credential:write,event:read,admin"`
		Prefix string   `json:"prefix,omitempty" minLength:"1" maxLength:"128" doc:"Bind it to credentials whose IDs start so; not with admin"`

		Subject string `json:"subject,omitempty" minLength:"1" maxLength:"256" doc:"Bind it to the credentials of this user, by his UID: what is another's does not exist for it, and what it stores is his; not with admin"`
	} `nameHint:"NewKey"`
}

type createKeyOut struct {
	Body NewKeyInfo
}

func (a *API) createKey(ctx context.Context, in *createKeyIn) (*createKeyOut, error) {
	key := Key{Name: in.Body.Name, Prefix: in.Body.Prefix, Subject: in.Body.Subject, CreatedAt: a.now()}
	for _, name := range in.Body.Scopes {
		scope := Scope(name)
		if slices.Contains(key.Scopes, scope) {
			return nil, invalid("body.scopes", "has a scope twice")
		}
		key.Scopes = append(key.Scopes, scope)
	}
	if !plain(key.Name) {
		return nil, invalid("body.name", "holds a control character")
	}
	if p := checkPrefix("body.prefix", key.Prefix); p != nil {
		return nil, p
	}
	if !plain(key.Subject) {
		return nil, invalid("body.subject", "holds a control character")
	}
	if slices.Contains(key.Scopes, ScopeAdmin) {
		switch {
		case key.Prefix != "":
			return nil, invalid("body.prefix", "cannot bind a key with the scope admin")
		case key.Subject != "":
			return nil, invalid("body.subject", "cannot bind a key with the scope admin")
		}
	}
	text, hash, id := NewKey()
	key.ID = id
	if err := a.stored.Create(ctx, hash, key); err != nil {
		return nil, err
	}
	return &createKeyOut{Body: NewKeyInfo{KeyInfo: infoOf(key), Key: text.Reveal()}}, nil
}

type listKeysOut struct {
	Body struct {
		Keys []KeyInfo `json:"keys" nullable:"false"`
	} `nameHint:"KeyList"`
}

func (a *API) listKeys(ctx context.Context, _ *struct{}) (*listKeysOut, error) {
	keys, err := a.stored.List(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(keys, func(x, y Key) int {
		return cmp.Or(cmp.Compare(x.CreatedAt, y.CreatedAt), cmp.Compare(x.ID, y.ID))
	})
	out := &listKeysOut{}
	out.Body.Keys = make([]KeyInfo, len(keys))
	for i, key := range keys {
		out.Body.Keys[i] = infoOf(key)
	}
	return out, nil
}

type keyParam struct {
	Key string `path:"key" pattern:"^[0-9a-f]{16}$" doc:"ID of the key" example:"9f86d081884c7d65"`
}

// keepAnAdmin refuses to revoke the last key that may create others: nobody
// could let anybody in any more.
func (a *API) keepAnAdmin(ctx context.Context, id string) error {
	list, err := a.stored.List(ctx)
	if err != nil {
		return err
	}
	admins := slices.DeleteFunc(list, func(k Key) bool { return !k.may([]Scope{ScopeAdmin}) })
	if len(admins) == 1 && admins[0].ID == id {
		return problem(http.StatusConflict, codeLastAdmin, "this is the last admin key; create another one first")
	}
	return nil
}

func (a *API) revokeKey(ctx context.Context, in *keyParam) (*struct{}, error) {
	if err := a.keepAnAdmin(ctx, in.Key); err != nil {
		return nil, err
	}
	found, err := a.stored.Revoke(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	a.keys.forget(in.Key)
	if !found {
		return nil, problem(http.StatusNotFound, codeKeyNotFound, "no API key has this ID")
	}
	return nil, nil //nolint:nilnil // huma answers with the status alone
}
