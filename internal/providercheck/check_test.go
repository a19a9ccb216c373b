package providercheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// replies are what is answered to each method.
type replies struct{ login, refresh, extend credential.Outcome }

func (r replies) to(m credential.Method) credential.Outcome {
	switch m {
	case credential.MethodLogin:
		return r.login
	case credential.MethodRefresh:
		return r.refresh
	case credential.MethodExtend:
		return r.extend
	case credential.MethodNone:
	}
	return credential.Outcome{}
}

// fakeProvider answers as it is told, and notes what it was asked.
type fakeProvider struct {
	prepared *credential.Outcome
	replies  replies
	userData credential.UserData
	told     credential.Outcome // of UserData
	verified credential.Outcome
	revoked  error
	asked    []string
}

func (f *fakeProvider) Prepare(context.Context) *credential.Outcome { return f.prepared }

func (f *fakeProvider) Exchange(_ context.Context, in credential.Presentation) credential.Outcome {
	f.asked = append(f.asked, fmt.Sprintf("%s %s/%s %s", in.Method, in.Token.Access.Reveal(), in.Token.Refresh.Reveal(), in.SignIn.Username.Reveal()))
	if err := errors.Join(in.MaySend(), in.Keep(credential.Found{})); err != nil {
		return credential.Outcome{Class: credential.ClassNotSent}
	}
	return f.replies.to(in.Method)
}

func (f *fakeProvider) Revoke(_ context.Context, token credential.Token) error {
	f.asked = append(f.asked, "revoke "+token.Access.Reveal())
	return f.revoked
}

func (f *fakeProvider) UserData(_ context.Context, token credential.Token, subject string, _ func() error) (credential.UserData, credential.Outcome) {
	f.asked = append(f.asked, "user data "+token.Access.Reveal()+" "+subject)
	return f.userData, f.told
}

func (f *fakeProvider) Verify(_ context.Context, token credential.Token, subject string, _ func() error) credential.Outcome {
	f.asked = append(f.asked, "verify "+token.Access.Reveal()+" "+subject)
	return f.verified
}

// setup returns what is needed to look at a provider that can be reached.
func setup(t *testing.T, p *fakeProvider) Options {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	return Options{
		Provider: p, Endpoints: []Endpoint{{"token_url", server.URL + "/token?key=canary"}}, Timeout: time.Minute,
		Forbidden: func(netip.Addr) bool { return false }, Now: time.Now,
	}
}

// find returns what was found of a check, as "severity what — remedy".
func find(list []Finding, check Check) []string {
	var found []string
	for _, f := range list {
		if f.Check == check {
			found = append(found, strings.TrimSpace(string(f.Severity)+" "+f.What+" — "+f.Remedy))
		}
	}
	return found
}

func one(t *testing.T, list []Finding, check Check) string {
	t.Helper()
	found := find(list, check)
	require.Len(t, found, 1, "%v", list)
	return found[0]
}

func token(access, refresh string) credential.Token {
	return credential.Token{Access: credential.NewSecret(access), Refresh: credential.NewSecret(refresh)}
}

