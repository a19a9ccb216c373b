package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// shapes are what tokens of the practice provider look like, raw and in hex:
// a token is found though nobody knew of it.
var shapes = regexp.MustCompile(`[ar]t_[0-9A-Za-z]{32}|(?i:[67][12]745f(?:[3-7][0-9a-f]){32})`)

// Canaries finds secrets, in every form in which one may leak, in heaps of
// data. What it reports names the secret and the form, never the secret.
type Canaries struct {
	Count int // of secrets

	heads map[uint64][]canary // by the first eight bytes of the form
}

type canary struct {
	name string
	form string
	text []byte
}

// NewCanaries looks for nothing yet, but what has a token's shape.
func NewCanaries() *Canaries { return &Canaries{heads: map[uint64][]canary{}} }

// Add looks for one more secret of eight bytes or more.
func (c *Canaries) Add(name, secret string) {
	c.Count++
	for form, text := range Forms(secret) {
		head := binary.BigEndian.Uint64([]byte(text))
		c.heads[head] = append(c.heads[head], canary{name: name, form: form, text: []byte(text)})
	}
}

// Forms returns the texts under which a secret may show.
func Forms(secret string) map[string]string {
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

// Find returns what is in the heap, by name and form, in order.
func (c *Canaries) Find(heap []byte) []string {
	found := map[string]bool{}
	heap = bytes.ReplaceAll(heap, make([]byte, 1<<12), nil) // files have room that nothing was written to yet
	if shapes.Match(heap) {
		found["something of a token's shape"] = true
	}
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
	slices.Sort(list)
	return list
}
