package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

// How the last attempt failed stands beside a record whatever its state is: in full
// with get, in a word in a list, and not at all once another attempt has succeeded.
func TestGetTellsOfTheLastFailure(t *testing.T) {
	failure := func(ago time.Duration, detail string) string {
		return fmt.Sprintf(`"last_failure":{"at":%q,"reason":"client_misconfigured","detail":%q}`, time.Now().Add(-ago).Format(time.RFC3339Nano), detail)
	}
	success := func(ago time.Duration) string {
		return fmt.Sprintf(`"last_success_at":%q`, time.Now().Add(-ago).Format(time.RFC3339Nano))
	}
	for name, row := range map[string]struct {
		rest      string // of the record
		get, list string // how a line ends
	}{
		"expired": {
			`"state":"expired",` + failure(3*time.Minute, "HTTP 404") + "," + success(time.Hour),
			`expired +- .* last failure 3m[0-9]+s ago: client_misconfigured: HTTP 404`, `expired +- .* last failure client_misconfigured`,
		},
		"degraded": {
			`"state":"degraded","reason":"client_misconfigured",` + failure(time.Minute, "HTTP 404"),
			`degraded +client_misconfigured .* last failure 1m[0-9]+s ago: client_misconfigured: HTTP 404`, `degraded +client_misconfigured .* -`,
		},
		"no detail": {
			`"state":"expired",` + failure(time.Minute, ""),
			`last failure 1m[0-9]+s ago: client_misconfigured`, `last failure client_misconfigured`,
		},
		"over":     {`"state":"active",` + failure(time.Hour, "HTTP 404") + "," + success(time.Minute), `active +- .* -`, `active +- .* -`},
		"in doubt": {`"state":"active","in_doubt":true`, `active \(in doubt\) +- .* sent, its reply is unknown`, `active \(in doubt\) +- .* -`},
	} {
		t.Run(name, func(t *testing.T) {
			one := `{"id":"get:a","provider":"acme",` + row.rest + `}`
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/v1/credentials" {
					_, _ = fmt.Fprintf(w, `{"credentials":[%s]}`, one)
					return
				}
				_, _ = w.Write([]byte(one))
			}))
			t.Cleanup(service.Close)
			t.Setenv("REFRESHD_URL", service.URL)
			t.Setenv("REFRESHD_KEY", "rdk_any")
			for command, want := range map[string]string{"get get:a": row.get, "list": row.list} {
				var out, errOut bytes.Buffer
				require.Equal(t, exitOK, run(strings.Fields(command), nil, &out, &errOut), errOut.String())
				assert.Regexp(t, "(?m)^get:a .*"+want+"$", out.String(), command)
			}
		})
	}
}
