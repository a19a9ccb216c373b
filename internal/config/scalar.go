package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
)

// setText sets a scalar that is not a secret from its text. The error is for
// a person and shows the text.
func (l *loader) setText(v reflect.Value, f field, text string) error {
	if len(f.oneof) > 0 && !slices.Contains(f.oneof, text) {
		if f.growing {
			v.SetString(text) // what else is wrong depends on it
			return fmt.Errorf("%s is not supported by this version; supported: %s", text, strings.Join(f.oneof, ", "))
		}
		return fmt.Errorf("%q is not one of %s", text, strings.Join(f.oneof, ", "))
	}
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := schedule.ParseDuration(text)
		if err != nil {
			return err
		}
		if d < 0 {
			return fmt.Errorf("%s: %w", text, errNegative)
		}
		*p = d
		return nil
	case *netip.Prefix:
		return setPrefix(p, text)
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		if f.path && text != "" && !filepath.IsAbs(text) {
			text = filepath.Join(l.base, text)
		}
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(int64(n))
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(x)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("the type %s cannot be read", v.Type()) // a test walks all types
	}
	return nil
}

// setPrefix takes a CIDR prefix or a single address. What a prefix says of the
// host in it is left for the check, which points it out.
func setPrefix(p *netip.Prefix, text string) error {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		*p = prefix
		return nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return fmt.Errorf("%q is not an address or a range; write one like 127.0.0.1 or 10.1.0.0/16", text)
	}
	*p = netip.PrefixFrom(addr, addr.BitLen())
	return nil
}

// scientific is a number with an exponent as YAML 1.2 has it (section 10.3.2). The
// parser goes by YAML 1.1, where one without a dot is a text.
var scientific = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$`)

var errNoValue = errors.New("it has no value; give it one, or remove the key")

// textOf returns a scalar node's text as far as it fits the type; the error
// says what is expected instead, and never shows the text of a secret.
func textOf(n ast.Node, t reflect.Type, f field) (string, error) {
	numeric := t.Kind() == reflect.Int || t.Kind() == reflect.Float64
	switch n := n.(type) {
	case *ast.StringNode:
		if t.Kind() == reflect.Bool {
			return "", fmt.Errorf("%q is a text; write true or false, without quotes", n.Value)
		}
		if t.Kind() == reflect.Float64 && n.GetToken().Type == token.StringType && scientific.MatchString(n.Value) {
			return n.Value, nil
		}
		if numeric {
			return "", fmt.Errorf("%q is a text; write a number, without quotes", n.Value)
		}
		return n.Value, nil
	case *ast.LiteralNode:
		if n.Value == nil || numeric {
			return "", errors.New("write the value on the same line")
		}
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode:
		text := n.GetToken().Value
		if t == reflect.TypeFor[time.Duration]() && text != "0" {
			return "", fmt.Errorf("%s has no unit; write one, as in %ss or %sm", text, text, text)
		}
		return text, nil
	case *ast.BoolNode:
		if t.Kind() == reflect.Bool {
			return n.GetToken().Value, nil
		}
		switch t {
		case reflect.TypeFor[credential.Rotates]():
			if n.Value {
				return "yes", nil
			}
			return "no", nil
		case reflect.TypeFor[Redirect](), reflect.TypeFor[Comparison]():
			return strconv.FormatBool(n.Value), nil
		}
		return "", fmt.Errorf("%s is true or false, which is not expected here%s", n.GetToken().Value, hint(f))
	case *ast.NullNode:
		return "", errNoValue
	default:
		return "", fmt.Errorf("a single value is expected, not a %s%s", kindOf(n), hint(f))
	}
}

func hint(f field) string {
	if len(f.oneof) > 0 {
		return "; it is one of " + strings.Join(f.oneof, ", ")
	}
	return "; put it in quotes if it is meant as a text"
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "mapping"
	case *ast.SequenceNode:
		return "list"
	case *ast.NullNode:
		return "missing value"
	case *ast.InfinityNode, *ast.NanNode:
		return "number without end"
	default:
		return "single value"
	}
}
