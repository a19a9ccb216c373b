package reqtemplate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/reqtemplate"
)

// shout stands for a value in a rendered text.
func shout(f reqtemplate.Field) string { return "<" + strings.ToUpper(string(f)) + ">" }

func TestRender(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  "",
		"plain":                             "plain",
		"{{.username}}":                     "<USERNAME>",
		"Bearer {{.access_token}}":          "Bearer <ACCESS_TOKEN>",
		"{{ .password }}{{\t.subject }}!":   "<PASSWORD><SUBJECT>!",
		"{{.refresh_token}}{{.username}}":   "<REFRESH_TOKEN><USERNAME>",
		"query{me{id}}":                     "query{me{id}}",
		"{ {.username} }":                   "{ {.username} }",
		"}}{{.subject}}":                    "}}<SUBJECT>",
		"{{.subject}}/{{.subject}}":         "<SUBJECT>/<SUBJECT>",
		"https://a.example/u/{{.subject}}?": "https://a.example/u/<SUBJECT>?",
	} {
		tmpl, err := reqtemplate.Parse(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, tmpl.Render(shout), text)
	}
}

func TestRenderDoesNotReadValues(t *testing.T) {
	t.Parallel()
	tmpl, err := reqtemplate.Parse("{{.username}} {{.password}}")
	require.NoError(t, err)
	got := tmpl.Render(func(f reqtemplate.Field) string {
		if f == reqtemplate.Username {
			return "{{.password}}"
		}
		return "secret"
	})
	assert.Equal(t, "{{.password}} secret", got)
}

func TestFields(t *testing.T) {
	t.Parallel()
	tmpl, err := reqtemplate.Parse("{{.subject}} {{.password}} {{.subject}}")
	require.NoError(t, err)
	assert.Equal(t, []reqtemplate.Field{reqtemplate.Subject, reqtemplate.Password}, tmpl.Fields())

	plain, err := reqtemplate.Parse("text")
	require.NoError(t, err)
	assert.Empty(t, plain.Fields())

	for _, f := range reqtemplate.Fields() {
		tmpl, err := reqtemplate.Parse("{{." + string(f) + "}}")
		require.NoError(t, err)
		assert.Equal(t, []reqtemplate.Field{f}, tmpl.Fields())
	}
}

func TestSecretFields(t *testing.T) {
	t.Parallel()
	var secret []reqtemplate.Field
	for _, f := range reqtemplate.Fields() {
		if f.Secret() {
			secret = append(secret, f)
		}
	}
	assert.Equal(t, []reqtemplate.Field{reqtemplate.Password, reqtemplate.AccessToken, reqtemplate.RefreshToken}, secret)
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const all = "known are {{.username}}, {{.password}}, {{.access_token}}, {{.refresh_token}} and {{.subject}}"
	for text, want := range map[string][]string{
		"{{.usrname}}":                        {`"{{.usrname}}" is not a known field`, all},
		"{{username}}":                        {"{{username}} lacks its dot; write {{.username}}"},
		"{{}}":                                {`"{{}}" is not a known field`, all},
		"{{ . }}":                             {"is not a known field"},
		"{{.username | html}}":                {"is not a known field"},
		"{{printf .password}}":                {"is not a known field"},
		"{{- .username -}}":                   {"is not a known field"},
		"{{.Username}}":                       {"is not a known field"},
		"{{..username}}":                      {"is not a known field"},
		"{{{.username}}}":                     {"is not a known field"},
		"{{.username\n}}":                     {"is not a known field"},
		"{{/* {{.username}} */}}":             {"is not a known field"},
		"{{.username":                         {"a {{ has no }}"},
		"a {{":                                {"a {{ has no }}"},
		"{{.username}} {{":                    {"a {{ has no }}"},
		"{{" + strings.Repeat("é", 99) + "}}": {"…}}\" is not a known field"},
	} {
		_, err := reqtemplate.Parse("canary" + text)
		require.Error(t, err, text)
		for _, w := range want {
			require.ErrorContains(t, err, w, text)
		}
		assert.NotContains(t, err.Error(), "canary", text)
		assert.Less(t, len(err.Error()), 300, text)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "{{.username}}", "Bearer {{ .access_token }}", "{{", "}}", "{{}}", "{{{.subject}}}",
		"{{.usrname}}", "{user{id}}", "{{.subject}}{{.subject", "{{\xff}}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := reqtemplate.Parse(text)
		if err != nil {
			assert.Contains(t, text, "{{")
			return
		}
		// Written out again with its fields as they were named, a template is
		// the same template.
		again := tmpl.Render(func(f reqtemplate.Field) string { return "{{." + string(f) + "}}" })
		same, err := reqtemplate.Parse(again)
		require.NoError(t, err)
		assert.Equal(t, tmpl.Fields(), same.Fields())
		assert.Equal(t, tmpl.Render(shout), same.Render(shout))
		if !strings.Contains(text, "{{") {
			assert.Equal(t, text, again)
		}
	})
}
