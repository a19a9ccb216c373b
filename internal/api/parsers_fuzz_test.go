package api

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzCredentialID compares what is taken for an ID in a path with the grammar
// that the documents give, and with what a key that is bound to a prefix may
// reach.
func FuzzCredentialID(f *testing.F) {
	f.Add("github:alice", "")
	f.Add("team-a:1", "team-a:")
	f.Add("{refresh-00}", "")
	grammar := regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\z`)
	f.Fuzz(func(t *testing.T, text, prefix string) {
		id, p := credentialID(&Key{Prefix: prefix}, text)
		allowed := grammar.MatchString(text) && !strings.HasPrefix(text, "client:") && strings.HasPrefix(text, prefix)
		require.Equal(t, allowed, p == nil, "%q under %q: %v", text, prefix, p)
		if p != nil {
			require.Contains(t, []int{403, 422}, p.Status)
			require.Empty(t, id)
			return
		}
		require.Equal(t, text, string(id))
	})
}

// FuzzSpan: what is taken for a duration lies within its bounds, and means the
// same when it is written as Go writes it.
func FuzzSpan(f *testing.F) {
	f.Add("60s", int64(time.Hour))
	f.Add("-1", int64(time.Hour))
	f.Add("1e400", int64(1))
	f.Fuzz(func(t *testing.T, text string, limit int64) {
		most := max(time.Duration(limit), 0)
		span, p := parseSpan("query.x", text, most)
		if p != nil {
			require.Equal(t, 422, p.Status)
			require.NotContains(t, p.Detail, "\n")
			require.Zero(t, span)
			return
		}
		require.GreaterOrEqual(t, span, time.Duration(0))
		require.LessOrEqual(t, span, most)
		again, p := parseSpan("query.x", span.String(), most)
		require.Nil(t, p, "%q became %s", text, span)
		require.Equal(t, span, again)
	})
}
