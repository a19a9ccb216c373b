package providercheck

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// signIn makes every declared call with a test login, and ends it.
func (r *run) signIn(ctx context.Context) {
	if r.SignIn.IsZero() || !r.Calls.Login {
		r.untried()
		return
	}
	o := r.exchange(ctx, credential.Presentation{Method: credential.MethodLogin, SignIn: r.SignIn})
	if o.Class != credential.ClassOK {
		what, remedy := loginAdvice(o)
		r.add(CheckLogin, Fail, what, remedy)
		if o.Token.Access.IsZero() {
			return
		}
		r.logOut(ctx, o.Token) // it was let in all the same
		return
	}
	r.add(CheckLogin, OK, "the test login is taken"+fully(o), "")
	r.places(o)
	token, subject := o.Token, o.Subject
	if r.Calls.Verify {
		o := r.Provider.Verify(ctx, token, subject, nil)
		r.result(CheckVerify, o, "the token of the login is taken")
		token = replaced(token, o)
	}
	if r.Calls.UserData {
		data, o := r.Provider.UserData(ctx, token, subject, nil)
		r.userData(data, o)
		token = replaced(token, o)
	}
	if r.Calls.Extend {
		o := r.exchange(ctx, credential.Presentation{Method: credential.MethodExtend, Token: token, Subject: subject})
		r.result(CheckExtend, o, "the session is extended")
		token = replaced(token, o)
	}
	switch {
	case !r.Calls.Refresh:
	case token.Refresh.IsZero():
		r.add(CheckRefresh, Skipped, "the refresh was not made: the login has brought no refresh token to try it with",
			"declare its place under login.response if the provider issues one; else "+firstRefresh)
	default:
		o := r.exchange(ctx, credential.Presentation{Method: credential.MethodRefresh, Token: token, Subject: subject})
		r.result(CheckRefresh, o, "the refresh token brings a new token")
		token = replaced(token, o)
	}
	r.logOut(ctx, token)
}

// firstRefresh is what tells of a refresh where there is no login to try it with.
const firstRefresh = "store a token with refreshd put, and look at its first refresh"

// untried tells what is not known without a login.
func (r *run) untried() {
	how := firstRefresh
	switch c := r.Calls; {
	case c.Login:
		how = "give a test login: --username NAME, and its password on the standard input"
		r.add(CheckLogin, Skipped, "no login was made, so the places of its reply are not known to be right", how)
	case !r.Client:
		r.add(CheckLogin, Skipped, "there is no login call, so the other calls were not made: they need a token", how)
	case c.Verify, c.UserData:
		r.add(CheckVerify, Skipped, "verify and user_data were not called: they need a token", how)
	}
	switch {
	case r.Client:
		r.add(CheckRefresh, Skipped, "no refresh token of a user was presented, for there is none to try: client tells whether refreshd is let in, and not what a refresh brings", how)
	case r.Calls.Refresh:
		r.add(CheckRefresh, Skipped, "the refresh was not made: there is no refresh token to try it with", how)
	}
}

// places says whether all is where the settings expect it.
func (r *run) places(o credential.Outcome) {
	told := o.ExpiresIn > 0 || o.ExpiresAt > 0
	rest := slices.Clone(o.Missing)
	for _, row := range []struct {
		what, key       string
		declared, found bool
		names           []string
	}{
		{"refresh token", "refresh_token", r.Places.RefreshToken, !o.Token.Refresh.IsZero(), []string{"refresh_token"}},
		{"expiry", "expires_in or expires_at", r.Places.Expiry, told, []string{"expires_in", "expires_at"}},
		{"subject", "subject", r.Places.Subject, o.Subject != "", []string{"subject"}},
		{"user data", "user_data", r.Places.UserData, o.UserData != nil, []string{"user_data"}},
	} {
		at := slices.IndexFunc(rest, func(a credential.Absence) bool { return slices.Contains(row.names, a.Name) })
		switch {
		case row.declared && row.found && at < 0:
			what := "the " + row.what + " is in its place"
			if row.what == "expiry" && o.ExpiresIn > 0 {
				what += ": the token lives " + spoken(o.ExpiresIn)
			}
			r.add(CheckReply, OK, what, "")
		case row.declared:
			found, trouble := "", " is not where login.response says"
			if at >= 0 {
				if rest[at].Unusable() {
					trouble = " is in its place, and of no use"
				}
				found = ": " + rest[at].String() + beside(rest[at:at+1])
				rest = slices.Delete(rest, at, at+1)
			}
			r.add(CheckReply, Fail, "the "+row.what+trouble+found,
				"compare login.response."+row.key+" with what the provider answers, or leave it out")
		}
	}
	r.life(CheckReply, o)
	r.missing(CheckReply, "login.response", rest)
	if !told && !r.Session && !r.Places.Expiry {
		r.add(CheckReply, Warn, fmt.Sprintf("nothing tells when the token expires, so it counts as valid for %s", cmp.Or(r.Lifetime, credential.FallbackLifetime).Round(time.Second)),
			"set default_lifetime, or declare login.response.expires_in")
	}
}

