package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func noise(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rand.IntN(256)) //nolint:gosec // it fits
	}
	return data
}

// Whatever form a canary is planted in, and wherever, the search finds it.
func TestThePlantedCanaryIsFound(t *testing.T) {
	t.Parallel()
	const secret = "rt_a secret+with/every%kind=of?character~0123456789"
	c := NewCanaries()
	c.Add("planted", secret)
	assert.Empty(t, c.Find(noise(1<<16)))
	for form, text := range Forms(secret) {
		heap := bytes.Join([][]byte{noise(1001), []byte(text), noise(1001)}, nil)
		found := c.Find(heap)
		require.NotEmpty(t, found, form)
		assert.NotContains(t, strings.Join(found, " "), secret)
	}
	// As a library would encode it, within something longer.
	for ahead := range 7 {
		text := bytes.Join([][]byte{noise(ahead), []byte(secret), noise(5)}, nil)
		assert.NotEmpty(t, c.Find([]byte(base64.StdEncoding.EncodeToString(text))))
		assert.NotEmpty(t, c.Find([]byte(base64.URLEncoding.EncodeToString(text))))
		assert.NotEmpty(t, c.Find([]byte(hex.EncodeToString(text))))
	}
}

// A token that nobody added is found by its shape.
func TestATokenIsFoundByItsShape(t *testing.T) {
	t.Parallel()
	c := NewCanaries()
	for _, token := range []string{"at_0123456789abcdefghijklmnopqrstuv", "rt_ZZZZ456789abcdefghijklmnopqrstuv"} {
		for _, text := range []string{token, hex.EncodeToString([]byte(token)), strings.ToUpper(hex.EncodeToString([]byte(token)))} {
			heap := bytes.Join([][]byte{noise(500), []byte(text), noise(500)}, nil)
			assert.Equal(t, []string{"something of a token's shape"}, c.Find(heap), text)
		}
	}
	assert.Empty(t, c.Find([]byte("at_short rt_also-not-one part_of_a_word_that_goes_on_and_on")))
}
