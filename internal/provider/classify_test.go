package provider_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
)

// reply is one row of testdata/replies.json, which package oauth2 sends
// through a real server.
type reply struct {
	Name     string            `json:"name"`
	Status   int               `json:"status"`
	Header   map[string]string `json:"header"`
	Body     string            `json:"body"`
	Matchers []matcher         `json:"matchers"`

	Class      credential.Class  `json:"class"`
	Reason     credential.Reason `json:"reason"`
	Detail     string            `json:"detail"`
	RetryAfter string            `json:"retry_after"`
	Access     string            `json:"access"`
	Refresh    string            `json:"refresh"`
	ExpiresIn  string            `json:"expires_in"`
	ExpiresAt  credential.Millis `json:"expires_at"`
}

// matcher is a provider.Matcher as the table writes it.
type matcher struct {
	Status      int               `json:"status"`
	Error       string            `json:"error"`
	Description string            `json:"description"`
	Class       credential.Class  `json:"class"`
	Reason      credential.Reason `json:"reason"`
}

func (r reply) matchers() []provider.Matcher {
	var all []provider.Matcher
	for _, m := range r.Matchers {
		all = append(all, provider.Matcher(m))
	}
	return all
}

func replies(t *testing.T) []reply {
	t.Helper()
	data, err := os.ReadFile("testdata/replies.json")
	require.NoError(t, err)
	var rows []reply
	require.NoError(t, json.Unmarshal(data, &rows))
	require.NotEmpty(t, rows)
	return rows
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, row := range replies(t) {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			for name, value := range row.Header {
				header.Set(name, value)
			}
			for _, m := range row.matchers() {
				require.NoError(t, m.Validate())
			}
			got := provider.Classify(provider.Reply{
				Status: row.Status, Header: header, Fields: provider.Parse([]byte(row.Body), false),
			}, row.matchers(), time.Unix(1_700_000_000, 0))
			assert.Equal(t, row.Class, got.Class)
			assert.Equal(t, row.Reason, got.Reason)
			assert.Equal(t, row.Detail, got.Detail)
			assert.Equal(t, duration(t, row.RetryAfter), got.RetryAfter)
			assert.Equal(t, row.Access, got.Token.Access.Reveal())
			assert.Equal(t, row.Refresh, got.Token.Refresh.Reveal())
			assert.Equal(t, duration(t, row.ExpiresIn), got.ExpiresIn)
			assert.Equal(t, row.ExpiresAt, got.ExpiresAt)
		})
	}
}

// A reply that HTTP shows to be cut off is judged by what came of it.
func TestClassifyCut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		body   string
		want   credential.Class
	}{
		"both tokens came":            {200, `{"access_token":"A","refresh_token":"R"}`, credential.ClassOK},
		"one token came":              {200, `{"access_token":"A"}`, credential.ClassAmbiguous},
		"a code came":                 {400, `{"error":"invalid_grant"}`, credential.ClassPermanent},
		"an unknown code came":        {400, `{"error":"odd","x":`, credential.ClassRefused},
		"no code came":                {400, `{"error":"inv`, credential.ClassAmbiguous},
		"a word that is no code came": {403, `{"status":"error"`, credential.ClassAmbiguous},
		"the status says it all":      {401, ``, credential.ClassOperator},
		"the server's trouble":        {502, `<html`, credential.ClassTransient},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := provider.Classify(provider.Reply{
				Status: test.status, Fields: provider.Parse([]byte(test.body), true), Cut: true,
			}, nil, time.Time{})
			assert.Equal(t, test.want, got.Class)
		})
	}
}

// A provider may answer with what it was sent. None of it is shown.
func TestDetailShowsNoSecret(t *testing.T) {
	t.Parallel()
	const sent = "RT-0123456789abcdefghij"
	for _, body := range []string{
		`{"error":"` + sent + `"}`,
		`{"error":"unknown_` + sent + `"}`,
		`{"error":"unknown_` + sent[:12] + `"}`,
		`{"error":"` + sent[8:] + `"}`,
		`{"error":"A1"}`,
		`{"error":"bad","status":"` + sent + `"}`,
		`{"error":"issued_new-access-token","refresh_token":"new-access-token"}`,
		`{"error":{"code":"` + sent + `","message":"` + sent + `"}}`,
		`{"error":"x y","error_description":"` + sent + `"}`,
	} {
		out := provider.Classify(provider.Reply{
			Status: 400, Fields: provider.Parse([]byte(body), false),
			Secrets: []credential.Secret{credential.NewSecret(sent), credential.NewSecret("A1")},
		}, nil, time.Time{})
		assert.Contains(t, []string{"HTTP 400", "HTTP 400 bad"}, out.Detail, "%s", body)
	}
}

func FuzzClassify(f *testing.F) {
	f.Add(200, "30", []byte(plainReply), false)
	f.Add(400, "-1", []byte(`{"error":"invalid_grant"}`), true)
	f.Add(503, "Wed, 21 Oct 2015 07:28:00 GMT", []byte("<html>"), false)
	f.Fuzz(func(t *testing.T, status int, after string, body []byte, cut bool) {
		out := provider.Classify(provider.Reply{
			Status: status, Header: http.Header{"Retry-After": {after}}, Fields: provider.Parse(body, cut), Cut: cut,
		}, []provider.Matcher{{Description: "*a*b*", Class: credential.ClassRefused}}, time.Unix(0, 0))
		assert.Contains(t, credential.Classes(), out.Class)
		assert.Equal(t, out.Class == credential.ClassOK, out.Reason == credential.ReasonNone)
		assert.LessOrEqual(t, len(out.Detail), len("HTTP -9223372036854775808 ")+64)
		assert.False(t, out.RetryAfter < 0 || out.RetryAfter > credential.MaxRetryAfter)
		assert.False(t, out.ExpiresIn < 0 || out.ExpiresIn > credential.MaxLifetime)
		assert.GreaterOrEqual(t, out.ExpiresAt, credential.Millis(0))
		if out.Class == credential.ClassOK {
			assert.False(t, out.Token.Access.IsZero())
			assert.True(t, status >= 200 && status <= 299)
		}
	})
}

