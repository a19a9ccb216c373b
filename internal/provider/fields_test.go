package provider_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider"
)

// plainReply is what nearly every provider sends.
const plainReply = `{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer","expires_in":3600,` +
	`"refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","scope":"read write"}`

// shown is a credential.Found as text that can be compared.
type shown struct{ Access, Refresh, Type, Scope, ExpiresIn string }

func show(f credential.Found) shown {
	return shown{f.Token.Access.Reveal(), f.Token.Refresh.Reveal(), f.Token.Type, f.Token.Scope, f.ExpiresIn}
}

func TestScan(t *testing.T) {
	t.Parallel()
	whole := shown{"2YotnFZFEjr1zCsicMWpAA", "tGzv3JOkF0XG5Qx2TlKWIA", "Bearer", "read write", "3600"}
	tests := map[string]struct {
		body string
		want shown
	}{
		"plain":                {plainReply, whole},
		"indented":             {"\r\n{\n\t\"access_token\" : \"A\" ,\n\t\"refresh_token\" :\t\"R\"\n}\n", shown{Access: "A", Refresh: "R"}},
		"byte order mark":      {"\xef\xbb\xbf" + plainReply, whole},
		"garbage behind":       {plainReply + "\n}]<html>", whole},
		"escapes":              {`{"access_token":"a\/\"\\\b\u00e4\ud83d\ude00","refresh_token":"\u0052\ud83dx"}`, shown{Refresh: "R\ufffdx"}},
		"escaped key":          {`{"access\u005ftoken":"A"}`, shown{Access: "A"}},
		"unknown escape":       {`{"access_token":"\q\u00zz"}`, shown{Access: "qu00zz"}},
		"missing commas":       {`{"access_token":"A" "refresh_token":"R"}`, shown{Access: "A", Refresh: "R"}},
		"doubled commas":       {`{,,"access_token":"A",,"refresh_token":"R",}`, shown{Access: "A", Refresh: "R"}},
		"value missing":        {`{"scope":,"access_token":"A"}`, shown{Access: "A"}},
		"key without a value":  {`{"access_token","refresh_token":"R"}`, shown{Refresh: "R"}},
		"stray brackets":       {`{]:["x",{"refresh_token":"no"}],"access_token":"A"}`, shown{Access: "A"}},
		"last one wins":        {`{"access_token":"A1","access_token":"A2","access_token":""}`, shown{Access: "A2"}},
		"not strings":          {`{"access_token":1,"refresh_token":null,"token_type":{},"scope":["a"],"expires_in":{}}`, shown{}},
		"expires_in null":      {`{"access_token":"A","expires_in":null}`, shown{Access: "A"}},
		"expires_in text":      {`{"access_token":"A","expires_in":"36\u00300s"}`, shown{Access: "A", ExpiresIn: "3600s"}},
		"nested once":          {`{"data":{"access_token":"A","refresh_token":"R","scope":"s"},"scope":"outer"}`, shown{Access: "A", Refresh: "R", Scope: "s"}},
		"nested twice":         {`{"data":{"more":{"access_token":"A"}}}`, shown{}},
		"nested in a list":     {`{"list":[{"access_token":"A"}]}`, shown{}},
		"the first nested":     {`{"a":{"x":1},"b":{"access_token":"B"},"c":{"access_token":"C"}}`, shown{Access: "B"}},
		"never mixed":          {`{"user":{"access_token":"U","refresh_token":"UR"},"access_token":"A"}`, shown{Access: "A"}},
		"in an error":          {`{"error":{"access_token":"A"}}`, shown{}},
		"nested, cut off":      {`{"data":{"access_token":"A","refresh_token":"R`, shown{Access: "A"}},
		"token type no header": {`{"access_token":"A","token_type":"a b"}`, shown{Access: "A"}},
		"scope with a break":   {`{"access_token":"A","scope":"a\nb"}`, shown{Access: "A"}},
		"form":                 {"scope=a+b&access_token=A%2F&refresh_token=R&expires_in=60&token_type=bearer\n", shown{"A/", "R", "bearer", "a b", "60"}},
		"form, bad escapes":    {"access_token=A&refresh_token=%zz&&x", shown{Access: "A"}},
		"HTML":                 {`<html>{"access_token":"A"}`, shown{}},
		"list":                 {`[1,2]`, shown{}},
		"text":                 {"Service unavailable", shown{}},
		"empty":                {"", shown{}},
		"deep":                 {`{"a":` + strings.Repeat("[{\"b\":", 10_000) + `1,"refresh_token":"R"}`, shown{}},
		"unclosed, then deep":  {`{"access_token":"A","a":` + strings.Repeat("{", 100_000), shown{Access: "A"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, show(provider.Scan([]byte(test.body)))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// An access token with a control character is none: "escapes" above has one.
func TestScanTakesNoControlCharacters(t *testing.T) {
	t.Parallel()
	got := show(provider.Scan([]byte(`{"access_token":"a\tb","refresh_token":"r\ts"}`)))
	assert.Equal(t, shown{Refresh: "r\ts"}, got)
}

// Wherever a reply breaks off, what the scan finds is a whole value of it.
func TestScanOfEveryPrefix(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"JSON":   plainReply,
		"nested": `{"data":` + plainReply + `}`,
		"form":   "access_token=2YotnFZFEjr1zCsicMWpAA&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA&expires_in=3600&token_type=Bearer&scope=read+write",
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := show(provider.Scan([]byte(body)))
			require.NotEmpty(t, whole.Refresh)
			for end := range len(body) {
				fields := provider.Parse([]byte(body[:end]), true)
				got := show(fields.Found)
				assert.Contains(t, []string{"", whole.Access}, got.Access)
				assert.Contains(t, []string{"", whole.Refresh}, got.Refresh)
				assert.Contains(t, []string{"", whole.Type}, got.Type)
				assert.Contains(t, []string{"", whole.Scope}, got.Scope)
				assert.Contains(t, []string{"", whole.ExpiresIn}, got.ExpiresIn)
				assert.False(t, fields.Whole)
			}
		})
	}
}

// What is whole is not claimed to be so where something may have been missed.
func TestWhole(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		plainReply:                       true,
		plainReply + "garbage":           true,
		`{"a":{"b":[1,{"c":"}"}]}}`:      true,
		`{"a":-1.5e3,"b":false}`:         true,
		"access_token=A&b=":              true,
		plainReply[:len(plainReply)-1]:   false,
		`{"a":x}`:                        false,
		`{"a" "b"}`:                      false,
		`{"a":"b" refresh_token:"R"}`:    false,
		`{"a":}`:                         false,
		"access_token=A&refresh_token":   false,
		"access_token=A&refresh_token=%": false,
		"":                               false,
		"nothing":                        false,
	}
	for body, want := range tests {
		assert.Equal(t, want, provider.Parse([]byte(body), false).Whole, "%s", body)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		codes       []string
		description string
		failed      bool
	}{
		`{"error":"a","error_description":"b"}`:                        {[]string{"a"}, "b", true},
		`{"error":"a","error_code":"b","code":"c","status":"d"}`:       {[]string{"a", "b", "c", "d"}, "", true},
		`{"error":{"code":190,"type":"T","message":"m","status":"S"}}`: {[]string{"190", "S", "T"}, "m", true},
		`{"error":{}}`:                              {},
		`{"status":400,"code":7,"message":"m"}`:     {nil, "m", false},
		`{"error":"","error_code":0,"status":"ok"}`: {[]string{"ok"}, "", false},
		`{"error":false}`:                           {},
		`{"error":null}`:                            {},
		`{"ok":false}`:                              {failed: true},
		`{"ok":"false"}`:                            {},
		`{"data":{"error_code":10010,"error_description":"x"}}`: {nil, "x", true},
		`error=a&error_description=b+c&error_uri=d`:             {[]string{"a"}, "b c", true},
	}
	for body, want := range tests {
		f := provider.Parse([]byte(body), false)
		assert.Equal(t, want.codes, f.Codes, "%s", body)
		assert.Equal(t, want.description, f.Description, "%s", body)
		assert.Equal(t, want.failed, f.Failed, "%s", body)
	}
}

