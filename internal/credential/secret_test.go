package credential_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// sekret holds what each way of encoding treats in its own fashion.
const sekret = "s3kr3t~val/ue+\"ü"

// checkHidden fails if out holds the secret, whole or encoded.
func checkHidden(t *testing.T, what, out string) {
	t.Helper()
	raw := []byte(sekret)
	for _, needle := range []string{
		sekret, "s3kr3t", "kr3t~v", hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), fmt.Sprintf("% x", raw),
		base64.StdEncoding.EncodeToString(raw)[:12], base64.URLEncoding.EncodeToString(raw)[:12], url.QueryEscape(sekret), url.PathEscape(sekret),
		strconv.Quote(sekret), strings.Trim(fmt.Sprintf("%d", raw), "[]"), fmt.Sprintf("%U", []rune(sekret))[1:12],
	} {
		if strings.Contains(out, needle) {
			t.Errorf("%s shows the secret as %q in %q", what, needle, out)
		}
	}
}

// wrappers are the ways in which a secret gets into an argument of a printer.
func wrappers(s credential.Secret) map[string]any {
	type exported struct{ S credential.Secret }
	type hidden struct{ s credential.Secret }
	type deep struct {
		P *credential.Secret
		L []credential.Secret
		M map[string]credential.Secret
		K map[credential.Secret]int
		A [2]credential.Secret
		I any
		H hidden
	}
	type embedded struct{ credential.Secret }
	type embeddedPointer struct{ *credential.Secret }
	type embeddedHidden struct{ hidden }
	return map[string]any{
		"itself": s, "pointer": &s, "struct": exported{s}, "pointer to struct": &exported{s},
		"unexported field": hidden{s}, "pointer to unexported field": &hidden{s}, "embedded": embedded{s}, "embedded pointer": embeddedPointer{&s},
		"embedded twice": embeddedHidden{hidden{s}},
		"slice":          []credential.Secret{s, s}, "slice of pointers": []*credential.Secret{&s}, "slice of structs": []hidden{{s}},
		"map": map[string]credential.Secret{"k": s}, "map key": map[credential.Secret]string{s: "v"}, "map of structs": map[string]hidden{"k": {s}},
		"array": [1]credential.Secret{s}, "interfaces": []any{s, &s, hidden{s}},
		"deep":    deep{&s, []credential.Secret{s}, map[string]credential.Secret{"k": s}, map[credential.Secret]int{s: 1}, [2]credential.Secret{s}, s, hidden{s}},
		"token":   credential.Token{Access: s, Refresh: s, Type: "Bearer"},
		"held":    credential.Held{Token: credential.Token{Access: s, Refresh: s}, Alternates: []credential.Alternate{{Token: credential.Token{Refresh: s}}}},
		"login":   &credential.Login{ID: "a", Token: credential.Token{Access: s}},
		"write":   credential.Write{Token: &credential.Token{Access: s}, Spent: s, Alternates: &[]credential.Alternate{{Token: credential.Token{Refresh: s}}}},
		"outcome": credential.Outcome{Token: credential.Token{Access: s}},
		"error":   fmt.Errorf("presenting %v: %w", s, errors.ErrUnsupported),
		"joined":  errors.Join(fmt.Errorf("a: %s", s), fmt.Errorf("b: %+v", hidden{s})),
	}
}

func TestSecretVerbs(t *testing.T) {
	t.Parallel()
	wrapped := wrappers(credential.NewSecret(sekret))
	verbs := "vTtbcdoOqxXUeEfFgGspw!zZ"
	flags := []string{"", "+", "#", "-", " ", "0", "+#", "# ", "40", ".3", "-40.3", "040", "+.9"}
	for name, arg := range wrapped {
		for _, verb := range verbs {
			for _, flag := range flags {
				format := "%" + flag + string(verb)
				checkHidden(t, name+" with "+format, fmt.Sprintf(format, arg))
			}
		}
		checkHidden(t, name+" with Sprint", fmt.Sprint(arg))
		checkHidden(t, name+" with Sprintln", fmt.Sprintln(arg))
		checkHidden(t, name+" with Errorf", fmt.Errorf("%v", arg).Error())
		checkHidden(t, name+" with Append", string(fmt.Append(nil, arg)))
		checkHidden(t, name+" as a wrong argument", fmt.Sprintf("x"+strings.Repeat("y", 1), arg))
		checkHidden(t, name+" as a width", fmt.Sprintf(strings.Repeat("%*d", 1), arg, 1))
	}
}

func TestSecretSaysSo(t *testing.T) {
	t.Parallel()
	s := credential.NewSecret(sekret)
	for _, verb := range "vtbcdoOqxXUeEfFgGs!z" {
		for _, flag := range []string{"", "+", "#", "40", ".2"} {
			format := "%" + flag + string(verb)
			if format == "%!" { // fmt's own "no verb"
				continue
			}
			assert.Equal(t, "<secret>", fmt.Sprintf(format, s), format)
			assert.Equal(t, "<secret>", fmt.Sprintf(format, &s), format)
		}
	}
	assert.Equal(t, "credential.Secret", fmt.Sprintf("%T", s))
	assert.Equal(t, "<secret>", s.String())
	assert.Equal(t, "<secret>", s.GoString())
	assert.Equal(t, sekret, s.Reveal())
	var none *credential.Secret
	assert.Equal(t, "<nil>", fmt.Sprint(none))
}