func TestClient(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		reply credential.Outcome
		want  string // a part of the finding
	}{
		"accepted":       {credential.Outcome{Class: credential.ClassPermanent, Detail: "HTTP 400 invalid_grant"}, "ok the client is accepted: a made-up refresh token was refused as one (HTTP 400 invalid_grant)"},
		"refused":        {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 401 invalid_client"}, "fail the provider refuses the client (HTTP 401 invalid_client) — see that client_id and client_secret"},
		"a bare 401":     {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 401"}, "fail the provider refuses the client (HTTP 401)"},
		"not this grant": {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 400 unauthorized_client"}, "allow the grant type refresh_token"},
		"no such grant":  {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 400 unsupported_grant_type"}, "allow the grant type refresh_token"},
		"scope":          {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 400 invalid_scope"}, "fail the provider refuses the scope"},
		"wrong path":     {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 404"}, "fail nothing takes tokens at this URL (HTTP 404)"},
		"redirect":       {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 307"}, "fail the provider answers with a redirect (HTTP 307) — refreshd follows no redirect"},
		"another":        {credential.Outcome{Class: credential.ClassOperator, Detail: "certificate"}, "fail the provider refuses the request (certificate)"},
		"the form":       {credential.Outcome{Class: credential.ClassRefused, Detail: "HTTP 400 invalid_request"}, "warn the provider refuses the form of a made-up refresh token (HTTP 400 invalid_request), which does not tell"},
		"a wide rule":    {credential.Outcome{Class: credential.ClassNotProcessed, Detail: "HTTP 400 invalid_grant"}, "warn a rule under errors says"},
		"busy":           {credential.Outcome{Class: credential.ClassRateLimited, Detail: "HTTP 429"}, "warn the provider takes no more requests now (HTTP 429)"},
		"issued":         {credential.Outcome{Class: credential.ClassOK, Token: token("canary", ""), Detail: "HTTP 200"}, "warn the provider has issued a token for a made-up refresh token"},
		"failed":         {credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable, Detail: "HTTP 503"}, "fail the provider says that it failed (HTTP 503) — see whether it has an outage"},
		"late":           {credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}, "fail no answer in time (timeout) — raise timeout"},
		"a page":         {credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonMalformedReply, Detail: "HTTP 200"}, "fail the answer is not what the settings expect (HTTP 200)"},
		"cut off":        {credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonNetwork}, "fail the answer was lost or cut off (network)"},
		"not sent":       {credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonNetwork, Detail: "dial"}, "fail nothing could be sent (dial)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{replies: replies{refresh: row.reply}}
			o := setup(t, p)
			o.Client = true
			list := Run(t.Context(), o)
			assert.Contains(t, one(t, list, CheckClient), row.want)
			assert.Equal(t, []string{"refresh /" + madeUp + " "}, p.asked, "nothing but a made-up token was presented")
			assert.NotContains(t, fmt.Sprint(list), "canary")
			for _, f := range list {
				assert.True(t, f.Severity != Fail && f.Severity != Warn || f.Remedy != "", "advice on %v", f)
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		failed *credential.Outcome
		want   string
	}{
		"found":     {nil, "ok the issuer announces its endpoints"},
		"not there": {&credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 404"}, "fail the issuer's document of its endpoints cannot be used (HTTP 404) — compare issuer"},
		"redirect":  {&credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 301"}, "refreshd follows no redirect"},
		"away":      {&credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonUnavailable}, "see whether the provider has an outage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{prepared: row.failed}
			o := setup(t, p)
			o.Issuer, o.Client = true, true
			assert.Contains(t, one(t, Run(t.Context(), o), CheckDiscovery), row.want)
			assert.Equal(t, row.failed != nil, p.asked == nil)
		})
	}
}

// signIn is what a test login at a backend that declares everything needs.
func signIn(t *testing.T, p *fakeProvider) Options {
	t.Helper()
	o := setup(t, p)
	o.Calls = Calls{Login: true, Refresh: true, Extend: true, Verify: true, UserData: true, Logout: true}
	o.Places = Places{RefreshToken: true, Expiry: true, Subject: true, UserData: true}
	o.SignIn = credential.SignIn{Username: credential.NewSecret("canary-user"), Password: credential.NewSecret("canary-password")}
	return o
}

func TestLoginThatWorks(t *testing.T) {
	t.Parallel()
	ok := credential.Outcome{Class: credential.ClassOK, Detail: "HTTP 200"}
	extended, refreshed := ok, ok
	extended.Token = token("a2-canary", "")
	refreshed.Token = token("a3-canary", "r2-canary")
	p := &fakeProvider{
		replies: replies{
			login:   credential.Outcome{Class: credential.ClassOK, Token: token("a1-canary", "r1-canary"), ExpiresIn: time.Hour, Subject: "uid-canary", UserData: credential.UserData(`"canary"`)},
			extend:  extended,
			refresh: refreshed,
		},
		userData: credential.UserData(`{}`), told: ok, verified: ok,
	}
	list := Run(t.Context(), signIn(t, p))
	for _, f := range list {
		assert.Equal(t, OK, f.Severity, "%v", f)
	}
	assert.NotContains(t, fmt.Sprint(list), "canary")
	assert.Equal(t, []string{
		"login / canary-user", "verify a1-canary uid-canary", "user data a1-canary uid-canary",
		"extend a1-canary/r1-canary ", "refresh a2-canary/r1-canary ", "revoke a3-canary",
	}, p.asked, "each call with the token as it was then")
	assert.Len(t, find(list, CheckReply), 4)
}

func TestLoginPlaces(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{replies: replies{login: credential.Outcome{Class: credential.ClassOK, Token: token("a", "")}}}
	o := signIn(t, p)
	o.Calls = Calls{Login: true, Refresh: true}
	list := Run(t.Context(), o)
	for i, key := range []string{"refresh_token", "expires_in or expires_at", "subject", "user_data"} {
		found := find(list, CheckReply)[i]
		assert.True(t, strings.HasPrefix(found, "fail "), found)
		assert.Contains(t, found, "compare login.response."+key)
	}
	assert.Contains(t, one(t, list, CheckLogout), "skipped there is no logout call")
	assert.Contains(t, one(t, list, CheckRefresh), "skipped the refresh was not made: the login has brought no refresh token to try it with — declare its place under login.response")

	o.Places, o.Lifetime = Places{}, 10*time.Minute
	assert.Contains(t, one(t, Run(t.Context(), o), CheckReply), "warn nothing tells when the token expires, so it counts as valid for 10m0s — set default_lifetime")
	o.Session = true
	assert.Empty(t, find(Run(t.Context(), o), CheckReply), "a session has no expiry")
}

func TestLoginThatFails(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		reply credential.Outcome
		want  string
	}{
		"refused":  {credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonLoginRefused, Detail: "HTTP 401"}, "fail the provider does not take the test login (HTTP 401) — see that name and password"},
		"locked":   {credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonAccountLocked, Detail: "HTTP 423"}, "fail the provider has locked the test account (HTTP 423)"},
		"redirect": {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 302"}, "fail the login is answered with a redirect (HTTP 302)"},
		"form":     {credential.Outcome{Class: credential.ClassRefused, Detail: "HTTP 422"}, "fail the provider refuses the login request (HTTP 422) — see that name and password are right"},
		"away":     {credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable, Detail: "HTTP 302, a redirect to another page"}, "fail the login is answered with a redirect that brings no token and does not lead to a login page (HTTP 302, a redirect to another page) — see whether the provider has an outage"},
		"a cookie": {credential.Outcome{
			Class: credential.ClassRefused, Reason: credential.ReasonMalformedReply, Detail: "HTTP 303, a redirect to another page, access_token (cookie sid) was not found",
			Missing: []credential.Absence{{Name: "access_token", Place: "cookie sid", Why: "was not found", Beside: []string{"SID", "theme"}}},
		}, "fail the login is answered (HTTP 303, a redirect to another page), but the reply did not have the declared cookie sid; it set: SID, theme — see that name"},
		"too long": {credential.Outcome{
			Class: credential.ClassRefused, Reason: credential.ReasonMalformedReply, Detail: "HTTP 200, cut off: the reply's body is longer than 1 MiB, access_token (json token) was not found",
			Missing: []credential.Absence{{Name: "access_token", Place: "json token", Why: "was not found"}},
		}, "fail the answer is too long (HTTP 200, cut off: the reply's body is longer than 1 MiB, access_token (json token) was not found) — see that the URL of the request is the right one"},
		"path":   {credential.Outcome{Class: credential.ClassOperator, Detail: "HTTP 404"}, "fail there is no login call at this URL (HTTP 404) — compare method and URL of login.request"},
		"places": {credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonMalformedReply, Detail: "HTTP 200, no access_token at token"}, "compare the places under response"},
		"busy":   {credential.Outcome{Class: credential.ClassRateLimited, Detail: "HTTP 429"}, "fail the provider takes no more requests now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{replies: replies{login: row.reply}}
			list := Run(t.Context(), signIn(t, p))
			assert.Contains(t, one(t, list, CheckLogin), row.want)
			assert.Equal(t, []string{"login / canary-user"}, p.asked, "once, or the account is locked")
			assert.NotContains(t, fmt.Sprint(list), "canary")
		})
	}
	t.Run("with a token", func(t *testing.T) {
		t.Parallel()
		p := &fakeProvider{replies: replies{
			login: credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonMalformedReply, Token: token("a", "")},
		}}
		Run(t.Context(), signIn(t, p))
		assert.Equal(t, []string{"login / canary-user", "revoke a"}, p.asked, "it is ended all the same")
	})
}