func TestMatcherValidate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		matcher provider.Matcher
		want    string // "" if it is valid
	}{
		"status":         {provider.Matcher{Status: 400, Class: credential.ClassPermanent}, ""},
		"code":           {provider.Matcher{Error: "x", Class: credential.ClassNotProcessed}, ""},
		"fits all":       {provider.Matcher{Class: credential.ClassPermanent}, "fits every reply"},
		"no status":      {provider.Matcher{Status: 99, Class: credential.ClassPermanent}, "status 99"},
		"no class":       {provider.Matcher{Status: 400}, `class ""`},
		"class ok":       {provider.Matcher{Status: 400, Class: credential.ClassOK}, `class "ok"`},
		"class not_sent": {provider.Matcher{Status: 400, Class: credential.ClassNotSent}, `class "not_sent"`},
		"no reason":      {provider.Matcher{Status: 400, Class: credential.ClassRefused, Reason: "odd"}, `reason "odd"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.matcher.Validate()
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestParseClass(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]credential.Class{
		"permanent": credential.ClassPermanent, "transient": credential.ClassNotProcessed,
		"operator": credential.ClassOperator, "rate_limited": credential.ClassRateLimited,
		"ambiguous": credential.ClassAmbiguous, "refused": credential.ClassRefused,
	} {
		got, err := provider.ParseClass(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, name := range []string{"", "ok", "not_sent", "not_processed", "Permanent"} {
		_, err := provider.ParseClass(name)
		require.ErrorContains(t, err, "permanent, transient", "%q", name)
	}
}

func TestMatcherDescription(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"exact", "exact", true},
		{"exact", "exactly", false},
		{"Case", "cASE", true},
		{"*", "", true},
		{"*b*", "abc", true},
		{"a*", "abc", true},
		{"a*", "bac", false},
		{"*c", "abc", true},
		{"*c", "cab", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"ab*ba", "aba", false},
		{"**x**", "x", true},
	}
	for _, test := range tests {
		body, err := json.Marshal(map[string]string{"error": "e", "error_description": test.text})
		require.NoError(t, err)
		out := provider.Classify(provider.Reply{Status: 400, Fields: provider.Parse(body, false)},
			[]provider.Matcher{{Description: test.pattern, Class: credential.ClassOperator}}, time.Time{})
		assert.Equal(t, test.want, out.Class == credential.ClassOperator, "%q on %q", test.pattern, test.text)
	}
}

func TestCallError(t *testing.T) {
	t.Parallel()
	cause := os.ErrDeadlineExceeded
	err := &provider.CallError{
		Provider: "acme", Op: "discovery", Err: cause,
		Outcome: credential.Outcome{Class: credential.ClassNotSent, Detail: "HTTP 503"},
	}
	require.EqualError(t, err, "provider acme: discovery: not_sent: HTTP 503: "+cause.Error())
	require.ErrorIs(t, err, cause)
	assert.NotContains(t, (&provider.CallError{Outcome: err.Outcome}).Error(), "nil")
}

func TestRefreshTokenLife(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]time.Duration{
		`{"access_token":"A","refresh_token":"R","refresh_expires_in":1800}`:             30 * time.Minute,
		`{"access_token":"A","refresh_token":"R","refresh_token_expires_in":"15897600"}`: 184 * 24 * time.Hour,
		`{"access_token":"A","refresh_token":"R","x_refresh_token_expires_in":60}`:       time.Minute,
		`{"access_token":"A","refresh_token":"R","refresh_expires_in":0}`:                0,
		`{"access_token":"A","refresh_token":"R","refresh_expires_in":null}`:             0,
		`{"access_token":"A","refresh_token":"R"}`:                                       0,
	} {
		out := provider.Classify(provider.Reply{Status: 200, Fields: provider.Parse([]byte(body), false)}, nil, time.Time{})
		assert.Equal(t, credential.ClassOK, out.Class, body)
		assert.Equal(t, want, out.RefreshExpiresIn, body)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	rules := []provider.Matcher{
		{Status: 400, Error: "a", Class: credential.ClassOperator},
		{Status: 400, Class: credential.ClassPermanent, Reason: credential.ReasonRejected},
	}
	reply := func(status int, body string) provider.Reply {
		return provider.Reply{Status: status, Fields: provider.Parse([]byte(body), false)}
	}
	class, reason, ok := provider.Match(rules, reply(400, `{"error":"a"}`))
	assert.True(t, ok)
	assert.Equal(t, credential.ClassOperator, class)
	assert.Equal(t, credential.ReasonClientMisconfigured, reason)
	class, reason, ok = provider.Match(rules, reply(400, `{"error":"b"}`))
	assert.True(t, ok)
	assert.Equal(t, credential.ClassPermanent, class)
	assert.Equal(t, credential.ReasonRejected, reason)
	_, _, ok = provider.Match(rules, reply(401, `{"error":"a"}`))
	assert.False(t, ok)
}
