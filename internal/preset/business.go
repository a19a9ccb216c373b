package preset

// business are providers of services that companies use.
func business() []Preset {
	return []Preset{
		{
			Name: "slack", Title: "Slack", Kind: kindOAuth2,
			Settings: `
token_url: https://slack.com/api/oauth.v2.access
client_auth: post
rotation: {rotates: yes}
default_lifetime: 12h
errors:
  - {error: invalid_refresh_token, class: permanent}
  - {error: internal_error, class: ambiguous}
`,
			Unverified: []string{"errors[0]"},
			Notes: []string{
				"For apps with token rotation. Tokens of the bot and of users are apart: store each as a credential of its own.",
				"Slack says of internal_error that a part may have succeeded, so it counts as a lost reply.",
			},
			Docs: "https://docs.slack.dev/authentication/using-token-rotation",
		},
		{
			Name: "salesforce", Title: "Salesforce", Kind: kindOAuth2,
			Settings: `
token_url: https://{domain}/services/oauth2/token
revoke_url: https://{domain}/services/oauth2/revoke
client_auth: post
rotation: {rotates: auto}
errors:
  - {status: 400, error: invalid_grant, description: "*already being processed*", class: transient}
`,
			Part: Part{Name: "domain", Example: "test.salesforce.com, or example.my.salesforce.com", Usual: "login.salesforce.com"},
			Notes: []string{
				"The reply tells no expiry, which the session policy of the organization decides: set default_lifetime to it.",
				"Rotation is a setting of the connected app; with it, a second use of a refresh token ends the current one.",
			},
			Docs: "https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_refresh_token_flow.htm",
		},
		{
			Name: "hubspot", Title: "HubSpot", Kind: kindOAuth2,
			Settings: `
token_url: https://api.hubapi.com/oauth/v1/token
client_auth: post
rotation: {rotates: no}
default_lifetime: 30m
errors:
  - {error: BAD_REFRESH_TOKEN, class: permanent}
`,
			Unverified: []string{"token_url", "rotation.rotates", "default_lifetime", "errors[0]"},
			Docs:       "https://developers.hubspot.com/docs/api/oauth/tokens",
		},
		{
			Name: "quickbooks", Title: "Intuit QuickBooks", Kind: kindOAuth2,
			Settings: `
token_url: https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer
revoke_url: https://developer.api.intuit.com/v2/oauth2/tokens/revoke
client_auth: basic
rotation: {rotates: yes}
default_lifetime: 1h
refresh_token: {idle: 100d, absolute: 1825d}
`,
			Unverified: []string{"rotation.rotates"},
			Notes: []string{
				"The refresh token changes about once a day, not with every refresh; it counts as rotating, which is the careful side.",
				"It is said that invalid_grant is answered in outages, too.",
			},
			Docs: "https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization/oauth-2.0",
		},
		{
			Name: "xero", Title: "Xero", Kind: kindOAuth2,
			Settings: `
token_url: https://identity.xero.com/connect/token
revoke_url: https://identity.xero.com/connect/revocation
client_auth: basic
rotation: {rotates: yes, grace: 30m}
default_lifetime: 30m
refresh_token: {idle: 60d}
`,
			Notes: []string{"After a lost reply the previous refresh token can be used again for 30 minutes."},
			Docs:  "https://developer.xero.com/documentation/guides/oauth2/token-types",
		},
		{
			Name: "zoom", Title: "Zoom", Kind: kindOAuth2,
			Settings: `
token_url: https://zoom.us/oauth/token
revoke_url: https://zoom.us/oauth/revoke
client_auth: basic
rotation: {rotates: yes}
default_lifetime: 1h
refresh_token: {idle: 90d}
`,
			Unverified: []string{"refresh_token.idle"},
			Notes:      []string{"For user-level apps; server-to-server apps have no refresh token."},
			Docs:       "https://developers.zoom.us/docs/integrations/oauth/",
		},
		{
			Name: "atlassian", Title: "Atlassian", Kind: kindOAuth2,
			Settings: `
token_url: https://auth.atlassian.com/oauth/token
client_auth: post
rotation: {rotates: yes, grace: 10m}
default_lifetime: 1h
refresh_token: {idle: 90d, absolute: 365d}
errors:
  - {error: access_denied, class: operator}
`,
			Unverified: []string{"errors[0]", "token_url"},
			Notes: []string{
				"The documentation shows JSON requests; that the address takes form-encoded ones, which are sent, is not written there.",
				"invalid_grant comes with status 403; a wrong client secret is said to be access_denied.",
			},
			Docs: "https://developer.atlassian.com/cloud/oauth/getting-started/refresh-tokens/",
		},
		{
			Name: "shopify", Title: "Shopify", Kind: kindOAuth2,
			Settings: `
token_url: https://{domain}/admin/oauth/access_token
client_auth: post
rotation: {rotates: yes}
default_lifetime: 1h
refresh_token: {idle: 90d}
`,
			Part:       Part{Name: "domain", Example: "example.myshopify.com"},
			Unverified: []string{"refresh_token.idle"},
			Notes: []string{
				"For expiring offline tokens. Each shop has an address of its own, and so is a provider of its own here.",
				"The previous refresh token is said to work for a short while after a rotation; set rotation.grace if you know for how long.",
			},
			Docs: "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/offline-access-tokens",
		},
	}
}
