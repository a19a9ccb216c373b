package config

import (
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// callKind is what is known of a call by its section: which fields its
// templates may hold, and what its reply has to tell.
type callKind struct {
	section string
	fields  []reqtemplate.Field
	needs   reqtemplate.Field // "" for none
	why     string            // for needs
	yields  bool              // its reply must hold an access token
	mute    bool              // nothing is taken from its reply
}

const (
	loginCall    = "login"
	refreshCall  = "refresh"
	logoutCall   = "logout"
	extendCall   = "session.extend"
	verifyCall   = "verify"
	userDataCall = "user_data"
)

// kindOfCall returns what is known of the call of a section.
func kindOfCall(section string) callKind {
	const access, refresh, subject = reqtemplate.AccessToken, reqtemplate.RefreshToken, reqtemplate.Subject
	c := callKind{section: section, fields: []reqtemplate.Field{access, refresh}}
	switch section {
	case loginCall:
		c.fields, c.yields = []reqtemplate.Field{reqtemplate.Username, reqtemplate.Password}, true
		c.needs, c.why = reqtemplate.Password, "a login presents the password"
	case refreshCall:
		c.fields, c.yields = []reqtemplate.Field{refresh, access, subject}, true
		c.needs, c.why = refresh, "a refresh presents the refresh token"
	case extendCall:
		c.fields = []reqtemplate.Field{access, refresh, subject}
	case userDataCall:
		c.fields = []reqtemplate.Field{access, subject}
	case logoutCall:
		c.mute = true
	}
	return c
}

// checkBackend looks at what describes a backend of one's own.
func (l *loader) checkBackend(key string, p Provider) {
	l.checkLogin(key, p)
	for section, call := range map[string]HTTPCall{
		loginCall: p.Login, refreshCall: p.Refresh, logoutCall: p.Logout, extendCall: p.Session.Extend,
	} {
		l.checkCall(key, section, call)
	}
	ways := []string{join(key, loginCall), join(key, refreshCall), join(key, extendCall)}
	if !slices.ContainsFunc(ways, l.set) && l.readable(key+".preset") {
		l.refuse(key, "neither login, refresh nor session.extend is set, so nothing can be kept fresh; describe the call that yields a token, or that keeps a session alive")
	}
	if l.set(key + ".refresh") {
		token := key + ".refresh.response.refresh_token"
		if p.Rotation.Rotates == credential.RotatesYes && !l.set(token) && l.readable(token) {
			l.refuse(key+".rotation.rotates", "yes means that every refresh brings a new refresh token, and refresh.response.refresh_token is not set; say where it is, or set rotates: no")
		}
	}
	if send := key + ".send"; l.set(send) && l.readable(send) {
		l.checkCarrier(send, p.Send)
	}
	if l.set(key + ".session") {
		l.checkSession(key, p)
	}
}

// checkLogin warns about what a login leaves open although the file says
// enough to tell.
func (l *loader) checkLogin(key string, p Provider) {
	byJSON := func(f Failure) bool { return f.JSON != "" }
	if l.set(join(key, loginCall)+".request.graphql") && !slices.ContainsFunc(p.Login.FailedWhen, byJSON) {
		l.warn(join(key, loginCall)+".failed_when", "it has no rule with json, and GraphQL answers 200 for a wrong password too: only the error code UNAUTHENTICATED is known to mean one. Said in another way, a stored login that is refused would be made again once an hour; write down what a wrong password looks like, such as {json: errors.0.extensions.code, equals: UNAUTHENTICATED, reason: login_refused}")
	}
}

// checkSent warns about a session that would travel in another way than the
// login brings it, where nobody said so.
func (l *loader) checkSent(key string, login HTTPResponse) {
	carrier := ""
	switch token := login.AccessToken; {
	case token.Cookie != "":
		carrier = "{cookie: " + token.Cookie + "}"
	case token.Header != "":
		carrier = "{header: " + token.Header + "}"
	}
	if carrier != "" && !l.set(key+".send") {
		l.warn(join(key, extendCall), "it sends the token as Authorization: Bearer, for send is missing, and the login brings it as %s; set send: %s, or send: bearer if that is meant", carrier, carrier)
	}
}

// checkCarrier looks at how requests carry the token.
func (l *loader) checkCarrier(key string, s Send) {
	switch {
	case s.Header != "" && s.Cookie != "":
		l.refuse(key, "it names both the header %s and the cookie %s; name one", s.Header, s.Cookie)
	case s.Header != "" || l.set(key+".header"):
		l.checkHeaderName(key+".header", s.Header)
	case s.Cookie != "" || l.set(key+".cookie"):
		l.checkCookieName(key+".cookie", s.Cookie)
	}
}

// checkSession compares the session's times with each other and with what can
// be done about its end.
func (l *loader) checkSession(key string, p Provider) {
	s, at := p.Session, key+".session"
	for i, f := range s.LoggedOutWhen {
		l.checkFailure(index(at+".logged_out_when", i), f)
	}
	l.checkSpan(at+".absolute_timeout", s.AbsoluteTimeout, 0, maxYears, "write 0s for a session that lives as long as it is used")
	l.checkSpan(at+".warn_before", s.WarnBefore, 0, credential.MaxLifetime, "write 0s where nobody is to be warned")
	if !l.readable(at+".idle_timeout", at+".absolute_timeout", at+".warn_before") {
		return
	}
	missing := !l.set(at + ".idle_timeout")
	switch {
	case missing && l.set(at+".extend"):
		l.refuse(at+".idle_timeout", "it is missing, and session.extend is set: a session without it needs no extending; say after how long unused it ends, or remove extend")
		return
	case missing:
		l.refuse(at+".idle_timeout", "it is missing; say after how long unused a session ends, or remove session: without it a token is no session")
		return
	case s.IdleTimeout < time.Second || s.IdleTimeout > credential.MaxLifetime:
		l.refuse(at+".idle_timeout", "%s does not lie between 1s and %s; say after how long unused a session ends", s.IdleTimeout, credential.MaxLifetime)
		return
	}
	if !l.set(join(key, extendCall)) && !l.set(join(key, loginCall)) && !l.set(join(key, refreshCall)) {
		l.refuse(at, "nothing keeps such a session alive or brings a new one; set session.extend, or login")
	}
	if s.AbsoluteTimeout != 0 && s.AbsoluteTimeout < s.IdleTimeout {
		l.refuse(at+".idle_timeout", "%s is longer than session.absolute_timeout %s, and a session cannot idle for longer than it lives; lower idle_timeout or raise absolute_timeout", s.IdleTimeout, s.AbsoluteTimeout)
	}
	if s.WarnBefore >= s.IdleTimeout {
		l.refuse(at+".warn_before", "%s is not shorter than session.idle_timeout %s, so that the warning would come with every use; lower it", s.WarnBefore, s.IdleTimeout)
	}
	if p.DefaultLifetime != 0 {
		l.refuse(key+".default_lifetime", "%s has no meaning beside session.idle_timeout %s, which is how long a session lives; remove it", p.DefaultLifetime, s.IdleTimeout)
	}
	l.checkSessionReplies(key, s.IdleTimeout)
	if !l.set(at + ".extend") {
		return
	}
	times := l.cfg.Recovery.Times(p.Timeout)
	if last := times.LastCall(s.IdleTimeout); s.WarnBefore > 0 && s.WarnBefore <= last && s.OnActive != credential.ActiveEnd {
		l.warn(at+".warn_before", "%s is too short for active users to be warned: their sessions are extended %s before the end, with the time that the call may take; set it longer, or on_active: end",
			s.WarnBefore, last.Round(time.Millisecond))
	}
	// An extension is begun when a third of the idle timeout is left at most.
	if times.Attempt() > s.IdleTimeout/4 {
		l.warn(key+".timeout", "%s is long for session.idle_timeout %s: with recovery.send %s, recovery.commit %s and recovery.margin %s an extension may take %s, and the session may end meanwhile; lower them, or set idle_timeout to %s or more if the backend has it so",
			p.Timeout, s.IdleTimeout, times.Send, times.Commit, times.Margin, times.Attempt(), 4*times.Attempt())
	}
}

// checkSessionReplies refuses the places of expiries in the replies of a provider
// with sessions: each use puts a session's end off, so that none which a reply told
// would hold, and whoever declares one means a token of a fixed life.
func (l *loader) checkSessionReplies(key string, idle time.Duration) {
	for _, section := range []string{loginCall, refreshCall, extendCall, verifyCall, userDataCall} {
		for _, part := range []string{"expires_in", "expires_at", "refresh_expires_in", "refresh_expires_at"} {
			if at := join(join(key, section), "response."+part); l.set(at) {
				l.refuse(at, "it is not read beside session.idle_timeout %s, which is how long a session lives unused; remove it, or remove session if the token ends at that moment however it is used", idle)
			}
		}
	}
}
