package preset

// servers are authorization servers that one runs or rents.
func servers() []Preset {
	return []Preset{
		{
			Name: "okta", Title: "Okta", Kind: kindOAuth2,
			Settings: `
client_auth: basic
rotation: {rotates: auto, grace: 30s}
default_lifetime: 1h
`,
			Issuer:     "https://example.okta.com/oauth2/default",
			Unverified: []string{"default_lifetime"},
			Notes: []string{
				"The grace is that of a new app; set rotation.grace to what yours has.",
				"A second use of a refresh token ends the newest one and all access tokens.",
			},
			Docs: "https://developer.okta.com/docs/guides/refresh-tokens/main/",
		},
		{
			Name: "auth0", Title: "Auth0", Kind: kindOAuth2,
			Settings: `
client_auth: post
rotation: {rotates: auto}
default_lifetime: 24h
refresh_token: {absolute: 30d}
`,
			Issuer:     "https://example.eu.auth0.com/",
			Unverified: []string{"client_auth", "default_lifetime"},
			Notes: []string{
				"The leeway of a rotation is off in a new application; set rotation.grace to what yours has.",
				"The oldest of more than 200 refresh tokens of one user and application dies.",
			},
			Docs: "https://auth0.com/docs/secure/tokens/refresh-tokens",
		},
		{
			Name: "keycloak", Title: "Keycloak", Kind: kindOAuth2,
			Settings: `
client_auth: basic
rotation: {rotates: auto}
default_lifetime: 5m
refresh_token: {idle: 30m}
`,
			Issuer:     "https://keycloak.example/realms/REALM",
			Unverified: []string{"default_lifetime", "refresh_token.idle"},
			Notes: []string{
				"A login is said to end after 10 hours as the realm comes; ask for offline_access to get one that lasts, and set refresh_token to what the realm has.",
			},
			Docs: "https://www.keycloak.org/docs/latest/server_admin/#_timeouts",
		},
		{
			Name: "dex", Title: "Dex", Kind: kindOAuth2,
			Settings: `
client_auth: basic
rotation: {rotates: auto, grace: 3s}
errors:
  - {status: 400, error: invalid_request, class: permanent}
`,
			Issuer: "https://dex.example",
			Notes: []string{
				"The grace, reuseInterval, is measured; it is too short for a lost reply to be asked for again.",
				"A dead refresh token is answered with invalid_request. A new login ends the refresh token of the one before.",
			},
			Docs: "https://dexidp.io/docs/configuration/tokens/",
		},
		{
			Name: "hydra", Title: "Ory Hydra", Kind: kindOAuth2,
			Settings: `
client_auth: basic
rotation: {rotates: yes}
`,
			Issuer:     "https://hydra.example",
			Unverified: []string{"client_auth", "rotation.rotates"},
			Notes: []string{
				"client_auth is what the client is registered with.",
				"A second use of a refresh token ends its whole family, outside of the grace that the server is set up with: set rotation.grace to that.",
			},
			Docs: "https://www.ory.com/docs/hydra/guides/graceful-token-refresh",
		},
		{
			Name: "supabase", Title: "Supabase Auth", Kind: kindHTTP,
			Settings: `
refresh:
  request:
    method: POST
    url: https://{domain}/auth/v1/token?grant_type=refresh_token
    json: {refresh_token: "{{.refresh_token}}"}
  response:
    access_token: access_token
    refresh_token: refresh_token
    expires_in: {json: expires_in, unit: s}
    subject: user.id
    user_data: user
  failed_when:
    - {json: error_code, equals: refresh_token_already_used, class: permanent, reason: invalid_grant}
    - {json: error_code, equals: refresh_token_not_found, class: permanent, reason: invalid_grant}
rotation: {rotates: yes, grace: 10s}
default_lifetime: 1h
`,
			Part:       Part{Name: "domain", Example: "abcdefghijkl.supabase.co"},
			Needs:      []Need{{Key: "refresh.request.headers.apikey", What: "the project's publishable key, as {env: NAME} or {file: path}"}},
			Unverified: []string{"refresh.response", "refresh.failed_when", "default_lifetime"},
			Notes: []string{
				"It is of kind: http, because the refresh token travels as JSON.",
				"The grace is too short for a lost reply to be asked for again, unless timeout is lowered to 4s.",
			},
			Docs: "https://supabase.com/docs/guides/auth/sessions",
		},
	}
}
