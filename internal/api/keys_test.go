package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
)

func TestKeyLife(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	made := b.call(t, http.MethodPost, "/v1/keys", `{"name":"billing","scopes":["token:read","event:read"],"prefix":"acct-"}`)
	require.Equal(t, http.StatusCreated, made.status, made.body)
	var key api.NewKeyInfo
	made.decode(t, &key)
	assert.Regexp(t, `^rdk_[A-Za-z0-9_-]{43}$`, key.Key)
	assert.Equal(t, "billing", key.Name)
	assert.Equal(t, []string{"token:read", "event:read"}, key.Scopes)
	assert.Equal(t, "acct-", key.Prefix)
	assert.Equal(t, noon.Time(), *key.CreatedAt)

	auth := []string{"Authorization", "Bearer " + key.Key}
	assert.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "", auth...).status)
	assert.Equal(t, http.StatusForbidden, b.call(t, http.MethodGet, "/v1/credentials/other/token", "", auth...).status)

	list := b.call(t, http.MethodGet, "/v1/keys", "")
	require.Equal(t, http.StatusOK, list.status)
	var page struct {
		Keys []api.KeyInfo `json:"keys"`
	}
	list.decode(t, &page)
	require.Len(t, page.Keys, 2)
	assert.Contains(t, []string{page.Keys[0].ID, page.Keys[1].ID}, key.ID)
	assert.NotContains(t, list.body, key.Key)
	assert.NotContains(t, list.body, "rdk_")

	require.Equal(t, http.StatusNoContent, b.call(t, http.MethodDelete, "/v1/keys/"+key.ID, "").status)
	assert.Equal(t, http.StatusUnauthorized, b.call(t, http.MethodGet, "/v1/credentials/acct-1/token", "", auth...).status, "at once")
	gone := b.call(t, http.MethodDelete, "/v1/keys/"+key.ID, "")
	assert.Equal(t, http.StatusNotFound, gone.status)
	assert.Equal(t, "key_not_found", gone.problem(t).Code)
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	for body, location := range map[string]string{
		`{"scopes":["admin"]}`:                                           "body",
		`{"name":"","scopes":["admin"]}`:                                 "body.name",
		`{"name":"a\nb","scopes":["admin"]}`:                             "body.name",
		`{"name":"` + strings.Repeat("n", 129) + `","scopes":["admin"]}`: "body.name",
		`{"name":"n"}`:                                            "body",
		`{"name":"n","scopes":[]}`:                                "body.scopes",
		`{"name":"n","scopes":null}`:                              "body.scopes",
		`{"name":"n","scopes":"admin"}`:                           "body.scopes",
		`{"name":"n","scopes":[1]}`:                               "body.scopes[0]",
		`{"name":"n","scopes":["root"]}`:                          "body.scopes[0]",
		`{"name":"n","scopes":["token:read","token:read"]}`:       "body.scopes",
		`{"name":"n","scopes":["admin"],"prefix":"a"}`:            "body.prefix",
		`{"name":"n","scopes":["token:read"],"prefix":"{a}"}`:     "body.prefix",
		`{"name":"n","scopes":["token:read"],"key":"rdk_canary"}`: "body",
	} {
		got := b.call(t, http.MethodPost, "/v1/keys", body)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, body+got.body)
		assert.Equal(t, location, got.problem(t).Errors[0].Location, body)
		assert.NotContains(t, got.body, "canary")
	}
	assert.Len(t, b.keys.keys, 1, "none was made")
	for _, id := range []string{"x", "0123456789ABCDEF", "0123456789abcdef0", "%2e%2e", "a%00b"} {
		assert.Equal(t, http.StatusUnprocessableEntity, b.call(t, http.MethodDelete, "/v1/keys/"+id, "").status, id)
	}
}

func TestKeysThatCannotBeStored(t *testing.T) {
	t.Parallel()
	b := setupWithout(t)
	require.Equal(t, http.StatusOK, b.call(t, http.MethodGet, "/v1/keys", "").status)
	b.keys.err = errors.New("disk full at 10.0.0.7")
	for _, got := range []answer{
		b.call(t, http.MethodPost, "/v1/keys", `{"name":"n","scopes":["admin"]}`),
		b.call(t, http.MethodGet, "/v1/keys", ""),
		b.call(t, http.MethodDelete, "/v1/keys/0123456789abcdef", ""),
	} {
		assert.Equal(t, http.StatusInternalServerError, got.status)
		assert.NotContains(t, got.body, "10.0.0.7")
		assert.NotContains(t, got.body, "rdk_", "a key that was not stored is not shown")
	}
}
