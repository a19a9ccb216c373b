package credential_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// However a presentation is shown, what is presented is not.
func TestPresentationIsNotShown(t *testing.T) {
	t.Parallel()
	p := credential.Presentation{Token: credential.Token{Refresh: credential.NewSecret("RT-canary")}, MaySend: func() error { return nil }}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		assert.NotContains(t, fmt.Sprintf(verb, p), "RT-canary")
		assert.NotContains(t, fmt.Sprintf(verb, &p), "RT-canary")
		assert.NotContains(t, fmt.Sprintf(verb, p), fmt.Sprintf("%x", "RT-canary"))
	}
}