func TestCallsAfterTheLogin(t *testing.T) {
	t.Parallel()
	dead := credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonSessionEnded, Detail: "HTTP 401"}
	p := &fakeProvider{
		replies: replies{
			login:   credential.Outcome{Class: credential.ClassOK, Token: token("a", "r"), ExpiresIn: time.Hour},
			extend:  dead,
			refresh: credential.Outcome{Class: credential.ClassTransient, Detail: "HTTP 500"},
		},
		told: credential.Outcome{Class: credential.ClassOK}, verified: dead, revoked: errors.New("HTTP 500"),
	}
	list := Run(t.Context(), signIn(t, p))
	for _, row := range []struct {
		check Check
		want  string
	}{
		{CheckVerify, "fail the reply reads as if a token were dead that was just issued (HTTP 401)"},
		{CheckUserData, "fail the reply has no user data in its place"},
		{CheckExtend, "fail the reply reads as if a token were dead"},
		{CheckRefresh, "fail the provider says that it failed (HTTP 500)"},
		{CheckLogout, "fail the test login could not be ended: HTTP 500"},
	} {
		assert.Contains(t, one(t, list, row.check), row.want)
	}
}

// A call that is not where the settings say is named.
func TestCallsThatAreNotThere(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"HTTP 404", "HTTP 405"} {
		gone := credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured, Detail: status}
		p := &fakeProvider{
			replies: replies{
				login:  credential.Outcome{Class: credential.ClassOK, Token: token("a", "r"), ExpiresIn: time.Hour},
				extend: gone, refresh: gone,
			},
			told: gone, verified: gone,
		}
		list := Run(t.Context(), signIn(t, p))
		for call, check := range map[string]Check{"verify": CheckVerify, "user_data": CheckUserData, "session.extend": CheckExtend, "refresh": CheckRefresh} {
			assert.Contains(t, one(t, list, check), "fail there is no "+call+" call at this URL ("+status+") — compare method and URL of "+call+".request with")
		}
	}
}

