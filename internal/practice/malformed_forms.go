package practice

// Form is a malformed token reply, named after what is wrong with it.
type Form string

// The forms. Unless told otherwise, the token is rotated where the reply
// carries the new refresh token, gets a new access token only where the reply
// has no refresh token to give, and is not looked at where it is no token reply
// at all.
const (
	FormRTAbsent           Form = "rt_absent"            // no refresh_token, as from a server that does not rotate
	FormRTEmpty            Form = "rt_empty"             // ""
	FormRTNull             Form = "rt_null"              // null
	FormRTNumber           Form = "rt_number"            // 12345
	FormRTSame             Form = "rt_same"              // the one that was presented, which stays good
	FormRTTwice            Form = "rt_twice"             // twice: the presented one first, the new one last
	FormExpiresZero        Form = "expires_zero"         // 0
	FormExpiresNegative    Form = "expires_negative"     // -1
	FormExpiresString      Form = "expires_string"       // "3600"
	FormExpiresStringS     Form = "expires_string_s"     // "3600s"
	FormExpiresFloat       Form = "expires_float"        // 3.6e3
	FormExpiresHuge        Form = "expires_huge"         // 1e18
	FormExpiresObject      Form = "expires_object"       // {"seconds":3600}
	FormHTML200            Form = "html_200"             // a web page with status 200
	FormError200           Form = "error_200"            // an OAuth error with status 200
	FormEmpty200           Form = "empty_200"            // nothing with status 200
	FormGzip               Form = "gzip"                 // compressed, though nobody asked
	FormBOM                Form = "bom"                  // a byte order mark before the JSON
	FormCutChunks          Form = "cut_chunks"           // chunked; the last chunk and the end are missing, the token is not
	FormWrongContentLength Form = "wrong_content_length" // 100 bytes more than there are
	FormFormEncoded        Form = "form_encoded"         // as GitHub does without Accept
	FormNested             Form = "nested"               // {"data":{…}}
	FormEndless            Form = "endless"              // after the tokens a member without an end
	FormDrip               Form = "drip"                 // a byte per second, or per Delay
	FormScopeShrunk        Form = "scope_shrunk"         // the first word of the scope only
	FormRedirect307        Form = "redirect_307"         // to Location
	FormRedirect308        Form = "redirect_308"         // to Location
	FormFlood1xx           Form = "flood_1xx"            // 1,000 interim replies first
	FormTrailingBytes      Form = "trailing_bytes"       // something after the JSON
)

// Forms lists all forms.
func Forms() []Form {
	return []Form{
		FormRTAbsent, FormRTEmpty, FormRTNull, FormRTNumber, FormRTSame, FormRTTwice,
		FormExpiresZero, FormExpiresNegative, FormExpiresString, FormExpiresStringS,
		FormExpiresFloat, FormExpiresHuge, FormExpiresObject,
		FormHTML200, FormError200, FormEmpty200, FormGzip, FormBOM, FormCutChunks,
		FormWrongContentLength, FormFormEncoded, FormNested, FormEndless, FormDrip,
		FormScopeShrunk, FormRedirect307, FormRedirect308, FormFlood1xx, FormTrailingBytes,
	}
}

// carries says what of a refresh a malformed reply needs.
type carries int

const (
	carriesNothing carries = iota // no token reply: the token is not looked at
	carriesAccess                 // no new refresh token: judged without rotating
	carriesRefresh                // the new refresh token is in it
)

// reply returns what the form carries, and whether it is a known form.
func (f Form) reply() (carries, bool) {
	switch f {
	case FormHTML200, FormError200, FormEmpty200, FormRedirect307, FormRedirect308:
		return carriesNothing, true
	case FormRTAbsent, FormRTEmpty, FormRTNull, FormRTNumber, FormRTSame:
		return carriesAccess, true
	case FormRTTwice, FormExpiresZero, FormExpiresNegative, FormExpiresString, FormExpiresStringS,
		FormExpiresFloat, FormExpiresHuge, FormExpiresObject, FormGzip, FormBOM, FormCutChunks,
		FormWrongContentLength, FormFormEncoded, FormNested, FormEndless, FormDrip, FormScopeShrunk,
		FormFlood1xx, FormTrailingBytes:
		return carriesRefresh, true
	default:
		return carriesNothing, false
	}
}

// plan says when a call is judged, and whether its token may rotate.
type plan struct {
	moment Moment // MomentBefore, MomentAfter or MomentNever
	rotate bool
}

// planOf is the plan of a call that has taken fault f, or none (nil).
func planOf(f *Fault, rotateBeforeLatency bool) plan {
	usual := MomentAfter
	if rotateBeforeLatency {
		usual = MomentBefore
	}
	if f == nil {
		return plan{usual, true}
	}
	needs := carriesRefresh
	switch f.Kind {
	case KindStatus, KindHang:
		needs = carriesNothing
	case KindMalformed:
		needs, _ = f.Form.reply()
	case KindSlow:
		usual = MomentBefore
	case KindLost, KindCut:
	}
	switch {
	case f.Rotate == MomentBefore || f.Rotate == MomentAfter:
		return plan{f.Rotate, true}
	case needs == carriesNothing:
		return plan{MomentNever, false}
	default:
		return plan{usual, needs == carriesRefresh && f.Rotate != MomentNever}
	}
}
