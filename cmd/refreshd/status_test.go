package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Credentials whose provider the configuration does not have are easily forgotten.
func TestStatusTellsOfCredentialsWithoutAProvider(t *testing.T) {
	t.Parallel()
	var told bytes.Buffer
	p := &program{errOut: &told}
	require.NoError(t, p.sayPaused([]byte(`{"unconfigured_providers": [{"name": "auto", "credentials": 3}]}`)))
	assert.Equal(t, "refreshd: live credentials belong to provider auto, which the configuration does not have, and are kept as they are, not refreshed: 3; "+
		"put it back, or delete what refreshd list --provider auto shows\n", told.String())
}
