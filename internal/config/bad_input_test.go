package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// acme is a provider that is as it should be, to which a row adds.
const acme = `providers:
  acme:
    kind: oauth2
    token_url: https://id.acme.example/token
    client_id: x
    client_auth: none
`

// hook is a subscription that lacks its URL.
const hook = `subscriptions:
  - name: ui
    secret: ` + hookSecret + `
    types: ["*"]
    `

// indent puts a row under acme.
func under(text string) string {
	return acme + "    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
}

// TestRefused: each row is a file that must not be used, and what the message
// has to say: where, which key, the value and the remedy.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		// Keys
		"a key of two lines":         {`"lis\nten": x`, []string{`:1: "lis\nten": there is no such key`}},
		"unknown key":                {"lissten: x", []string{":1: lissten: there is no such key", "known here: listen, data_dir"}},
		"unknown key in a provider":  {under("tokenurl: x"), []string{":7: providers.acme.tokenurl", "known here: kind, preset, issuer"}},
		"unknown key in a rule":      {under("errors: [{status: 400, class: transient, code: x}]"), []string{":7: providers.acme.errors[0].code"}},
		"duplicate key":              {"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2", []string{":2: listen: the key occurs twice (first at ", ":1); remove one"}},
		"duplicate provider":         {acme + "  acme: {kind: oauth2}\n", []string{":7: providers.acme: the key occurs twice"}},
		"duplicate in flow style":    {"redis: {shards: 1, shards: 2}", []string{":1: redis.shards: the key occurs twice"}},
		"duplicate section":          {"log: {level: info}\nredis: {}\nlog: {level: warn}", []string{":3: log: the key occurs twice"}},
		"duplicate subscription":     {hook + "url: https://a.example\n  - {name: ui, url: https://b.example, secret: " + hookSecret + ", types: ['*']}", []string{`subscriptions[1].name: "ui" is the name of subscriptions[0] too, and names are unique; choose another`}},
		"key that is a list":         {"[a]: 1", []string{":1: it is not valid YAML: found an invalid key"}},
		"a list for the file":        {"- a", []string{"a mapping is expected, not a list"}},
		"a text for the file":        {"hello", []string{"a mapping is expected, not a single value"}},
		"a text for a section":       {"redis: redis://x", []string{":1: redis: a mapping is expected, not a single value"}},
		"a text for a list":          {hook + "url: https://a.example\n    providers: acme", []string{"subscriptions[0].providers: a list is expected", "write [a, b]"}},
		"a list for a value":         {"listen: [a]", []string{"listen: a single value is expected, not a list"}},
		"a value that is missing":    {"listen:", []string{"listen: it has no value; give it one, or remove the key"}},
		"true for a text":            {"listen: true", []string{"listen: true is true or false", "in quotes"}},
		"a text for a number":        {"redis: {shards: '4'}", []string{`redis.shards: "4" is a text; write a number, without quotes`}},
		"a fraction for a number":    {"redis: {shards: 1.5}", []string{`redis.shards: "1.5" is not a whole number`}},
		"not a number":               {"schedule: {refresh_at: .nan}", []string{":1: schedule.refresh_at: .nan is a value that is not a number, which is not expected here; write a number in digits, such as 0.5"}},
		"a number without end":       {under("limits: {per_second: .inf}"), []string{":7: providers.acme.limits.per_second: .inf is a number without end, which is not expected here; write a number in digits"}},
		"a count without end":        {"redis: {shards: -.inf}", []string{"redis.shards: -.inf is a number without end, which is not expected here; write a whole number in digits, such as 4"}},
		"a time without end":         {under("timeout: .inf"), []string{"providers.acme.timeout: .inf is a number without end, which is not expected here; write a duration like 90s"}},
		"a text without end":         {"listen: .inf", []string{"listen: .inf is a number without end, which is not expected here; put it in quotes if it is meant as a text"}},
		"a list for a number":        {"redis: {shards: [4]}", []string{"redis.shards: a single value is expected, not a list; write a whole number in digits"}},
		"true for a number":          {under("limits: {per_second: true}"), []string{"per_second: true is true or false, which is not expected here; write a number in digits"}},
		"a number too large":         {under("limits: {per_second: 1e400}"), []string{`per_second: "1e400" is not a number that can be used: it is too large; write one in digits`}},
		"a count too large":          {"redis: {shards: 99999999999999999999}", []string{`redis.shards: "99999999999999999999" is not a whole number that can be used: it is too large; write one in digits, such as 4`}},
		"anchors and aliases":        {"redis: &a {shards: 1}\nkeyset: *a", []string{":1: redis: YAML anchors, aliases and tags are not supported", ":2: keyset: YAML anchors"}},
		"merge keys":                 {"redis:\n  <<: {shards: 1}", []string{"a key must be plain text"}},
		"tags":                       {"listen: !!str x", []string{"listen: YAML anchors, aliases and tags are not supported"}},
		"two documents":              {"listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2", []string{":3: a second YAML document"}},
		"no YAML":                    {"listen: 'x", []string{":1: it is not valid YAML: could not find end character of single-quoted text"}},
		"tabs":                       {"redis:\n\tshards: 1", []string{":2: it is not valid YAML"}},
		"not UTF-8":                  {"listen: \xff\xfe", []string{"not UTF-8"}},
		"UTF-16":                     {"l\x00i\x00s\x00t\x00e\x00n\x00", []string{"NUL byte"}},
		"brackets without end":       {strings.Repeat("[", 100_000), []string{"nested more than 100 deep"}},
		"a reserved key: http":       {"http: {proxy: x}", []string{":1: http: it is not supported by this version; set http under each provider"}},
		"a reserved key: key":        {under("private_key: {file: x}"), []string{"providers.acme.private_key: it is not supported by this version; use client_auth basic or post"}},
		"a reserved key: device_url": {under("device_url: https://x"), []string{"providers.acme.device_url: it is not supported"}},

		// Fetch schedules under 15 minutes, by any notation
		"fetch */16":           {`schedule: {fetch: "*/16 * * * *"}`, []string{"schedule.fetch", "gap of 12m between", "the shortest allowed is 15m"}},
		"fetch 0,59":           {`schedule: {fetch: "0,59 * * * *"}`, []string{"gap of 1m between"}},
		"fetch @every 14m59s":  {`schedule: {fetch: "@every 14m59s"}`, []string{"gap of 14m59s", "the shortest allowed is 15m"}},
		"fetch with TZ prefix": {`schedule: {fetch: "TZ=Europe/Berlin 0 * * * *"}`, []string{"time zone", "remove the prefix"}},
		"fetch with TZ=0":      {`schedule: {fetch: "TZ=0"}`, []string{"time zone"}},
		"fetch @every -5m":     {`schedule: {fetch: "@every -5m"}`, []string{"above zero"}},
		"fetch that never is":  {`schedule: {fetch: "0 0 30 2 *"}`, []string{"never fires"}},
		"fetch of a provider":  {under(`fetch: "* * * * *"`), []string{":7: providers.acme.fetch", "gap of 1m between"}},
		"fetch that is empty":  {`schedule: {fetch: ""}`, []string{"schedule.fetch: the schedule is empty"}},

		// Times that contradict each other
		"refresh_at 0":          {"schedule: {refresh_at: 0}", []string{"schedule.refresh_at: 0 does not lie between 0 and 1"}},
		"refresh_at 1":          {"schedule: {refresh_at: 1}", []string{"schedule.refresh_at: 1 does not lie between 0 and 1"}},
		"jitter 0.31":           {"schedule: {jitter: 0.31}", []string{"schedule.jitter: 0.31 does not lie between 0 and 0.3; it is a part of a token's life, 0.1 for a tenth"}},
		"min_interval":          {"schedule: {min_interval: 61s}", []string{"schedule.min_interval: 1m1s does not lie between 0s and 1m0s"}},
		"min_interval below 0":  {"schedule: {min_interval: -1s}", []string{"schedule.min_interval", "-1s"}},
		"refresh_at and jitter": {"schedule: {refresh_at: 0.7, jitter: 0.25}", []string{"schedule.refresh_at: 0.7 and schedule.jitter 0.25 together are 0.95", "at most 0.9"}},
		"jitter above it":       {"schedule: {refresh_at: 0.1, jitter: 0.1}", []string{"schedule.refresh_at: 0.1 is not above schedule.jitter 0.1"}},
		"timeout too short":     {under("timeout: 500ms"), []string{"providers.acme.timeout: 500ms does not lie between 1s and 5m0s; leave it out for 20s"}},
		"timeout too long":      {under("timeout: 6m"), []string{"providers.acme.timeout: 6m0s does not lie between 1s and 5m0s"}},
		"quarantine":            {under("timeout: 1m") + "recovery: {quarantine: 65s}", []string{"providers.acme.timeout: 1m0s needs recovery.quarantine to be at least 1m10s, and it is 1m5s", "raise recovery.quarantine or lower the timeout"}},
		"idle above absolute":   {under("refresh_token: {idle: 91d, absolute: 90d}"), []string{"refresh_token.idle: 2184h0m0s is longer than refresh_token.absolute 2160h0m0s", "; lower idle or raise absolute"}},
		"retention":             {"events: {retention: 59m}", []string{"events.retention: 59m0s does not lie between 1h0m0s and 87840h0m0s; leave it out for 96h"}},
		"a life too long":       {under("default_lifetime: 367d"), []string{"providers.acme.default_lifetime: 8808h0m0s does not lie between", "; leave it out where it is not known"}},
		"a negative duration":   {under("rotation: {grace: -1s}"), []string{"providers.acme.rotation.grace: -1s does not lie between 0s and 8784h0m0s; write 0s"}},
		"quarantine too long":   {"recovery: {quarantine: 8d}", []string{"recovery.quarantine: 192h0m0s does not lie between 1s and 168h0m0s; leave it out for 10m"}},
		"grace too long":        {under("rotation: {grace: 9999d}"), []string{"providers.acme.rotation.grace: 239976h0m0s does not lie between 0s and 8784h0m0s; write 0s where the previous one no longer works"}},
		"idle too long":         {under("refresh_token: {idle: 99999d, absolute: 1d}"), []string{"refresh_token.idle: 2399976h0m0s does not lie between 0s and 87840h0m0s; write 0s where it is not known"}},
		"absolute too long":     {under("refresh_token: {idle: 1d, absolute: 99999d}"), []string{"refresh_token.absolute: 2399976h0m0s does not lie between 0s and 87840h0m0s"}},
		"retention too long":    {"events: {retention: 100000d}", []string{"events.retention: 2400000h0m0s does not lie between 1h0m0s and 87840h0m0s"}},
		"a duration in numbers": {under("timeout: 20"), []string{"providers.acme.timeout: 20 has no unit; write one, as in 20s or 20m"}},
		"a duration too long":   {under("timeout: 9999999h"), []string{`providers.acme.timeout: "9999999h" is too long; the longest duration is 106751d`}},
		"days too long":         {under("default_lifetime: 106752d"), []string{`default_lifetime: "106752d" is too long; the longest duration is 106751d`}},
		"days and hours":        {"events: {retention: 106751d24h}", []string{`events.retention: "106751d24h" is too long; the longest duration is 106751d`}},
		"offline_reads long":    {"offline_reads: 9999999.5h1m", []string{`offline_reads: "9999999.5h1m" is too long`}},
		"fetch too long":        {"schedule: {fetch: '@every 9999999h'}", []string{`schedule.fetch: "@every 9999999h": "9999999h" is too long`}},
		"no duration":           {under("timeout: soon"), []string{`providers.acme.timeout: "soon" is not a duration; write one like 90s`}},
		"offline_reads":         {"offline_reads: -1s", []string{"offline_reads: it must not be negative"}},
		"offline_reads word":    {"offline_reads: never", []string{`offline_reads: "never" is not a duration`}},

		// The store
		"shards 0":             {"redis: {shards: 0}", []string{"redis.shards: 0 is not from 1 to 64"}},
		"redis cluster":        {"redis: {url: redis+cluster://h:1}", []string{"redis.url: redis+cluster:// is not supported by this version"}},
		"redis on port x":      {"redis: {url: 'redis://h:x'}", []string{"redis.url: it cannot be read as a URL with ports from 1 to 65535"}},
		"redis on a high port": {"redis: {url: 'redis://h:65536/0'}", []string{"redis.url: it cannot be read as a URL with ports"}},
		"a sentinel's port":    {"redis: {url: 'redis+sentinel://h:1,i:70000/m'}", []string{"redis.url: the list of sentinels cannot be read as hosts with ports from 1 to 65535"}},
		"a database's name":    {"listen: 127.0.0.1:1\nredis: {url: 'redis://u:pa55@h:1/pa55'}", []string{":2: redis.url: what follows the address must be a database number, as in redis://host:6379/0"}},
		"a database below 0":   {"redis: {url: 'redis://h:1/-1'}", []string{":1: redis.url: what follows the address must be a database number"}},
		"an option of redis":   {"redis: {url: 'redis://u:pa55@h:1/0?pa55=1'}", []string{":1: redis.url: it has options after the ? that go-redis does not know; remove them"}},
		"no master":            {"redis: {url: 'redis+sentinel://u:pa55@h:1'}", []string{":1: redis.url: it names no master; write redis+sentinel://"}},
		"no socket":            {"redis: {url: 'unix://'}", []string{":1: redis.url: it names no socket; write unix:///run/redis.sock"}},
		"redis without scheme": {"redis: {url: 'localhost:6379'}", []string{"redis.url: it does not begin with redis://"}},
		"data_dir empty":       {"data_dir: ''", []string{"data_dir: it is empty"}},
		"keyset empty":         {"keyset: {file: ''}", []string{"keyset.file: it is empty"}},
		"keyset is a folder":   {"keyset: {file: .}", []string{":1: keyset.file: ", " is not a regular file; name one that is, or one that is not there yet"}},

		// Providers
		"kind saml":              {"providers: {a: {kind: saml}}", []string{"providers.a.kind: saml is not supported by this version; supported: oauth2, http"}},
		"kind missing":           {"providers: {a: {token_url: https://x, client_id: x, client_auth: none}}", []string{"providers.a.kind: it is missing; write kind: oauth2"}},
		"a provider's name":      {"providers: {Acme: {kind: oauth2}}", []string{`providers.Acme: "Acme" is not a name`}},
		"a provider's long name": {"providers: {" + strings.Repeat("a", 33) + ": {kind: oauth2}}", []string{"is not a name; use 1 to 32"}},
		"private_key_jwt":        {strings.Replace(acme, "none", "private_key_jwt", 1), []string{"providers.acme.client_auth: private_key_jwt is not supported by this version; supported: basic, post, none"}},
		"client_secret_jwt":      {strings.Replace(acme, "none", "client_secret_jwt", 1), []string{"client_secret_jwt is not supported by this version"}},
		"tls client":             {strings.Replace(acme, "none", "tls", 1), []string{"tls is not supported by this version"}},
		"a secret is missing":    {strings.Replace(acme, "none", "post", 1), []string{"providers.acme.client_secret: it is missing, and client_auth post needs it", "{env: NAME}"}},
		"a secret too many":      {under("client_secret: x"), []string{"providers.acme.client_secret: client_auth none sends no secret; remove it"}},
		"no endpoint":            {"providers: {a: {kind: oauth2, client_id: x, client_auth: none}}", []string{"providers.a: neither issuer nor token_url is set"}},
		"no client_id":           {"providers: {a: {kind: oauth2, issuer: https://x.example, client_auth: none}}", []string{"providers.a.client_id: it is missing"}},
		"http:// token URL":      {strings.Replace(acme, "https://", "http://", 1), []string{"providers.acme.token_url: http://id.acme.example/token is not encrypted", "use https://"}},
		"http:// issuer":         {under("issuer: http://id.acme.example"), []string{"providers.acme.issuer: http://id.acme.example is not encrypted"}},
		"http:// revoke URL":     {under("revoke_url: http://id.acme.example"), []string{"providers.acme.revoke_url"}},
		"issuer with query":      {under("issuer: https://id.acme.example?x=1"), []string{"providers.acme.issuer: an issuer has no query"}},
		"metadata service":       {under("issuer: http://169.254.169.254/latest"), []string{"providers.acme.issuer: 169.254.169.254 is a link-local or metadata address"}},
		"a URL with a login":     {under("issuer: https://user:pa55@id.acme.example"), []string{"providers.acme.issuer: it holds a user or a password before the @"}},
		"kind http's section":    {under("login: {request: {method: POST, url: https://x.example}}"), []string{":7: providers.acme.login: it belongs to kind: http; remove it, or set kind: http"}},
		"session":                {under("session: {on_death: reauth}"), []string{"providers.acme.session: it belongs to kind: http"}},
		"concurrency":            {under("limits: {concurrency: 0}"), []string{"providers.acme.limits.concurrency: 0 is not from 1 to 10000; write how many calls may be under way at once, or leave it out for 16"}},
		"per_second in quotes":   {under("limits: {per_second: '1e-09'}"), []string{`per_second: "1e-09" is a text; write a number, without quotes`}},
		"shards with exponent":   {"redis: {shards: 1e1}", []string{`redis.shards: "1e1"`}},
		"per_second":             {under("limits: {per_second: 0}"), []string{"providers.acme.limits.per_second: 0 does not lie between 0.0001 and 100000; write how many calls one second may see, such as 0.5 for one in two seconds, or leave it out for 50"}},
		"a call in 30 years":     {under("limits: {per_second: 1e-9}"), []string{"providers.acme.limits.per_second: 1e-09 does not lie between 0.0001 and 100000"}},
		"two limits at once":     {under("limits: {concurrency: 10001, per_second: 100001}"), []string{"2 problems", "concurrency: 10001 is not from", "per_second: 100001 does not lie"}},
		"rotates":                {under("rotation: {rotates: maybe}"), []string{`providers.acme.rotation.rotates: "maybe" is not one of auto, yes, no`}},
		"class":                  {under("errors: [{status: 400, class: not_sent}]"), []string{`providers.acme.errors[0].class: "not_sent" is not one of permanent, transient`}},
		"no class":               {under("errors: [{status: 400}]"), []string{"providers.acme.errors[0].class: it is missing"}},
		"a rule for everything":  {under("errors: [{class: transient}]"), []string{"providers.acme.errors[0]: it would match every reply"}},
		"no status":              {under("errors: [{status: 99, class: transient}]"), []string{"providers.acme.errors[0].status: 99 is not an HTTP status; write one from 100 to 599"}},
		"proxy":                  {under("http: {proxy: 'pa55'}"), []string{"providers.acme.http.proxy: it is not the URL of a proxy"}},
		"ca_file":                {under("http: {ca_file: nothing.pem}"), []string{"providers.acme.http.ca_file", "nothing.pem: no such file or directory; name the file that has the certificates, or remove it"}},
		"ca_file with no CA":     {under("http: {ca_file: config.yaml}"), []string{"providers.acme.http.ca_file", "holds no certificate in PEM form; name one that does, or remove it"}},
		"ca_file is a folder":    {under("http: {ca_file: .}"), []string{"providers.acme.http.ca_file: ", " is not a regular file; name one that is"}},
		"ca_file below a file":   {under("http: {ca_file: config.yaml/x}"), []string{"config.yaml/x: not a directory; name a file that can be read"}},

		// Subscriptions
		"a subscription's name":   {strings.Replace(hook, "ui", "U I", 1) + "url: https://a.example", []string{`subscriptions[0].name: "U I" is not a name`}},
		"no subscription URL":     {hook, []string{"subscriptions[0].url: it is missing"}},
		"subscription format":     {hook + "url: https://a.example\n    format: nats", []string{"subscriptions[0].format: nats is not supported by this version; supported: webhook"}},
		"http:// subscription":    {hook + "url: http://a.example", []string{"subscriptions[0].url: http://a.example is not encrypted"}},
		"loopback subscription":   {hook + "url: http://127.0.0.1:8080", []string{"127.0.0.1 is not a public address; if it is meant, add it to network.allow"}},
		"private subscription":    {hook + "url: https://10.1.2.3", []string{"10.1.2.3 is not a public address"}},
		"weak subscription key":   {strings.Replace(hook, hookSecret, "c2hvcnQ=", 1) + "url: https://a.example", []string{"subscriptions[0].secret: it is not whsec_ and the base64 form of 24 to 64 bytes", "openssl rand"}},
		"no subscription key":     {strings.Replace(hook, "secret: "+hookSecret, "format: webhook", 1) + "url: https://a.example", []string{"subscriptions[0].secret: it is missing"}},
		"weak previous key":       {hook + "url: https://a.example\n    secrets: [c2hvcnQ=]", []string{"subscriptions[0].secrets[0]: it is not whsec_"}},
		"too many previous keys":  {hook + "url: https://a.example\n    secrets: [" + hookSecret + "," + hookSecret + "," + hookSecret + "," + hookSecret + "]", []string{"subscriptions[0].secrets: 4 previous secrets are too many"}},
		"a prefix that is none":   {hook + "url: https://a.example\n    prefix: 'a b'", []string{"subscriptions[0].prefix: it cannot start an ID"}},
		"a label's name":          {hook + "url: https://a.example\n    labels: {'a b': x}", []string{`subscriptions[0].labels: "a b" is not the name of a label`}},
		"retry at once":           {hook + "url: https://a.example\n    retry: [1s, 1ms]", []string{"subscriptions[0].retry[1]: 1ms does not lie between 10ms and 168h0m0s"}},
		"retry that is no list":   {hook + "url: https://a.example\n    retry: 1s", []string{"subscriptions[0].retry: a list is expected"}},
		"enabled in quotes":       {hook + "url: https://a.example\n    enabled: 'no'", []string{`subscriptions[0].enabled: "no" is a text; write true or false, without quotes`}},
		"enabled as a number":     {hook + "url: https://a.example\n    enabled: 2", []string{`subscriptions[0].enabled: "2" is neither true nor false; write one of them`}},
		"unknown event type":      {strings.Replace(hook, `"*"`, "credential.refresht", 1) + "url: https://a.example", []string{`subscriptions[0].types[0]: "credential.refresht" matches no event type`}},
		"unknown event family":    {strings.Replace(hook, `"*"`, `"credentials.*"`, 1) + "url: https://a.example", []string{`"credentials.*" matches no event type`}},
		"no event types":          {strings.Replace(hook, `"*"`, "", 1) + "url: https://a.example", []string{"subscriptions[0].types: it is missing"}},
		"unknown provider in one": {hook + "url: https://a.example\n    providers: [acme]", []string{`subscriptions[0].providers[0]: there is no provider "acme"`}},
		"cors: every origin":      {"cors: {origins: ['*']}", []string{":1: cors.origins[0]: a * would let in pages that nobody knows of"}},
		"cors: an origin twice":   {"cors:\n  origins:\n    - https://a.example\n    - https://a.example", []string{":4: cors.origins[1]: https://a.example is cors.origins[0] too"}},
		"cors: a text":            {"cors: '*'", []string{"cors: "}},
		"network.allow":           {"network: {allow: [localhost]}", []string{`network.allow[0]: "localhost" is not an address or a range`}},

		// The rest
		"listen without port":   {"listen: localhost", []string{`listen: "localhost" is not host:port`}},
		"listen on a high port": {"listen: localhost:65536", []string{`listen: 65536 is not a port; write one from 1 to 65535`}},
		"metrics_listen":        {"metrics_listen: x", []string{`metrics_listen: "x" is not host:port`}},
		"metrics on listen":     {"metrics_listen: 127.0.0.1:7420", []string{"metrics_listen: 127.0.0.1:7420 is the address of listen too"}},
		"log level":             {"log: {level: loud}", []string{`log.level: "loud" is not one of trace, debug, info, warn, error`}},
		"log format":            {"log: {format: xml}", []string{`log.format: "xml" is not one of json, console`}},
		"tls without key":       {"tls: {cert: x}", []string{"tls.key: it is missing beside tls.cert"}},
		"tls without cert":      {"tls: {key: x}", []string{"tls.cert: it is missing beside tls.key"}},
		"tls without files":     {"tls: {cert: no.crt, key: no.key}", []string{"no.crt: no such file or directory; name the file that has the certificate, or remove tls", "no.key: no such file or directory; name the file that has the certificate's key"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, row.text, row.want)
		})
	}
}

