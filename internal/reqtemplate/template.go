package reqtemplate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Field is what a template can hold, by its name between {{. and }}.
type Field string

// The fields.
const (
	Username     Field = "username"
	Password     Field = "password"
	AccessToken  Field = "access_token"
	RefreshToken Field = "refresh_token"
	Subject      Field = "subject" // the user's UID
)

// Fields lists the fields there are.
func Fields() []Field {
	return []Field{Username, Password, AccessToken, RefreshToken, Subject}
}

// Secret reports whether a field's value belongs neither into an address, which
// logs and proxies on the way keep, nor into a message.
func (f Field) Secret() bool { return f != Subject && f != Username }

const (
	opening = "{{"
	closing = "}}"
	// longestShown is how much of a mistake a message repeats, in bytes.
	longestShown = 40
)

// A Template is a text with fields in it. It may be used by several goroutines.
type Template struct {
	parts []part
}

// part is a literal text, or the field that stands in its place.
type part struct {
	text  string
	field Field
}

// UnknownFieldError says that what stands between the braces of a template is no
// field.
type UnknownFieldError struct {
	Written string // with its braces, cut short
}

// Error names all fields there are.
func (e *UnknownFieldError) Error() string { return e.Among(Fields()) }

// Among names those of two or more fields that can stand there.
func (e *UnknownFieldError) Among(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = opening + "." + string(f) + closing
	}
	last := len(names) - 1
	return fmt.Sprintf("%q is not a known field; known are %s and %s", e.Written, strings.Join(names[:last], ", "), names[last])
}

// Parse reads a template. Its errors say what is wrong and what can be written
// instead, a [*UnknownFieldError] among them. They show nothing of the text outside
// of the braces.
func Parse(text string) (*Template, error) {
	t := &Template{}
	for {
		before, rest, open := strings.Cut(text, opening)
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !open {
			return t, nil
		}
		inside, after, closed := strings.Cut(rest, closing)
		if !closed {
			return nil, errors.New("a {{ has no }}; write a field as in {{.subject}}")
		}
		field, err := parseField(inside)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{field: field})
		text = after
	}
}

// parseField reads what stands between the braces.
func parseField(inside string) (Field, error) {
	name, dotted := strings.CutPrefix(strings.Trim(inside, " \t"), ".")
	if field := Field(name); slices.Contains(Fields(), field) {
		if !dotted {
			return "", fmt.Errorf("{{%s}} lacks its dot; write {{.%s}}", name, name)
		}
		return field, nil
	}
	shown := strings.TrimSpace(inside)
	if len(shown) > longestShown {
		shown = strings.ToValidUTF8(shown[:longestShown], "") + "…"
	}
	return "", &UnknownFieldError{Written: opening + shown + closing}
}

// Fields lists the fields that the template uses, each once, in the order of
// their first use.
func (t *Template) Fields() []Field {
	var fields []Field
	for _, p := range t.parts {
		if p.field != "" && !slices.Contains(fields, p.field) {
			fields = append(fields, p.field)
		}
	}
	return fields
}

// Render returns the text with each field replaced by what values returns for
// it, as it is: values encodes.
func (t *Template) Render(values func(Field) string) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.field != "" {
			b.WriteString(values(p.field))
			continue
		}
		b.WriteString(p.text)
	}
	return b.String()
}
