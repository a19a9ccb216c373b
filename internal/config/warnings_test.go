package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWarnings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"listen: 0.0.0.0:7420":                                        "config.yaml:1: listen: 0.0.0.0:7420 can be reached from outside without TLS",
		"listen: :7420":                                               "config.yaml:1: listen: :7420 can be reached from outside",
		"network: {allow: [0.0.0.0/0]}":                               "network.allow[0]: 0.0.0.0/0 allows every address",
		"network: {allow: [10.0.0.5/8]}":                              "config.yaml:1: network.allow[0]: 10.0.0.5/8 allows all of 10.0.0.0/8, not 10.0.0.5 alone; write 10.0.0.0/8 if that is meant, else 10.0.0.5",
		"redis: {url: 'redis://u:pa55@h:1'}":                          "redis.url: a secret is written into the file; use {env: NAME} or {file: path}",
		"redis: {url: 'redis+sentinel://h/m?sentinel_password=pa55'}": "redis.url: a secret is written into the file",
		under("rotation: {grace: 25s}"):                               "providers.acme.rotation.grace: 25s is not longer than timeout 20s + 5s",
	} {
		got, err := Load(write(t, text), nil, nil)
		require.NoError(t, err, text)
		if assert.Len(t, got.Warnings, 1, text) {
			assert.Contains(t, got.Warnings[0], want)
			assert.NotContains(t, got.Warnings[0], "pa55")
		}
	}
	for _, text := range []string{"listen: localhost:1", "redis: {url: redis://h:1}", "redis: {url: redis://u@h:1}", under("rotation: {grace: 26s}"), "network: {allow: [10.0.0.0/8, 10.0.0.5]}"} {
		got, err := Load(write(t, text), nil, nil)
		require.NoError(t, err, text)
		assert.Empty(t, got.Warnings, text)
	}
}