// TestOneFaultIsOneProblem: what follows from a problem is not told beside it, nor is
// what would not be true once it is gone.
func TestOneFaultIsOneProblem(t *testing.T) {
	t.Parallel()
	const shop = "providers: {shop: {kind: http, login: {request: {method: POST, url: https://shop.example, "
	for name, row := range map[string]struct{ text, want string }{
		"a status as a class":       {under("errors: [{status: 4xx, class: transient}]"), `errors[0].status: "4xx" is a text`},
		"a status as a quoted text": {under("errors: [{status: '400', class: transient}]"), `errors[0].status: "400" is a text`},
		"a misspelt condition":      {under("errors: [{eror: x, class: transient}]"), "errors[0].eror: there is no such key"},
		"a misspelt class":          {under("errors: [{error: x, kind: transient}]"), "errors[0].kind: there is no such key"},
		"a misspelt client_id":      {strings.Replace(acme, "client_id", "clientid", 1), "providers.acme.clientid: there is no such key"},
		"a misspelt token_url":      {strings.Replace(acme, "token_url", "tokenurl", 1), "providers.acme.tokenurl: there is no such key"},
		"a misspelt place":          {shop + "form: {p: '{{.password}}'}}, response: {acces_token: t}}}}", "login.response.acces_token: there is no such key"},
		"a template as a name":      {shop + "form: {'{{.username}}': '{{.password}}'}}, response: {access_token: t}}}}", "login.request.form: a name in it holds {{, and templates stand in values only; write the name out"},
		"one as a query's name":     {shop + "query: {'{{.username}}': a}, form: {p: '{{.password}}'}}, response: {access_token: t}}}}", "login.request.query: a name in it holds {{"},
		"commit too long":           {acme + "recovery: {commit: 9999d}", "recovery.commit: 239976h0m0s does not lie between 100ms and 1m0s"},
		"margin too long":           {acme + "recovery: {margin: 9999d}", "recovery.margin: 239976h0m0s does not lie between"},
		"quarantine below 0":        {acme + "recovery: {quarantine: -1s}", "recovery.quarantine: -1s does not lie between 1s and 168h0m0s; leave it out for 10m"},
		"a misspelt name":           {"subscriptions: [{nam: ui}]", "subscriptions[0].nam: there is no such key"},
		"an origin in brackets":     {"cors: {origins: [https://a.example:443]}", "cors.origins[0]: a single value is expected, not a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, row.text, []string{"the configuration has a problem:", row.want})
		})
	}
}

