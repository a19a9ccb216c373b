package credential

// Method is a way to a new token, or to a longer life of the one there is.
type Method string

// The methods.
const (
	MethodNone    Method = ""        // there is none
	MethodRefresh Method = "refresh" // present the refresh token
	MethodLogin   Method = "login"   // present name and password again
	MethodExtend  Method = "extend"  // use the session, so that its idle timeout starts anew
)

// Method returns how the credential gets its next token. It follows from the
// record alone: whoever takes over from a dead process comes to the same.
//
// A session that was told to be expired while it was being extended is extended
// still, until it is known to be over.
func (p Policy) Method(r Record) Method {
	switch {
	case r.Session.Sliding() && !r.Session.Ended && p.Sessions.Extend && r.State != StatePending:
		return MethodExtend
	case p.canRefresh(r):
		return MethodRefresh
	case r.HasLogin && p.CanLogin:
		return MethodLogin
	default:
		return MethodNone
	}
}

// canRefresh reports whether there is a refresh token, and a call for it.
func (p Policy) canRefresh(r Record) bool { return r.HasRefresh && !p.NoRefresh }

// presented returns what an attempt has presented of which nothing is known but
// that it was open: where a refresh token is held, the worst is that it was that.
func (p Policy) presented(h Held) Method {
	if p.canRefresh(h.Record) {
		return MethodRefresh
	}
	return p.Method(h.Record)
}
