package providercheck

// Severity says how bad a finding is. It is a closed set.
type Severity string

// The severities.
const (
	OK      Severity = "ok"      // it works
	Skipped Severity = "skipped" // it could not be looked at, and says nothing
	Warn    Severity = "warn"    // it works, or may, and is not as it should be
	Fail    Severity = "fail"    // it does not work
)

// Check is what a finding is about. It is a closed set; programs may rely on
// the names.
type Check string

// The checks, in the order in which they are made.
const (
	CheckAddress   Check = "address"   // name and connection
	CheckTLS       Check = "tls"       // certificate
	CheckClock     Check = "clock"     // ours against that of the provider
	CheckDiscovery Check = "discovery" // of the endpoints, from the issuer
	CheckClient    Check = "client"    // is it who it says it is
	CheckLogin     Check = "login"
	CheckReply     Check = "reply" // what stands where the settings say
	CheckVerify    Check = "verify"
	CheckUserData  Check = "user_data"
	CheckExtend    Check = "extend"
	CheckRefresh   Check = "refresh"
	CheckLogout    Check = "logout"
)

// Finding is one thing that was looked at.
type Finding struct {
	Check    Check    `json:"check"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"` // is the case; no secret, and of a reply's body names of keys at most
	Remedy   string   `json:"remedy,omitempty"`
}
