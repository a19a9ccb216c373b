package app

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// desk is a backend that wants the user's UID with each refresh.
type desk struct {
	url  string
	uids chan string // that refreshes were made with
}

func startDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{uids: make(chan string, 10)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.uids <- r.FormValue("uid")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"at":"at-2","rt":"rt-2","life":3600}`))
	}))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// provider describes it, with what the form of its refresh has beside the token.
func (d *desk) provider(beside map[string]any) map[string]any {
	form := map[string]any{"rt": "{{.refresh_token}}"}
	maps.Copy(form, beside)
	return map[string]any{"kind": "http", "refresh": map[string]any{
		"request":  map[string]any{"method": "POST", "url": d.url + "/token", "form": form},
		"response": map[string]any{"access_token": "at", "refresh_token": "rt", "expires_in": "life"},
	}}
}

// A token of which a refresh needs the user's UID is refused without it. Where it is
// stored, because the settings were others then, nobody blames the provider, and the
// same token is mended by being brought with the UID.
func TestATokenWithoutTheUIDThatItsRefreshNeeds(t *testing.T) {
	d := startDesk(t)
	f := newFolder(t, "")
	f.config["providers"] = map[string]any{"desk": d.provider(nil)}
	r := run(t, f, everything())
	body := func(with ...string) map[string]any {
		login := map[string]any{"provider": "desk", "token": map[string]any{
			"access_token": "at-1", "refresh_token": "rt-1", "expires_in": 3600,
		}}
		for _, subject := range with {
			login["subject"] = subject
		}
		return login
	}
	const alice = "/v1/credentials/alice"
	status, answer := r.call(http.MethodPut, alice, body())
	require.Equal(t, http.StatusCreated, status, "nothing needs it: %v", answer)
	f.config["providers"] = map[string]any{"desk": d.provider(map[string]any{"uid": "{{.subject}}"})}
	f.save(t)
	r.reload <- struct{}{}
	r.log.await(t, 1, `the configuration was loaded again`)

	refused := "body.subject is missing, and refresh.request of provider desk needs {{.subject}}: give the user's UID at that provider"
	for _, id := range []string{"bob", "alice"} {
		status, answer = r.call(http.MethodPut, "/v1/credentials/"+id, body())
		assert.Equal(t, http.StatusUnprocessableEntity, status, id)
		assert.Equal(t, refused, answer["detail"], id)
	}
	status, _ = r.call(http.MethodGet, "/v1/credentials/bob", nil)
	assert.Equal(t, http.StatusNotFound, status)

	status, answer = r.call(http.MethodPost, alice+"/refresh", map[string]any{})
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "invalid_request", answer["reason"])
	assert.Contains(t, answer["detail"], "or no request can be made of what is stored")
	_, record := r.call(http.MethodGet, alice, nil)
	failure, _ := record["last_failure"].(map[string]any)
	assert.Equal(t, "there is no subject, which refresh.request needs; nothing was sent", failure["detail"])
	assert.Empty(t, d.uids)

	status, answer = r.call(http.MethodPut, alice, body("uid-1"))
	require.Equal(t, http.StatusOK, status, answer)
	require.NotContains(t, answer, "unchanged")
	assert.Equal(t, "uid-1", answer["subject"])
	assert.Equal(t, record["generation"], answer["generation"])
	select {
	case uid := <-d.uids:
		assert.Equal(t, "uid-1", uid)
	case <-time.After(patience):
		t.Fatal("it is due at once, and was not refreshed")
	}
	require.NoError(t, r.end())
}