func TestSecretEncodings(t *testing.T) {
	t.Parallel()
	for name, arg := range wrappers(credential.NewSecret(sekret)) {
		if out, err := json.Marshal(arg); err == nil {
			checkHidden(t, name+" in JSON", string(out))
		}
		if out, err := xml.Marshal(arg); err == nil {
			checkHidden(t, name+" in XML", string(out))
		}
		var buf bytes.Buffer
		_ = gob.NewEncoder(&buf).Encode(arg) // most of these cannot be encoded: what was written before counts
		checkHidden(t, name+" in gob", buf.String())
		buf.Reset()
		require.NoError(t, template.Must(template.New("").Parse("{{.}} {{printf `%q` .}} {{js .}} {{html .}} {{urlquery .}}")).Execute(&buf, arg))
		checkHidden(t, name+" in a template", buf.String())
	}

	s := credential.NewSecret(sekret)
	out, err := json.Marshal(map[string]any{"s": s, "p": &s, "none": credential.Secret{}})
	require.NoError(t, err)
	assert.JSONEq(t, `{"s":"<secret>","p":"<secret>","none":""}`, string(out))
	text, err := s.MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "<secret>", string(text))
}

// A secret that was written out cannot be read back by accident: "<secret>"
// would be presented to a provider.
func TestSecretIsNotRead(t *testing.T) {
	t.Parallel()
	var s credential.Secret
	holder := struct {
		S *credential.Secret `json:"s"`
	}{&s}
	require.Error(t, json.Unmarshal([]byte(`{"s":"<secret>"}`), &holder))
	assert.True(t, s.IsZero())
}

func TestSecretInSlog(t *testing.T) {
	t.Parallel()
	s := credential.NewSecret(sekret)
	for name, arg := range wrappers(s) {
		var buf bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewJSONHandler(&buf, nil), slog.NewTextHandler(&buf, nil)} {
			log := slog.New(handler)
			log.Info("m", "k", arg)
			log.With("k", arg).WithGroup("g").Error("m", slog.Group("h", "k", arg), "err", fmt.Errorf("e %v", arg))
		}
		checkHidden(t, name+" in slog", buf.String())
	}
	var buf bytes.Buffer
	slog.New(slog.NewTextHandler(&buf, nil)).Info("m", "token", s)
	assert.Contains(t, buf.String(), "token=<secret>")
}

func TestSecretInZerolog(t *testing.T) {
	t.Parallel()
	s := credential.NewSecret(sekret)
	for name, arg := range wrappers(s) {
		var buf bytes.Buffer
		log := zerolog.New(&buf).With().Interface("with", arg).Any("any", arg).Logger()
		log.Info().Interface("i", arg).Any("a", arg).Fields(map[string]any{"f": arg}).Fields([]any{"g", arg}).
			Err(fmt.Errorf("e %v %+v %#v", arg, arg, arg)).AnErr("e2", errors.Join(fmt.Errorf("%q", arg))).
			Dict("d", zerolog.Dict().Interface("i", arg)).Array("l", zerolog.Arr().Interface(arg)).Type("t", arg).
			Msgf("m %v %+v %#v %s %x", arg, arg, arg, arg, arg)
		slog.New(zerolog.NewSlogHandler(log)).Info("m", "k", arg)
		checkHidden(t, name+" in zerolog", buf.String())
	}
	var buf bytes.Buffer
	log := zerolog.New(zerolog.ConsoleWriter{Out: &buf, NoColor: true})
	log.Info().Stringer("s", s).Stringer("p", &s).Interface("i", s).Msg("m")
	checkHidden(t, "zerolog's console", buf.String())
	assert.Contains(t, buf.String(), "s=<secret>")
}

func TestSecretErrors(t *testing.T) {
	t.Parallel()
	s := credential.NewSecret(sekret)
	err := fmt.Errorf("outer: %w", errors.Join(fmt.Errorf("a %v", s), &refusedError{s}))
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		checkHidden(t, "an error with "+format, fmt.Sprintf(format, err))
	}
}

// refusedError is an error type as a package would write one.
type refusedError struct{ token credential.Secret }

func (e *refusedError) Error() string { return fmt.Sprintf("token %v refused", e.token) }

func TestSecretValue(t *testing.T) {
	t.Parallel()
	none, empty, one, same, other := credential.Secret{}, credential.NewSecret(""), credential.NewSecret("a"), credential.NewSecret("a"), credential.NewSecret("b")
	assert.True(t, none.IsZero())
	assert.True(t, empty.IsZero())
	assert.True(t, none.Equal(empty))
	assert.True(t, one.Equal(same))
	assert.False(t, one.Equal(other))
	assert.False(t, one.Equal(none))
	assert.Empty(t, none.String())
	assert.Empty(t, none.Reveal())
	assert.Empty(t, fmt.Sprintf("%v%+v%#v%s", none, none, none, none))
	assert.False(t, credential.Found{Token: credential.Token{Access: one}}.IsZero())
	assert.False(t, credential.Found{Token: credential.Token{Refresh: one}}.IsZero())
	assert.True(t, credential.Found{ExpiresIn: "3600", Token: credential.Token{Scope: "s"}}.IsZero())
}