// reference reads an object with encoding/json's decoder, to the rules that
// Scan states. It reports false for what is not one JSON object.
func reference(body []byte) (shown, bool) {
	type members struct{ top, nested shown }
	var got members
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return shown{}, false
	}
	read := func(into *shown) bool {
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return false
			}
			var value any
			if err := dec.Decode(&value); err != nil {
				return false
			}
			name, ok := key.(string)
			if !ok {
				return false
			}
			into.set(name, value)
			if object, ok := value.(map[string]any); ok && into == &got.top && name != "error" &&
				got.nested.Access == "" && got.nested.Refresh == "" {
				got.nested = shown{}
				for name, value := range object {
					got.nested.set(name, value)
				}
			}
		}
		_, err := dec.Token()
		return err == nil
	}
	if !read(&got.top) {
		return shown{}, false
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return shown{}, false
	}
	if got.top.Access == "" && got.top.Refresh == "" {
		got.top = got.nested
	}
	if strings.ContainsFunc(got.top.Access, isControl) {
		got.top.Access = ""
	}
	return got.top, true
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func (s *shown) set(name string, value any) {
	text, isText := value.(string)
	switch name {
	case "access_token":
		if isText && text != "" {
			s.Access = text
		}
	case "refresh_token":
		if isText && text != "" {
			s.Refresh = text
		}
	case "expires_in":
		switch value := value.(type) {
		case string:
			s.ExpiresIn = value
		case json.Number:
			s.ExpiresIn = value.String()
		}
	case "scope":
		if isText && !strings.ContainsFunc(text, isControl) {
			s.Scope = text
		}
	}
}

