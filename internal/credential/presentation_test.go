package credential_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// However a presentation is shown, what is presented is not, and one that
// holds functions does not get into a queue or a log as JSON at all.
func TestPresentationIsNotShown(t *testing.T) {
	t.Parallel()
	p := credential.Presentation{Refresh: credential.NewSecret("RT-canary"), MaySend: func() error { return nil }}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		assert.NotContains(t, fmt.Sprintf(verb, p), "RT-canary")
		assert.NotContains(t, fmt.Sprintf(verb, &p), "RT-canary")
		assert.NotContains(t, fmt.Sprintf(verb, p), fmt.Sprintf("%x", "RT-canary"))
	}
	_, err := json.Marshal(p) //nolint:errchkjson // this is what the test is about
	var unsupported *json.UnsupportedTypeError
	require.ErrorAs(t, err, &unsupported)
}
