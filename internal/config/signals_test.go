package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someSSF = "ssf: {issuer: https://refreshd.example}\n"

func caep(rest string) string {
	return someSSF + "subscriptions: [{name: s, format: caep, audience: https://r.example, " + rest + "}]\n"
}

func TestStreams(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"push":             caep(`delivery: push, url: https://r.example/events, bearer: "t"`),
		"push, no bearer":  caep(`delivery: push, url: https://r.example/events`),
		"poll":             caep(`delivery: poll, types: ["credential.*"]`),
		"loopback issuer":  strings.Replace(caep(`delivery: poll`), "https://refreshd.example", "http://localhost:7420", 1),
		"an issuer's port": strings.Replace(caep(`delivery: poll`), "refreshd.example", "refreshd.example:8443", 1),
	} {
		c, err := Load(write(t, text), nil, nil)
		require.NoError(t, err, name)
		assert.Equal(t, FormatCAEP, c.Subscriptions[0].Format, name)
	}
}

func TestStreamsThatAreRefused(t *testing.T) {
	t.Parallel()
	webhook := "subscriptions: [{name: s, url: https://r.example, secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, types: ['*'], "
	for name, row := range map[string]struct{ text, key, says string }{
		"no issuer":          {strings.TrimPrefix(caep("delivery: poll"), someSSF), "subscriptions[0].format", "ssf.issuer is empty"},
		"no delivery":        {caep("url: https://r.example"), "subscriptions[0].delivery", "write push or poll"},
		"another delivery":   {caep("delivery: pull"), "subscriptions[0].delivery", "poll"},
		"no audience":        {someSSF + "subscriptions: [{name: s, format: caep, delivery: poll}]\n", "subscriptions[0].audience", "calls itself"},
		"no url":             {caep("delivery: push"), "subscriptions[0].url", "it is missing"},
		"a private url":      {caep("delivery: push, url: https://10.0.0.1/e"), "subscriptions[0].url", "network.allow"},
		"a plain url":        {caep("delivery: push, url: http://r.example/e"), "subscriptions[0].url", "not encrypted"},
		"a url, polled":      {caep("delivery: poll, url: https://r.example"), "subscriptions[0].url", "not called"},
		"a bearer, polled":   {caep("delivery: poll, bearer: t"), "subscriptions[0].bearer", "event:read"},
		"a webhook's secret": {caep("delivery: poll, secret: t"), "subscriptions[0].secret", "a key of refreshd's own"},
		"a bad type":         {caep("delivery: poll, types: [credential.refresh]"), "subscriptions[0].types[0]", "matches no event type"},
		"audience, webhook":  {webhook + "audience: x}]", "subscriptions[0].audience", "it is for format caep"},
		"bearer, webhook":    {webhook + "bearer: x}]", "subscriptions[0].bearer", "it is for format caep"},
		"delivery, webhook":  {webhook + "delivery: poll}]", "subscriptions[0].delivery", "it is for format caep"},
		"a plain issuer":     {"ssf: {issuer: http://refreshd.example}", "ssf.issuer", "not encrypted"},
		"an issuer's path":   {"ssf: {issuer: https://refreshd.example/a}", "ssf.issuer", "more than a host"},
		"an issuer's query":  {"ssf: {issuer: 'https://refreshd.example?a'}", "ssf.issuer", "more than a host"},
		"no issuer at all":   {"ssf: {issuer: refreshd}", "ssf.issuer", "absolute URL"},
		"an issuer's user":   {"ssf: {issuer: 'https://u:p@refreshd.example'}", "ssf.issuer", "before the @"},
	} {
		_, err := Load(write(t, row.text), nil, nil)
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), row.key, name)
		assert.Contains(t, err.Error(), row.says, name)
	}
}