// TestNegativeDurations: no key takes one, and the remedy is one that is taken.
func TestNegativeDurations(t *testing.T) {
	t.Parallel()
	const session = "providers: {shop: {kind: http, session: {idle_timeout: 15m, extend: {request: {method: GET, url: https://shop.example}}, "
	rows := map[string]struct{ text, want string }{
		"schedule.min_interval":     {"schedule: {min_interval: -1s}", "-1s does not lie between 0s and 1m0s; leave it out"},
		"recovery.quarantine":       {"recovery: {quarantine: -1s}", "-1s does not lie between 1s and 168h0m0s; leave it out"},
		"recovery.silence":          {"recovery: {silence: -1s}", "-1s does not lie between 1s and 5m0s; leave it out"},
		"recovery.send":             {"recovery: {send: -1s}", "-1s does not lie between 100ms and 1m0s; leave it out"},
		"recovery.commit":           {"recovery: {commit: -1s}", "-1s does not lie between 100ms and 1m0s; leave it out"},
		"recovery.margin":           {"recovery: {margin: -1s}", "-1s does not lie between 100ms and 1m0s; leave it out"},
		"events.retention":          {"events: {retention: -1s}", "-1s does not lie between 1h0m0s and 87840h0m0s; leave it out"},
		"offline_reads":             {"offline_reads: -1s", "it must not be negative; write 0s"},
		"acme.timeout":              {under("timeout: -1s"), "-1s does not lie between 1s and 5m0s; leave it out"},
		"acme.default_lifetime":     {under("default_lifetime: -1s"), "-1s does not lie between 1s and 8784h0m0s; leave it out"},
		"acme.rotation.grace":       {under("rotation: {grace: -1s}"), "-1s does not lie between 0s and 8784h0m0s; write 0s"},
		"refresh_token.idle":        {under("refresh_token: {idle: -1s}"), "-1s does not lie between 0s and 87840h0m0s; write 0s"},
		"refresh_token.absolute":    {under("refresh_token: {absolute: -1s}"), "-1s does not lie between 0s and 87840h0m0s; write 0s"},
		"session.idle_timeout":      {strings.Replace(session, "15m", "-1s", 1) + "}}}", "-1s does not lie between 1s and 8784h0m0s; say after how long"},
		"session.absolute_timeout":  {session + "absolute_timeout: -1s}}}", "-1s does not lie between 0s and 87840h0m0s; write 0s"},
		"session.warn_before":       {session + "warn_before: -1s}}}", "-1s does not lie between 0s and 8784h0m0s; write 0s"},
		"subscriptions[0].retry[0]": {hook + "url: https://a.example\n    retry: [-1s]", "-1s does not lie between 10ms and 168h0m0s; leave retry out"},
	}
	assert.Len(t, rows, durations(reflect.TypeFor[Config]()), "a row for each key")
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, row.text, []string{"the configuration has a problem:", name + ": " + row.want})
		})
	}
}

