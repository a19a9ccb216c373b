package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/client"
)

// refusedError is an error as a GraphQL server gives it for want of a token.
const refusedError = `{"message":"who are you?","path":["me"],"extensions":{"code":"UNAUTHENTICATED"}}`

// trackedBody counts what is read of it, and whether it was closed.
type trackedBody struct {
	io.Reader

	read   int
	closed int
}

func (b *trackedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *trackedBody) Close() error {
	b.closed++
	return nil
}

// jsonReply is a response whose body is tracked.
type jsonReply struct {
	*http.Response

	tracked *trackedBody
}

func jsonResponse(body io.Reader) jsonReply {
	tracked := &trackedBody{Reader: body}
	return jsonReply{tracked: tracked, Response: &http.Response{
		StatusCode: http.StatusOK, ContentLength: -1, Body: tracked,
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
	}}
}

// refused reports the verdict of RejectGraphQL.
func (r jsonReply) refused() bool { return client.RejectGraphQL(r.Response) }

func TestRejectGraphQL(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		body string
		want bool
	}{
		"errors alone":               {`{"errors":[` + refusedError + `]}`, true},
		"errors first":               {`{"errors":[` + refusedError + `],"data":null}`, true},
		"data first, null":           {`{"data":null,"errors":[` + refusedError + `]}`, true},
		"data first, partly there":   {`{"data":{"me":null,"shop":{"name":"a]}\"\\"}},"errors":[` + refusedError + `]}`, true},
		"second error":               {`{"errors":[{"message":"no"},` + refusedError + `]}`, true},
		"extensions before":          {`{"extensions":{"cost":{"n":[1,2]}},"errors":[` + refusedError + `]}`, true},
		"code among others":          {`{"errors":[{"extensions":{"at":{"code":"X"},"code":"UNAUTHENTICATED","z":1}}]}`, true},
		"escaped names":              {`{"\u0065rrors":[{"extension\u0073":{"co\u0064e":"UN\u0041UTHENTICATED"}}]}`, true},
		"spaces":                     {" \r\n\t{ \"errors\" : [ { \"extensions\" : { \"code\" : \"UNAUTHENTICATED\" } } ] } ", true},
		"batch":                      {`[{"data":{"a":1}},{"errors":[{"message":"x"}]},{"data":null,"errors":[` + refusedError + `]}]`, true},
		"cut off after the code":     {`{"errors":[{"extensions":{"code":"UNAUTHENTICATED"`, true},
		"errors null first":          {`{"errors":null,"data":{"a":1}}`, false},
		"another code":               {`{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, false},
		"longer code":                {`{"errors":[{"extensions":{"code":"UNAUTHENTICATED_NOT"}}]}`, false},
		"lower case":                 {`{"errors":[{"extensions":{"code":"unauthenticated"}}]}`, false},
		"code in the message":        {`{"errors":[{"message":"\"code\":\"UNAUTHENTICATED\"","extensions":{}}]}`, false},
		"code in the data":           {`{"data":{"errors":[` + refusedError + `]}}`, false},
		"code beside the extensions": {`{"errors":[{"code":"UNAUTHENTICATED"}]}`, false},
		"code too deep":              {`{"errors":[{"extensions":{"x":{"code":"UNAUTHENTICATED"}}}]}`, false},
		"code is no string":          {`{"errors":[{"extensions":{"code":{"UNAUTHENTICATED":1}}}]}`, false},
		"errors is an object":        {`{"errors":{"extensions":{"code":"UNAUTHENTICATED"}}}`, false},
		"data alone":                 {`{"data":{"a":[1,-2.5e3,true,false,null,"x"]}}`, false},
		"empty":                      {``, false},
		"no object":                  {`"errors"`, false},
		"cut off before":             {`{"errors":[{"extensions":{"code":"UNAUTHENTICATED`, false},
		"unbalanced":                 {`{"data":]}],"errors":[` + refusedError + `]}`, false},
		"not JSON after all":         {`<html>"errors":[` + refusedError + `]</html>`, false},
		"lone quote":                 {`{"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, reader := range map[string]func(io.Reader) io.Reader{
				"whole":             func(r io.Reader) io.Reader { return r },
				"byte by byte":      iotest.OneByteReader,
				"end with the data": iotest.DataErrReader,
			} {
				res := jsonResponse(reader(strings.NewReader(row.body)))
				assert.Equal(t, row.want, res.refused(), how)
				all, err := io.ReadAll(res.Body)
				require.NoError(t, err, how)
				assert.Equal(t, row.body, string(all), how)
				require.NoError(t, res.Body.Close())
				assert.Equal(t, 1, res.tracked.closed, how)
			}
		})
	}
}

func TestRejectGraphQLLooksAtJSONOnly(t *testing.T) {
	t.Parallel()
	body := `{"errors":[` + refusedError + `]}`
	for name, row := range map[string]struct {
		status      int
		contentType string
		encoding    string
		want        bool
	}{
		"json":                    {200, "application/json", "", true},
		"graphql-response":        {200, "application/graphql-response+json; charset=utf-8", "", true},
		"upper case":              {200, "Application/JSON", "identity", true},
		"with status 400":         {400, "application/json", "", true},
		"401 whatever it says":    {401, "text/html", "", true},
		"html":                    {200, "text/html", "", false},
		"event stream":            {200, "text/event-stream", "", false},
		"no type":                 {200, "", "", false},
		"gzip left by the caller": {200, "application/json", "gzip", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := jsonResponse(strings.NewReader(body))
			res.StatusCode = row.status
			res.Header = http.Header{}
			if row.contentType != "" {
				res.Header.Set("Content-Type", row.contentType)
			}
			if row.encoding != "" {
				res.Header.Set("Content-Encoding", row.encoding)
			}
			assert.Equal(t, row.want, res.refused())
			if !row.want {
				assert.Zero(t, res.tracked.read)
			}
			all, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			assert.Equal(t, body, string(all))
		})
	}
}

func TestRejectGraphQLReadsNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(`{"name":"a thing"},`, 100_000)
	huge := `"data":{"things":[` + long + `{}]}`
	for name, row := range map[string]struct {
		body string
		want bool
		most int
	}{
		"refused first": {`{"errors":[` + refusedError + `],` + huge + `}`, true, 1 << 10},
		"errors first":  {`{"errors":[{"message":"no such thing"}],` + huge + `}`, false, 1 << 10},
		"data first":    {`{` + huge + `,"errors":[` + refusedError + `]}`, false, 64 << 10},
		"one string":    {`{"data":"` + strings.Repeat("x", 1<<20) + `"}`, false, 64 << 10},
		"deep":          {strings.Repeat(`{"data":[`, 100_000), false, 64 << 10},
		"blanks":        {strings.Repeat(" ", 1<<20), false, 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := jsonResponse(strings.NewReader(row.body))
			assert.Equal(t, row.want, res.refused())
			assert.LessOrEqual(t, res.tracked.read, row.most)
			all, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			if row.body != string(all) { // not shown: it is long
				t.Error("the body was not handed on as it was")
			}
		})
	}
}

// What ends the reading comes to the caller at its place, once the rest is read.
func TestRejectGraphQLHandsOnErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("the connection is gone")
	told := 0
	res := jsonResponse(io.MultiReader(strings.NewReader(`{"data":`), readerFunc(func([]byte) (int, error) {
		if told++; told > 1 {
			return 0, io.EOF // as if nothing had been
		}
		return 0, broken
	})))
	assert.False(t, res.refused())
	all, err := io.ReadAll(res.Body)
	require.ErrorIs(t, err, broken)
	assert.Equal(t, `{"data":`, string(all))

	res = jsonResponse(strings.NewReader(`{"data":1}`))
	assert.False(t, res.refused())
	require.NoError(t, res.Body.Close())
	n, err := res.Body.Read(make([]byte, 64))
	assert.Zero(t, n, "what was read ahead is still there after the end")
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 1, res.tracked.closed)
}

// A body whose reads bring nothing does not hold anyone up for ever.
func TestRejectGraphQLEmptyReads(t *testing.T) {
	t.Parallel()
	res := jsonResponse(readerFunc(func([]byte) (int, error) { return 0, nil }))
	assert.False(t, res.refused())
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Whatever the order of the members and the pieces in which it arrives, the
// verdict is that of a decoder that has read everything.
func TestRejectGraphQLAgreesWithADecoder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := drawReply(t)
		size := rapid.IntRange(1, 40).Draw(t, "piece")
		var pieces []io.Reader
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			pieces = append(pieces, strings.NewReader(rest[:n]))
			rest = rest[n:]
		}
		res := jsonResponse(io.MultiReader(pieces...))
		if got, want := res.refused(), decodedVerdict([]byte(body)); got != want {
			t.Fatalf("refused = %t, want %t: %s", got, want, body)
		}
	})
}

// drawReply draws a reply that has, in any order, what matters and what looks
// alike.
func drawReply(t *rapid.T) string {
	name := rapid.SampledFrom([]string{"errors", "extensions", "code", "data", "UNAUTHENTICATED", `\"{[`, `\\`, "é"})
	var value func(depth int) string
	value = func(depth int) string {
		kind := rapid.IntRange(0, 7).Draw(t, "kind")
		if depth == 0 {
			kind %= 4
		}
		switch kind {
		case 0:
			return `"UNAUTHENTICATED"`
		case 1:
			return `"` + name.Draw(t, "text") + `"`
		case 2, 3:
			return rapid.SampledFrom([]string{"null", "true", "-1.5e3", "0"}).Draw(t, "scalar")
		case 4, 5:
			var parts []string
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				parts = append(parts, value(depth-1))
			}
			return "[" + strings.Join(parts, " , ") + "]"
		default:
			var parts []string
			for _, n := range rapid.SliceOfNDistinct(name, 0, 4, rapid.ID[string]).Draw(t, "names") {
				parts = append(parts, `"`+n+`": `+value(depth-1))
			}
			return "{" + strings.Join(parts, ",") + "}"
		}
	}
	return value(6)
}

// decodedVerdict decodes all of a reply.
func decodedVerdict(body []byte) bool {
	var one any
	if json.Unmarshal(body, &one) != nil {
		return false
	}
	replies, ok := one.([]any)
	if !ok {
		replies = []any{one}
	}
	for _, reply := range replies {
		fields, _ := reply.(map[string]any)
		faults, _ := fields["errors"].([]any)
		for _, fault := range faults {
			details, _ := fault.(map[string]any)
			extensions, _ := details["extensions"].(map[string]any)
			if extensions["code"] == "UNAUTHENTICATED" {
				return true
			}
		}
	}
	return false
}

func FuzzRejectGraphQL(f *testing.F) {
	for _, seed := range []string{
		`{"errors":[` + refusedError + `]}`, `[{"data":{}},{"errors":[` + refusedError + `]}]`,
		`{"data":{"a":"\u0041\\\""},"errors":null}`, `{"errors":[{"extensions":{"code":1}}]}`, `{"a":[{},[],"",0,-1e9]}`, "\xef\xbb\xbf{}",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, piece int) {
		reader := io.Reader(bytes.NewReader(body))
		if piece%2 == 0 {
			reader = iotest.HalfReader(reader)
		}
		res := jsonResponse(reader)
		got := res.refused()
		if res.tracked.read > 64<<10 {
			t.Fatalf("%d bytes were read", res.tracked.read)
		}
		all, err := io.ReadAll(res.Body)
		if err != nil || !bytes.Equal(all, body) {
			t.Fatalf("the body was not handed on as it was: %v", err)
		}
		if len(body) <= 64<<10 && json.Valid(body) && !repeats(body) && got != decodedVerdict(body) {
			t.Fatalf("refused = %t: %q", got, body)
		}
	})
}

// repeats reports whether an object has two members of one name: decoders do
// not agree about those.
func repeats(body []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	var walk func() bool
	walk = func() bool {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		names := map[string]bool{}
		for token == json.Delim('{') && decoder.More() {
			key, err := decoder.Token()
			name, ok := key.(string)
			if err != nil || !ok || names[name] || walk() {
				return true
			}
			names[name] = true
		}
		for token == json.Delim('[') && decoder.More() {
			if walk() {
				return true
			}
		}
		if token == json.Delim('{') || token == json.Delim('[') {
			_, err = decoder.Token()
		}
		return err != nil
	}
	return walk()
}
