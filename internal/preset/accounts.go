package preset

// accounts are providers of accounts that people have.
func accounts() []Preset {
	return []Preset{
		{
			Name: "google", Title: "Google", Kind: kindOAuth2,
			Settings: `
token_url: https://oauth2.googleapis.com/token
revoke_url: https://oauth2.googleapis.com/revoke
client_auth: post
rotation: {rotates: no}
default_lifetime: 1h
refresh_token: {idle: 180d}
`,
			Unverified: []string{"default_lifetime"},
			Notes: []string{
				"Refresh tokens of an app in testing die after 7 days; set refresh_token.absolute: 7d for one.",
				"invalid_grant also means a changed password, a session policy, or too many refresh tokens of one user.",
			},
			Docs: "https://developers.google.com/identity/protocols/oauth2",
		},
		{
			Name: "microsoft", Title: "Microsoft Entra ID", Kind: kindOAuth2,
			Settings: `
token_url: https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token
client_auth: post
rotation: {rotates: yes, grace: 24h}
default_lifetime: 1h
refresh_token: {idle: 90d}
`,
			Part:       Part{Name: "tenant", Example: "contoso.onmicrosoft.com, a tenant's ID, or common"},
			Unverified: []string{"default_lifetime"},
			Notes: []string{
				"Each use brings a new refresh token, and the previous one stays valid; 24h of that are made use of.",
				"Refresh tokens of single-page apps die after 24 hours; set refresh_token.absolute: 24h for one.",
			},
			Docs: "https://learn.microsoft.com/entra/identity-platform/refresh-tokens",
		},
		{
			Name: "github", Title: "GitHub Apps", Kind: kindOAuth2,
			Settings: `
token_url: https://github.com/login/oauth/access_token
client_auth: post
rotation: {rotates: yes}
default_lifetime: 8h
refresh_token: {idle: 180d}
`,
			Notes: []string{
				"For apps with expiring user tokens. A refresh ends the previous access token as well as the previous refresh token.",
				"Errors come with status 200: bad_refresh_token is permanent, incorrect_client_credentials the operator's.",
			},
			Docs: "https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens",
		},
		{
			Name: "linkedin", Title: "LinkedIn", Kind: kindOAuth2,
			Settings: `
token_url: https://www.linkedin.com/oauth/v2/accessToken
client_auth: post
rotation: {rotates: no}
default_lifetime: 60d
refresh_token: {absolute: 365d}
`,
			Notes: []string{"The refresh token lives for 365 days from the login, and no refresh extends that."},
			Docs:  "https://learn.microsoft.com/linkedin/shared/authentication/programmatic-refresh-tokens",
		},
		{
			Name: "tiktok", Title: "TikTok", Kind: kindHTTP,
			Settings: `
refresh:
  request:
    method: POST
    url: https://open.tiktokapis.com/v2/oauth/token/
    form:
      grant_type: refresh_token
      refresh_token: "{{.refresh_token}}"
  response:
    access_token: access_token
    refresh_token: refresh_token
    expires_in: {json: expires_in, unit: s}
    refresh_expires_in: {json: refresh_expires_in, unit: s}
    subject: open_id
    scope: scope
  failed_when:
    - {json: error, equals: invalid_grant, class: permanent, reason: invalid_grant}
    - {json: error, equals: invalid_client, class: operator}
rotation: {rotates: auto}
default_lifetime: 24h
refresh_token: {absolute: 365d}
`,
			Needs: []Need{
				{Key: "refresh.request.form.client_key", What: "the app's client key"},
				{Key: "refresh.request.form.client_secret", What: "the app's client secret, as {env: NAME} or {file: path}"},
			},
			Unverified: []string{"refresh.failed_when", "refresh_token.absolute"},
			Notes: []string{
				"It is of kind: http, because the client's ID is called client_key there.",
				"The refresh token may change with a refresh; scopes are separated by commas.",
			},
			Docs: "https://developers.tiktok.com/doc/oauth-user-access-token-management",
		},
	}
}
