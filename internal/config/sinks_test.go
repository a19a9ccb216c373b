package config

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sinkOf(rest string) string {
	return `subscriptions: [{name: s, types: ["*"], ` + rest + "}]\n"
}

func TestSinks(t *testing.T) {
	t.Parallel()
	creds := write(t, "a user's JWT and seed")
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	ca := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	for name, text := range map[string]string{
		"jetstream":     sinkOf(`format: jetstream, url: "nats://nats.example:4222", subject: "refreshd.{provider}.{type}"`),
		"a cluster":     sinkOf(`format: jetstream, url: "tls://a.example:4222,tls://[2001:db8::1]:4222", subject: auth, credentials: "` + creds + `"`),
		"of private":    sinkOf(`format: jetstream, url: "nats://10.0.0.1:4222", subject: "{credential}", tls: {enabled: true, ca_file: "` + ca + `"}`),
		"kafka":         sinkOf(`format: kafka, brokers: ["kafka:9092"], topic: auth.events`),
		"kafka, secure": sinkOf(`format: kafka, brokers: ["kafka:9092"], topic: e, tls: {enabled: true}, sasl: {mechanism: plain, username: u, password: p}`),
	} {
		c, err := Load(write(t, text), nil, nil)
		require.NoError(t, err, name)
		assert.True(t, c.Subscriptions[0].IsSink(), name)
	}
}

func TestSinksThatAreRefused(t *testing.T) {
	t.Parallel()
	const (
		nats    = `format: jetstream, subject: a, url: `
		subject = `format: jetstream, url: "nats://n:4222", subject: `
		kafka   = `format: kafka, topic: t, brokers: `
		hook    = `url: https://r.example, secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, `
	)
	for name, row := range map[string]struct{ rest, key, says string }{
		"no url":              {`format: jetstream, subject: a`, "url", "it is missing"},
		"an http url":         {nats + `"https://n:4222"`, "url", "not for NATS"},
		"a password":          {nats + `"nats://u:hush@n:4222"`, "url", "is a secret"},
		"no port":             {nats + `"nats://n"`, "url", "nats://n:4222"},
		"a path":              {nats + `"nats://n:4222/x"`, "url", "more than a host"},
		"the second url":      {nats + `"nats://n:4222,nats://169.254.169.254:4222"`, "url", "link-local"},
		"no subject":          {`format: jetstream, url: "nats://n:4222"`, "subject", "it is missing"},
		"another field":       {subject + `"a.{user}"`, "subject", "fields other"},
		"a wildcard":          {subject + `"a.>"`, "subject", "wildcard"},
		"a blank":             {subject + `"a b"`, "subject", "blank"},
		"a server's own":      {subject + `"$JS.API"`, "subject", "begins with $"},
		"an empty part":       {subject + `"a..b"`, "subject", "empty part"},
		"no brokers":          {`format: kafka, topic: t`, "brokers", "it is missing"},
		"a broker's port":     {kafka + `[kafka]`, "brokers[0]", `"kafka" is not host:port; write a name or an address, and a port from 1 to 65535`},
		"a link-local broker": {kafka + `["k:9092", "[fe80::1]:9092"]`, "brokers[1]", "link-local"},
		"a mapped one":        {kafka + `["[::ffff:169.254.169.254]:9092"]`, "brokers[0]", "link-local"},
		"no topic":            {`format: kafka, brokers: ["k:9092"]`, "topic", "not a topic"},
		"a bad topic":         {`format: kafka, brokers: ["k:9092"], topic: "a/b"`, "topic", "not a topic"},
		"half a login":        {kafka + `["k:9092"], sasl: {mechanism: scram-sha-512, username: u}`, "sasl", "belong together"},
		"a plain password":    {kafka + `["k:9092"], sasl: {mechanism: plain, username: u, password: hush}`, "sasl.mechanism", "plain sends the password"},
		"credentials":         {subject + `a, credentials: nothing.creds`, "credentials", "nothing.creds: no such file or directory; name the file that is meant, or remove credentials"},
		"authorities":         {subject + `a, tls: {enabled: true, ca_file: nothing.pem}`, "tls.ca_file", "nothing.pem: no such file"},
		"no authorities":      {subject + `a, tls: {enabled: true, ca_file: config.yaml}`, "tls.ca_file", "holds no certificate"},
		"a certificate":       {kafka + `["k:9092"], tls: {enabled: true, cert: nothing.pem, key: config.yaml}`, "tls.cert", "nothing.pem: no such file"},
		"its key":             {kafka + `["k:9092"], tls: {enabled: true, cert: config.yaml, key: nothing.key}`, "tls.key", "nothing.key: no such file"},
		"half a certificate":  {kafka + `["k:9092"], tls: {enabled: true, cert: c.pem}`, "tls", "belong together"},
		"tls that is off":     {kafka + `["k:9092"], tls: {ca_file: ca.pem}`, "tls.enabled", "it is not true"},
		"kafka with a url":    {kafka + `["k:9092"], url: "nats://n:4222"`, "url", "it is for format"},
		"kafka, a secret":     {kafka + `["k:9092"], secret: hush`, "secret", "it is for format"},
		"webhook, brokers":    {hook + `brokers: ["k:9092"]`, "brokers", "it is for format kafka"},
		"webhook, a subject":  {hook + `subject: a`, "subject", "it is for format jetstream"},
		"webhook, tls":        {hook + `tls: {enabled: true}`, "tls", "it is for format"},
	} {
		_, err := Load(write(t, sinkOf(row.rest)), nil, nil)
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), "subscriptions[0]."+row.key, name)
		assert.Contains(t, err.Error(), row.says, name)
		assert.NotContains(t, err.Error(), "hush", name)
	}
}