// FuzzScan compares the scan with encoding/json wherever that takes the input
// at all, and wants no panic and no invented value from the rest.
func FuzzScan(f *testing.F) {
	f.Add([]byte(plainReply))
	f.Add([]byte(plainReply[:90]))
	f.Add([]byte(`{"data":{"access_token":"A","refresh_token":"R\u00e4\ud83d\ude00"},"error":{"code":190}}`))
	f.Add([]byte("access_token=A&refresh_token=R&expires_in=1"))
	f.Add([]byte("\xef\xbb\xbf{\"expires_in\":1.5e3,\"scope\":\"\\\\\"}"))
	f.Add([]byte(`{"a":[[["]"]]],"refresh_token":"1","refresh_token":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := show(provider.Scan(body))
		provider.Parse(body, true)
		got.Type = ""
		trimmed := bytes.TrimLeft(body, " \t\r\n")
		if !utf8.Valid(body) || len(trimmed) == 0 || trimmed[0] != '{' || duplicateNested(body) {
			return // encoding/json replaces what is not UTF-8; a token is kept as it came
		}
		want, ok := reference(body)
		if !ok {
			return
		}
		if want.ExpiresIn == "" && (got.ExpiresIn == "true" || got.ExpiresIn == "false") {
			got.ExpiresIn = ""
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-encoding/json +Scan)\n%s", body, diff)
		}
	})
}

// duplicateNested reports whether a name may occur twice in a nested object,
// which the reference, made of maps, cannot tell.
func duplicateNested(body []byte) bool {
	for _, name := range []string{"access_token", "refresh_token", "scope", "expires_in", `\u`} {
		if bytes.Count(body, []byte(name)) > 1 && bytes.Count(body, []byte("{")) > 1 {
			return true
		}
	}
	return false
}

func BenchmarkScan(b *testing.B) {
	b.SetBytes(int64(len(plainReply)))
	b.ReportAllocs()
	body := []byte(plainReply)
	for b.Loop() {
		if provider.Scan(body).IsZero() {
			b.Fatal("no token found")
		}
	}
}

// BenchmarkUnmarshal is what BenchmarkScan is to be compared with.
func BenchmarkUnmarshal(b *testing.B) {
	b.SetBytes(int64(len(plainReply)))
	b.ReportAllocs()
	body := []byte(plainReply)
	for b.Loop() {
		var reply struct {
			AccessToken  string      `json:"access_token"`
			RefreshToken string      `json:"refresh_token"`
			TokenType    string      `json:"token_type"`
			Scope        string      `json:"scope"`
			ExpiresIn    json.Number `json:"expires_in"`
		}
		if err := json.Unmarshal(body, &reply); err != nil || reply.AccessToken == "" {
			b.Fatal("no token found")
		}
	}
}