// durations counts the keys that hold a duration, in a type and below it.
func durations(t reflect.Type) int {
	switch kind := t.Kind(); {
	case kind == reflect.Map, kind == reflect.Slice:
		return durations(t.Elem())
	case kind == reflect.Struct:
		n := 0
		for _, f := range fieldsOf(t) {
			n += durations(t.Field(f.index).Type)
		}
		return n
	case t == reflect.TypeFor[time.Duration](), t == reflect.TypeFor[OfflineReads]():
		return 1
	default:
		return 0
	}
}

// refused loads a file that must not be used, and looks at what is said.
func refused(t *testing.T, text string, wants []string) {
	t.Helper()
	path := write(t, text)
	_, err := Load(path, nil, nil)
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	for _, want := range wants {
		require.ErrorContains(t, err, want)
	}
	for _, p := range invalid.Problems {
		assert.True(t, strings.HasPrefix(p.Where, path), "%s: says where", p)
		assert.NotContains(t, p.String(), "\n", "it is one line")
	}
	assert.NotContains(t, err.Error(), "pa55")
}

// TestSecretsThatCannotBeUsed: where a secret comes from is checked, and what
// it is never shown.
func TestSecretsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	loop := filepath.Join(dir, "loop")
	require.NoError(t, os.Symlink(loop, loop))
	lines, blanks := put("lines", "pa55\npa55\n", 0o600), put("blanks", " \t \n", 0o600)
	for name, row := range map[string]struct{ secret, want string }{
		"environment variable not set":  {"{env: NOWHERE}", "the environment variable NOWHERE is not set; set it, or use {file: path}"},
		"environment variable is empty": {"{env: EMPTY}", "the environment variable EMPTY is empty; give it a value"},
		"file that others can read":     {"{file: " + put("world", "pa55", 0o644) + "}", "can be read or written by others (mode 0644); run: chmod 600 " + filepath.Join(dir, "world")},
		"file that the group can read":  {"{file: " + put("group", "pa55", 0o640) + "}", "(mode 0640); run: chmod 600"},
		"file that is missing":          {"{file: /nonexistent/x}", "/nonexistent/x: no such file or directory; write the secret into that file and run: chmod 600 /nonexistent/x, or name the file that has it"},
		"file that is empty":            {"{file: " + put("empty", "\n", 0o600) + "}", "is empty; write the secret into it"},
		"file of two lines":             {"{file: " + lines + "}", "the file " + lines + " holds a line break or another control character; give the secret as a single line"},
		"file of blanks":                {"{file: " + blanks + "}", "the file " + blanks + " holds nothing but blanks; write the secret into it"},
		"file that is its own link":     {"{file: " + loop + "}", loop + ": too many levels of symbolic links; name a file that can be read"},
		"file below a file":             {"{file: " + lines + "/x}", lines + "/x: not a directory; name a file that can be read"},
		"variable of two lines":         {"{env: LINES}", "the environment variable LINES holds a line break or another control character"},
		"variable of blanks":            {"{env: BLANKS}", "the environment variable BLANKS holds nothing but blanks; give it a value"},
		"blanks":                        {"'  '", "client_secret: it holds nothing but blanks; write {env: NAME} or {file: path}"},
		"file too large":                {"{file: " + put("large", strings.Repeat("pa55", maxSecret), 0o600) + "}", "larger than"},
		"a pipe":                        {"{file: " + pipe + "}", pipe + " is not a regular file; name one that is"},
		"a folder":                      {"{file: " + dir + "}", dir + " is not a regular file; name one that is"},
		"both":                          {"{env: A, file: b}", "either env or file, not both"},
		"neither":                       {"{}", "it is empty; write {env: NAME} or {file: path}"},
		"another key":                   {"{value: pa55}", "client_secret.value: there is no such key; a secret is {env: NAME}"},
		"a mistyped key":                {"{fil: x}", "client_secret.fil: there is no such key; a secret is {env: NAME}, {file: path} or a plain value"},
		"a key that is a list":          {"{[a]: x}", "it is not valid YAML"},
		"a merge key":                   {"{<<: x}", "a key must be plain text"},
		"a name that is missing":        {"{env: }", "client_secret.env: write a name"},
		"a name that is a list":         {"{file: [pa55]}", "client_secret.file: write a name"},
		"a list":                        {"[pa55]", "not a list"},
		"a truth":                       {"true", "not a single value"},
		"control characters":            {`"pa55\n"`, "control character"},
		"nothing":                       {"", "it has no value"},
		"broken YAML":                   {"'pa55", "could not find end character"},
		"broken YAML on the next line":  {"pa55\n   pa55: x", "it is not valid YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(write(t, strings.Replace(acme, "client_auth: none", "client_secret: "+row.secret, 1)), []string{"EMPTY=", "A=pa55", "BLANKS= \t", "LINES=pa55\npa55"}, nil)
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, "the configuration has a problem:", "one fault is one problem")
			assert.NotContains(t, err.Error(), "pa55")
			assert.NotContains(t, err.Error(), "and client_auth basic needs it", "not said twice")
		})
	}
}