// An expiry that stands in its place and is none is not looked for elsewhere.
func TestAnExpiryThatIsNone(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{replies: replies{login: credential.Outcome{
		Class: credential.ClassOK, Token: token("a", ""),
		Missing: []credential.Absence{{Name: "expires_in", Place: "json expiresIn", Why: "tells no time to come"}},
	}}}
	o := signIn(t, p)
	o.Calls, o.Places = Calls{Login: true}, Places{Expiry: true}
	assert.Contains(t, one(t, Run(t.Context(), o), CheckReply), "fail the expiry is in its place, and of no use: expires_in (json expiresIn) tells no time to come — compare login.response.expires_in")
}

// absence is a place that was empty, in a reply with these names.
func absence(name, place string) credential.Absence {
	return credential.Absence{Name: name, Place: place, Why: "was not found", Beside: []string{"refreshToken", "token"}}
}

func TestMissingPlaces(t *testing.T) {
	t.Parallel()
	lacking := func(access, refresh string, missing ...credential.Absence) credential.Outcome {
		o := credential.Outcome{Class: credential.ClassOK, Token: token(access, refresh), Detail: "HTTP 200, and so on", Missing: missing}
		o.ExpiresIn = time.Hour
		return o
	}
	p := &fakeProvider{
		replies: replies{
			login:   lacking("a-canary", "r-canary", absence("expires_in", "json ttl"), absence("scope", "json scopes")),
			refresh: lacking("b-canary", "", absence("refresh_token", "json refreshTkn"), absence("subject", "json uid")),
			extend:  lacking("", "", absence("user_data", "json me")),
		},
		userData: credential.UserData(`{}`), told: lacking("", "", absence("subject", "json uid")), verified: lacking("", ""),
	}
	o := signIn(t, p)
	o.Places, o.Rotates = Places{RefreshToken: true, Expiry: true}, true
	list := Run(t.Context(), o)
	assert.Equal(t, []string{"ok the test login is taken —"}, find(list, CheckLogin))
	assert.Equal(t, []string{
		"ok the refresh token is in its place —",
		"fail the expiry is not where login.response says: expires_in (json ttl) was not found; there are refreshToken, token — compare login.response.expires_in or expires_at with what the provider answers, or leave it out",
		"warn scope (json scopes) was not found; there are refreshToken, token — compare login.response.scope with what the provider answers, or leave it out",
	}, find(list, CheckReply))
	refreshed := find(list, CheckRefresh)
	require.Len(t, refreshed, 2)
	assert.Contains(t, refreshed[0], "fail the refresh brings no new refresh token: refresh_token (json refreshTkn) was not found; there are refreshToken, token — compare refresh.response.refresh_token")
	assert.Equal(t, "warn subject (json uid) was not found; there are refreshToken, token — compare refresh.response.subject with what the provider answers, or leave it out", refreshed[1])
	assert.Equal(t, []string{
		"ok the session is extended —",
		"warn user_data (json me) was not found; there are refreshToken, token — compare session.extend.response.user_data with what the provider answers, or leave it out",
	}, find(list, CheckExtend))
	assert.Len(t, find(list, CheckUserData), 2)

	o.Rotates = false
	refreshed = find(Run(t.Context(), o), CheckRefresh)
	require.Len(t, refreshed, 3)
	assert.Equal(t, "ok the refresh token brings a new token —", refreshed[0])
	assert.Contains(t, refreshed[1], "warn refresh_token (json refreshTkn) was not found")

	o.Rotates = true
	p.replies.refresh = lacking("b-canary", "")
	assert.Contains(t, one(t, Run(t.Context(), o), CheckRefresh), "fail the reply to the refresh has no new refresh token — set refresh.response.refresh_token")
}

