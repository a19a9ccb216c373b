package preset

// addresses are providers of which little more than the address is known: their
// rotation is found out, and lifetimes come with their replies.
func addresses() []Preset {
	var all []Preset
	for _, one := range []struct{ name, title, token, auth, docs string }{
		{"bitbucket", "Bitbucket Cloud", "https://bitbucket.org/site/oauth2/access_token", "basic", "https://support.atlassian.com/bitbucket-cloud/docs/use-oauth-on-bitbucket-cloud/"},
		{"discord", "Discord", "https://discord.com/api/oauth2/token", "post", "https://discord.com/developers/docs/topics/oauth2"},
		{"dropbox", "Dropbox", "https://api.dropboxapi.com/oauth2/token", "post", "https://developers.dropbox.com/oauth-guide"},
		{"gitlab", "GitLab.com", "https://gitlab.com/oauth/token", "post", "https://docs.gitlab.com/api/oauth2/"},
		{"spotify", "Spotify", "https://accounts.spotify.com/api/token", "basic", "https://developer.spotify.com/documentation/web-api/tutorials/refreshing-tokens"},
		{"twitch", "Twitch", "https://id.twitch.tv/oauth2/token", "post", "https://dev.twitch.tv/docs/authentication/refresh-tokens/"},
	} {
		all = append(all, Preset{
			Name: one.name, Title: one.title, Kind: kindOAuth2,
			Settings:   "\ntoken_url: " + one.token + "\nclient_auth: " + one.auth + "\nrotation: {rotates: auto}\n",
			Unverified: []string{"client_auth"},
			Notes:      []string{"Only the address is known; set what its documentation says of lifetimes and rotation."},
			Docs:       one.docs,
		})
	}
	return all
}