func TestKeyFilesThatOthersCanRead(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	path := write(t, "keyset: {file: keyset.json}\ntls: {cert: tls.crt, key: tls.key}", "keyset.json", "{}", "tls.crt", cert, "tls.key", key)
	_, err := Load(path, nil, nil)
	require.NoError(t, err)
	for _, name := range []string{"keyset.json", "tls.key"} {
		require.NoError(t, os.Chmod(filepath.Join(filepath.Dir(path), name), 0o644)) //nolint:gosec // that is what is to be refused
	}
	_, err = Load(path, nil, nil)
	require.ErrorContains(t, err, ":1: keyset.file: the file "+filepath.Join(filepath.Dir(path), "keyset.json")+" can be read or written by others (mode 0644); run: chmod 600")
	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(path), "keyset.json")))
	require.NoError(t, os.Symlink("keyset.json", filepath.Join(filepath.Dir(path), "keyset.json")))
	_, looped := Load(path, nil, nil)
	require.ErrorContains(t, looped, "keyset.json: too many levels of symbolic links; name a file that is none of these links, or one that is not there yet")
	require.ErrorContains(t, err, ":2: tls.key: the file "+filepath.Join(filepath.Dir(path), "tls.key")+" can be read")
}

func TestCertificateOfAnotherKey(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t)
	_, key := certificate(t)
	_, err := Load(write(t, "tls: {cert: a, key: b}", "a", cert, "b", key), nil, nil)
	require.ErrorContains(t, err, "are not a certificate and its key")
	assert.NotContains(t, err.Error(), "PRIVATE KEY-----")
}