// A login without its token names the place, as a refresh does.
func TestMissingAccessToken(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{replies: replies{login: credential.Outcome{
		Class: credential.ClassRefused, Reason: credential.ReasonMalformedReply, Detail: "HTTP 200, access_token (json tkn) was not found",
		Missing: []credential.Absence{absence("access_token", "json tkn")},
	}}}
	assert.Contains(t, one(t, Run(t.Context(), signIn(t, p)), CheckLogin),
		"fail the login is answered (HTTP 200), but the reply did not have the declared json tkn; it has: refreshToken, token — see that name and password are right; if they are, compare login.response.access_token")
}

func TestWithoutALogin(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		calls  Calls
		client bool
		check  Check
		want   string
	}{
		"could be given":  {Calls{Login: true}, false, CheckLogin, "skipped no login was made"},
		"none declared":   {Calls{Refresh: true}, false, CheckLogin, "skipped there is no login call"},
		"oauth2 verified": {Calls{Verify: true}, true, CheckVerify, "skipped verify and user_data were not called"},

		"a refresh, and a login that could be given": {Calls{Login: true, Refresh: true}, false, CheckRefresh, "skipped the refresh was not made: there is no refresh token to try it with — give a test login"},
		"a refresh, and no login declared":           {Calls{Refresh: true}, false, CheckRefresh, "skipped the refresh was not made: there is no refresh token to try it with — store a token with refreshd put, and look at its first refresh"},
		"a refresh of oauth2":                        {Calls{}, true, CheckRefresh, "skipped no refresh token of a user was presented, for there is none to try: client tells"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{replies: replies{refresh: credential.Outcome{Class: credential.ClassPermanent}}}
			o := setup(t, p)
			o.Calls, o.Client = row.calls, row.client
			assert.Contains(t, one(t, Run(t.Context(), o), row.check), row.want)
		})
	}
	t.Run("no refresh declared", func(t *testing.T) {
		t.Parallel()
		o := setup(t, &fakeProvider{})
		o.Calls = Calls{Login: true}
		assert.Empty(t, find(Run(t.Context(), o), CheckRefresh))
	})
}
