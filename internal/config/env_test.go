package config

import (
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestEnvironmentOverrides(t *testing.T) {
	t.Parallel()
	path := write(t, strings.Replace(acme, "acme:", "my-acme:", 1)+"    errors: [{status: 400, class: transient}]\n"+hook+"url: https://a.example\n")
	got, err := Load(path, []string{
		"REFRESHD_LISTEN=127.0.0.1:1", "REFRESHD_DATA_DIR=elsewhere", "REFRESHD_REDIS_URL=redis://u:pa55@h:1", "REFRESHD_REDIS_SHARDS=4",
		"REFRESHD_SCHEDULE_FETCH=@every 1h", "REFRESHD_SCHEDULE_REFRESH_AT=0.5", "REFRESHD_OFFLINE_READS=30s", "REFRESHD_EVENTS_RETENTION=2d",
		"REFRESHD_PROVIDERS_MY_ACME_CLIENT_SECRET=s3cr3t", "REFRESHD_PROVIDERS_MY_ACME_CLIENT_AUTH=post", "REFRESHD_PROVIDERS_MY_ACME_ROTATION_ROTATES=no",
		"REFRESHD_PROVIDERS_MY_ACME_ERRORS_0_STATUS=401", "REFRESHD_SUBSCRIPTIONS_0_URL=https://b.example", "REFRESHD_LOG_FORMAT=console",
		"REFRESHD_URL=https://x", "REFRESHD_KEY=k", "REFRESHD_CONFIG=c", "REFRESHD_REQUIRE_REDIS=1", "REFRESHD_SOAK=1", "REFRESHD_NO_RACE=1", "HOME=/",
	}, nil)
	require.NoError(t, err)
	assert.Len(t, got.Warnings, 1)
	assert.Contains(t, got.Warnings[0], "subscriptions[0].secret", "a plain secret in the file; those of the environment are not warned about")
	assert.Equal(t, "127.0.0.1:1", got.Listen)
	assert.Equal(t, strings.Replace(path, "config.yaml", "elsewhere", 1), got.DataDir)
	assert.Equal(t, "redis://u:pa55@h:1", got.Redis.URL.Reveal())
	assert.Equal(t, 4, got.Redis.Shards)
	assert.Equal(t, "@every 1h", got.Schedule.Fetch.String())
	p := got.Providers["my-acme"]
	assert.Equal(t, "@every 1h", p.Fetch.String())
	assert.Equal(t, "s3cr3t", p.ClientSecret.Reveal())
	assert.Equal(t, "post", p.ClientAuth)
	assert.Equal(t, credential.RotatesNo, p.Rotation.Rotates)
	assert.Equal(t, 401, p.Errors[0].Status)
	assert.Equal(t, "https://b.example", got.Subscriptions[0].URL)
}

func TestEnvironmentThatIsWrong(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"REFRESHD_REDIS_URL=":                                 "environment variable REFRESHD_REDIS_URL: redis.url: the variable is set, and there is nothing in it; unset it",
		"REFRESHD_REDIS_URL=  ":                               "environment variable REFRESHD_REDIS_URL: redis.url: the variable is set, and there is nothing in it; unset it",
		"REFRESHD_REDIS_SHARDS=four":                          `environment variable REFRESHD_REDIS_SHARDS: redis.shards: "four" is not a whole number`,
		"REFRESHD_REDIS_SHARDS=65":                            "environment variable REFRESHD_REDIS_SHARDS: redis.shards: 65 is not from 1 to 64",
		"REFRESHD_REDIS_URL=pa55":                             "environment variable REFRESHD_REDIS_URL: redis.url: it does not begin with",
		"REFRESHD_SCHEDULE_FETCH=@every 1m":                   "environment variable REFRESHD_SCHEDULE_FETCH: schedule.fetch",
		"REFRESHD_SCHEDULE_JITTER=Inf":                        `schedule.jitter: "Inf" is not a number; write one in digits, such as 0.5`,
		"REFRESHD_PROVIDERS_ACME_KIND=http":                   "config.yaml:4: providers.acme.token_url: it belongs to kind: oauth2; remove it",
		"REFRESHD_PROVIDERS_ACME_TIMEOUT=1h":                  "environment variable REFRESHD_PROVIDERS_ACME_TIMEOUT: providers.acme.timeout: 1h0m0s does not lie between",
		"REFRESHD_PROVIDERS_ACME_LOGIN_REQUEST_URL=https://x": "providers.acme.login: it belongs to kind: http",
	} {
		_, err := Load(write(t, acme), []string{variable}, nil)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "pa55")
	}
}