// result tells what became of a call with a token that was just issued.
func (r *run) result(check Check, o credential.Outcome, worked string) {
	switch o.Class {
	case credential.ClassOK:
		lost := check == CheckRefresh && r.Rotates && o.Token.Refresh.IsZero()
		if !lost {
			r.add(check, OK, worked+fully(o), "")
		}
		if check == CheckRefresh {
			r.life(check, o)
		}
		r.missing(check, sectionOf(check)+".response", o.Missing)
		if lost && !slices.ContainsFunc(o.Missing, func(a credential.Absence) bool { return a.Name == "refresh_token" }) {
			r.add(check, Fail, "the reply to the refresh has no new refresh token", "set refresh.response.refresh_token to where it stands, or rotation.rotates: no")
		}
	case credential.ClassPermanent:
		r.add(check, Fail, "the reply reads as if a token were dead that was just issued"+answered(o),
			"see that the request carries the token as the provider wants it (send, headers), and that no pattern of logged_out_when or failed_when fits a reply that is well")
	default:
		what, remedy := troubleAdvice(o)
		if noSuchPage(o) {
			what, remedy = "there is no "+sectionOf(check)+" call at this URL"+answered(o), "compare method and URL of "+sectionOf(check)+".request with the provider's documentation"
		}
		r.add(check, Fail, what, remedy)
	}
}

// missing tells which declared places of a success were empty. Without the new
// refresh token of a provider that rotates, the login would be lost.
func (r *run) missing(check Check, section string, list []credential.Absence) {
	for _, a := range list {
		what := a.String() + beside([]credential.Absence{a})
		remedy := "compare " + section + "." + a.Name + " with what the provider answers, or leave it out"
		if check == CheckRefresh && a.Name == "refresh_token" && r.Rotates {
			r.add(check, Fail, "the refresh brings no new refresh token: "+what,
				"compare "+section+"."+a.Name+" with what the provider answers: the old one is spent, so the login would be lost; or set rotation.rotates: no if the provider issues none")
			continue
		}
		r.add(check, Warn, what, remedy)
	}
}

// sectionOf is what the settings call a call.
func sectionOf(check Check) string {
	if check == CheckExtend {
		return "session.extend"
	}
	return string(check)
}

// fully is what was answered, unless something is missing, which is told apart.
func fully(o credential.Outcome) string {
	if o.Missing != nil {
		return ""
	}
	return answered(o)
}

func (r *run) userData(data credential.UserData, o credential.Outcome) {
	if o.Class == credential.ClassOK && data == nil {
		r.add(CheckUserData, Fail, "the reply has no user data in its place"+answered(o), "compare user_data.response.user_data with what the provider answers")
		return
	}
	r.result(CheckUserData, o, "user data is told")
}

// logOut ends the test login.
func (r *run) logOut(ctx context.Context, token credential.Token) {
	if !r.Calls.Logout {
		r.add(CheckLogout, Skipped, "there is no logout call: the test login stays open at the provider until it ends by itself", "")
		return
	}
	if err := r.Provider.Revoke(ctx, token); err != nil {
		r.add(CheckLogout, Fail, "the test login could not be ended: "+err.Error(), "compare logout.request with the provider's documentation; the test login stays open until it ends by itself")
		return
	}
	r.add(CheckLogout, OK, "the test login is ended", "")
}

// replaced returns the token as it is after an exchange.
func replaced(token credential.Token, o credential.Outcome) credential.Token {
	if !o.Token.Access.IsZero() {
		token.Access = o.Token.Access
	}
	if !o.Token.Refresh.IsZero() {
		token.Refresh = o.Token.Refresh
	}
	return token
}

func loginAdvice(o credential.Outcome) (what, remedy string) {
	switch {
	case o.Reason == credential.ReasonAccountLocked:
		return "the provider has locked the test account" + answered(o), "have it unlocked, or take another one"
	case o.Class == credential.ClassPermanent:
		return "the provider does not take the test login" + answered(o),
			"see that name and password are right, and that login.request sends them as the provider wants them; if they are, login.response.access_token or failed_when is wrong"
	case o.Class == credential.ClassOperator && redirected(o):
		return "the login is answered with a redirect" + answered(o), redirectRemedy
	case noSuchPage(o):
		return "there is no login call at this URL" + answered(o), "compare method and URL of login.request with the provider's documentation"
	case o.Class == credential.ClassTransient && redirected(o):
		return "the login is answered with a redirect that brings no token and does not lead to a login page" + answered(o),
			"see whether the provider has an outage, then run this again; if it answers so to a wrong password, tell it in login.failed_when, such as {redirect: \"*/denied*\"}"
	case tooLong(o):
		return troubleAdvice(o)
	case o.Reason == credential.ReasonMalformedReply && len(o.Missing) > 0:
		o.Detail = strings.TrimSuffix(o.Detail, ", "+o.Missing[0].String())
		return "the login is answered" + answered(o) + ", but " + o.Missing[0].Sentence(),
			"see that name and password are right; if they are, compare login.response.access_token with what the provider answers; if that is how it refuses a login, tell it in login.failed_when. A page of HTML may come from something in between"
	case o.Class == credential.ClassRefused:
		return "the provider refuses the login request" + answered(o),
			"see that name and password are right, for many backends answer a wrong password so: tell it in login.failed_when then, such as {status: 422, reason: login_refused}; else compare method, headers and body of login.request with the provider's documentation"
	default:
		return troubleAdvice(o)
	}
}
