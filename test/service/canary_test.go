package service

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canaries finds secrets, in every form in which one may leak, in heaps of
// data. What it reports names the secret and the form, never the secret.
type canaries struct {
	heads map[uint64][]canary // by the first eight bytes of the form
	count int
}

type canary struct {
	name string
	form string
	text []byte
}

func newCanaries() *canaries { return &canaries{heads: map[uint64][]canary{}} }

// add looks for one more secret of eight bytes or more.
func (c *canaries) add(name, secret string) {
	c.count++
	for form, text := range formsOf(secret) {
		head := binary.BigEndian.Uint64([]byte(text))
		c.heads[head] = append(c.heads[head], canary{name: name, form: form, text: []byte(text)})
	}
}

// formsOf returns the texts under which a secret may show.
func formsOf(secret string) map[string]string {
	forms := map[string]string{
		"raw":        secret,
		"hex":        hex.EncodeToString([]byte(secret)),
		"HEX":        strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"query":      url.QueryEscape(secret),
		"path":       url.PathEscape(secret),
		"Go's bytes": strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"),
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for ahead := range 3 {
			// What stands before and behind the secret shares characters with
			// it; those are left out.
			padded := append(make([]byte, ahead), secret...)
			text := encoding.EncodeToString(padded)
			forms[fmt.Sprintf("%s behind %d bytes", name, ahead)] = text[(ahead*8+5)/6 : len(padded)*8/6]
		}
	}
	return forms
}

// find returns what is in the heap, by name and form.
func (c *canaries) find(heap []byte) []string {
	found := map[string]bool{}
	var head uint64
	for i, b := range heap {
		head = head<<8 | uint64(b)
		if i < 7 {
			continue
		}
		for _, one := range c.heads[head] {
			if bytes.HasPrefix(heap[i-7:], one.text) {
				found[one.name+" as "+one.form] = true
			}
		}
	}
	list := make([]string, 0, len(found))
	for what := range found {
		list = append(list, what)
	}
	return list
}

// Whatever form a canary is planted in, and wherever, the search finds it.
func TestThePlantedCanaryIsFound(t *testing.T) {
	t.Parallel()
	const secret = "rt_a secret+with/every%kind=of?character~0123456789"
	c := newCanaries()
	c.add("planted", secret)
	noise := func(n int) []byte {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(rand.IntN(256)) //nolint:gosec // it fits
		}
		return data
	}
	assert.Empty(t, c.find(noise(1<<16)))
	for form, text := range formsOf(secret) {
		heap := bytes.Join([][]byte{noise(1001), []byte(text), noise(1001)}, nil)
		found := c.find(heap)
		require.NotEmpty(t, found, form)
		assert.NotContains(t, strings.Join(found, " "), secret)
	}
	// As a library would encode it, within something longer.
	for ahead := range 7 {
		text := bytes.Join([][]byte{noise(ahead), []byte(secret), noise(5)}, nil)
		assert.NotEmpty(t, c.find([]byte(base64.StdEncoding.EncodeToString(text))))
		assert.NotEmpty(t, c.find([]byte(base64.URLEncoding.EncodeToString(text))))
		assert.NotEmpty(t, c.find([]byte(hex.EncodeToString(text))))
	}
}
