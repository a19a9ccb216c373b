package api

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everyKind has a field of every kind that a body may have.
type everyKind struct {
	Text   string            `json:"text,omitempty"`
	Int    int               `json:"int,omitempty"`
	Long   *int64            `json:"long,omitempty"`
	Count  uint64            `json:"count,omitempty"`
	Flag   bool              `json:"flag,omitempty"`
	At     *time.Time        `json:"at,omitempty"`
	Inner  *everyKind        `json:"inner,omitempty"`
	List   []everyKind       `json:"list,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Free   any               `json:"free,omitempty"`
}

func TestCheckJSONTakes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`,
		` {"text":"ä\u00e4\ud83d\ude00","int":-7,"long":9223372036854775807,"count":18446744073709551615,"flag":false,"at":"2026-01-02T15:04:05.123+01:00"} `,
		`{"inner":{"inner":{"list":[{},{"text":""}]}},"labels":{"a":"1","b":"2"}}`,
		`{"free":{"a":[1,2.5,-1e3,"x",null,true,{"a":{"a":1}}],"b":null}}`,
		`{"free":null}`, `{"free":7}`, `{"free":"x"}`,
	} {
		require.Nil(t, checkJSON([]byte(text), reflect.TypeFor[everyKind]()), text)
		var v everyKind
		require.NoError(t, json.Unmarshal([]byte(text), &v))
	}
}

func TestCheckJSONRefuses(t *testing.T) {
	t.Parallel()
	for text, location := range map[string]string{
		`{"text":1}`:                      "body.text",
		`{"text":null}`:                   "body.text",
		`{"text":{}}`:                     "body.text",
		`{"text":true}`:                   "body.text",
		`{"TEXT":"x"}`:                    "body",
		`{"":1}`:                          "body",
		`{"int":1.0}`:                     "body.int",
		`{"int":1e2}`:                     "body.int",
		`{"int":9223372036854775808}`:     "body.int",
		`{"int":-0.0}`:                    "body.int",
		`{"long":true}`:                   "body.long",
		`{"count":-0}`:                    "body.count",
		`{"count":-1}`:                    "body.count",
		`{"flag":"true"}`:                 "body.flag",
		`{"flag":0}`:                      "body.flag",
		`{"at":"2026-01-02"}`:             "body.at",
		`{"at":{}}`:                       "body.at",
		`{"at":1}`:                        "body.at",
		`{"inner":[]}`:                    "body.inner",
		`{"inner":{"list":[{},{"x":1}]}}`: "body.inner.list[1]",
		`{"list":{}}`:                     "body.list",
		`{"list":[null]}`:                 "body.list[0]",
		`{"labels":{"a":null}}`:           "body.labels",
		`{"labels":{"a\u0000":"x"}}`:      "body.labels",
		`{"labels":[]}`:                   "body.labels",
		`{"free":{"a":{"b":1,"b":1}}}`:    "body.free",
		`{"free":["\u0000"]}`:             "body.free",
		`{"free":-1e999}`:                 "body.free",
		`{"text":"a","text":"a"}`:         "body.text",
	} {
		p := checkJSON([]byte(text), reflect.TypeFor[everyKind]())
		require.NotNil(t, p, text)
		require.Equal(t, 422, p.Status, text)
		assert.Equal(t, location, p.Errors[0].Location, text)
	}
	for _, text := range []string{`{"a":}`, `{`, `"\x00"`, `nul`, `{"a":01}`, `{"a":"` + "\n" + `"}`, `{'a':1}`, `{}x`, `// {}`} {
		p := checkJSON([]byte(text), reflect.TypeFor[everyKind]())
		require.NotNil(t, p, text)
		require.Equal(t, 400, p.Status, text)
	}
}

// FuzzCheckJSON: what the check lets through is JSON that encoding/json
// decodes into the type, strictly and without a loss; what it does not let
// through names a place.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"text":"a","int":1,"list":[{"flag":true}],"labels":{"a":"b"},"free":[1]}`, `{"text":"a","text":"b"}`, `{"count":-1}`,
		`{"at":"2026-01-02T15:04:05Z"}`, `{"free":1e400}`, `[[[[`, `"\ud800"`, "\xff", `{"long":null}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := checkJSON(data, reflect.TypeFor[everyKind]())
		if p != nil {
			require.Contains(t, []int{400, 422}, p.Status)
			require.NotEmpty(t, p.Errors[0].Location)
			return
		}
		var v everyKind
		require.NoError(t, json.Unmarshal(data, &v))
		again, err := json.Marshal(v)
		require.NoError(t, err)
		require.Nil(t, checkJSON(again, reflect.TypeFor[everyKind]()), "%s became %s", data, again)
	})
}
