package eventlog

func stateOf(code byte) (state string, ok bool) {
	switch code {
	case 0:
		return "", true
	case 'p':
		return "pending", true
	case 'a':
		return "active", true
	case 'd':
		return "degraded", true
	case 'e':
		return "expired", true
	case 'r':
		return "reauth_required", true
	case 'l':
		return "logged_out", true
	case 'x':
		return "deleted", true
	}
	return "", false
}

func initiatorOf(code byte) (by string, ok bool) {
	switch code {
	case 's':
		return "schedule", true
	case 'd':
		return "demand", true
	case 'o':
		return "owner", true
	case 'u':
		return "user", true
	case 'p':
		return "provider", true
	}
	return "", false
}

func typeOf(code string) (kind string, ok bool) {
	switch code {
	case "co":
		return "credential.connected", true
	case "ra":
		return "credential.reauthorized", true
	case "r":
		return "credential.refreshed", true
	case "d":
		return "credential.degraded", true
	case "rc":
		return "credential.recovered", true
	case "x":
		return "credential.expired", true
	case "xg":
		return "credential.expiring", true
	case "rr":
		return "credential.reauth_required", true
	case "rs":
		return "credential.reuse_suspected", true
	case "cc":
		return "credential.claims_changed", true
	case "uc":
		return "credential.user_data_changed", true
	case "lo":
		return "credential.logged_out", true
	case "de":
		return "credential.deleted", true
	case "sx":
		return "session.expiring", true
	case "se":
		return "session.extended", true
	case "po":
		return "provider.outage", true
	case "pr":
		return "provider.recovered", true
	case "cm":
		return "client.misconfigured", true
	case "cr":
		return "client.recovered", true
	case "sd":
		return "subscription.disabled", true
	case "sl":
		return "subscription.lagging", true
	case "st":
		return "stream.reset", true
	case "sv":
		return "stream.verification", true
	}
	return "", false
}