func TestUnknownVariablesAreWarnedAbout(t *testing.T) {
	t.Parallel()
	got, err := Load(write(t, strings.Replace(acme, "client_auth: none", "client_secret: {env: REFRESHD_MY_SECRET}", 1)),
		[]string{"REFRESHD_MY_SECRET=s3cr3t", "REFRESHD_LOG_LEVL=pa55", "REFRESHD_PROVIDERS_OTHER_CLIENT_ID=x", "REFRESHD_CORS=x", "REFRESHD_=x", "REFRESHD"}, nil)
	require.NoError(t, err)
	require.Len(t, got.Warnings, 4)
	assert.Contains(t, got.Warnings[0], "REFRESHD_: nothing reads")
	assert.Contains(t, got.Warnings[1], "REFRESHD_CORS: nothing reads")
	assert.Contains(t, got.Warnings[2], "REFRESHD_LOG_LEVL: nothing reads")
	assert.Contains(t, got.Warnings[3], "providers and subscriptions must be in the file")
	assert.NotContains(t, strings.Join(got.Warnings, ""), "pa55")
}

func TestVariableThatCouldMeanTwoKeys(t *testing.T) {
	t.Parallel()
	text := acme + "  acme-session-idle: {kind: oauth2, token_url: https://x.example, client_id: x, client_auth: none}\n"
	_, err := Load(write(t, text), []string{"REFRESHD_PROVIDERS_ACME_SESSION_IDLE_TIMEOUT=30s"}, nil)
	require.ErrorContains(t, err, "providers.acme-session-idle.timeout: the environment variable REFRESHD_PROVIDERS_ACME_SESSION_IDLE_TIMEOUT could mean this key or providers.acme.session.idle_timeout; rename the provider")
}

// TestEveryScalarHasAVariable sets each in turn to what it is by default and
// expects no word about an unknown variable.
func TestEveryScalarHasAVariable(t *testing.T) {
	t.Parallel()
	var names []string
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, key string) {
		switch shapeOf(typ) {
		case scalar:
			names = append(names, envName(key))
		case mapping, either:
			for _, f := range fieldsOf(typ) {
				if f.remedy == "" {
					walk(typ.Field(f.index).Type, join(key, f.key))
				}
			}
		case table:
			if typ.Elem() == reflect.TypeFor[Provider]() { // the other tables are empty in the file
				walk(typ.Elem(), join(key, "acme"))
			}
		case free:
		case list:
			if key == "subscriptions" || key == "providers.acme.errors" {
				walk(typ.Elem(), key+"[0]")
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	assert.Greater(t, len(names), 200)
	path := write(t, acme+"    errors: [{status: 400, class: transient}]\n"+hook+"url: https://a.example\n")
	for i, name := range names {
		c, err := Load(path, []string{name + "=" + strconv.Itoa(i)}, nil)
		if err == nil {
			assert.NotContains(t, strings.Join(c.Warnings, "\n"), name)
			continue
		}
		if strings.HasPrefix(name, "REFRESHD_TLS_") {
			assert.ErrorContains(t, err, "it is missing beside tls.")
			continue
		}
		assert.ErrorContains(t, err, name, "refused for its value, so it was read")
	}
}
