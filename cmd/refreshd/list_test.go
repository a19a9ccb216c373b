package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A life that was learned stands beside what else is to be known.
func TestListTellsOfLearnedLives(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"credentials":[{"id":"list:a","provider":"acme","state":"active","has_login":true,"learned_lifetime":330}]}`))
	}))
	t.Cleanup(service.Close)
	t.Setenv("REFRESHD_URL", service.URL)
	t.Setenv("REFRESHD_KEY", "rdk_any")
	var out, errOut bytes.Buffer
	require.Equal(t, exitOK, run([]string{"list"}, nil, &out, &errOut), errOut.String())
	assert.Contains(t, out.String(), "login kept, learned to live 5m30s")
}

// A record that the service cannot read is told beside the list, on every page
// and in every format, and is no failure of the list.
func TestListTellsOfUnreadableRecords(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := `{"credentials":[{"id":"list:a","provider":"acme","state":"active"}],"next":"list:b","unreadable":["list:b"]}`
		if r.URL.Query().Get("cursor") == "list:b" {
			page = `{"credentials":[{"id":"list:c","provider":"acme","state":"active"}],"unreadable":["list:d"]}`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(page))
	}))
	t.Cleanup(service.Close)
	t.Setenv("REFRESHD_URL", service.URL)
	t.Setenv("REFRESHD_KEY", "rdk_any")
	for _, format := range []string{"text", "json"} {
		var out, errOut bytes.Buffer
		require.Equal(t, exitOK, run([]string{"list", "--output", format}, nil, &out, &errOut), errOut.String())
		assert.Contains(t, out.String(), "list:a")
		assert.Contains(t, out.String(), "list:c")
		assert.NotContains(t, out.String(), "list:b")
		assert.Contains(t, errOut.String(), "list:b is stored but cannot be read")
		assert.Contains(t, errOut.String(), "list:d is stored but cannot be read")
	}
}
