package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"net/netip"
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
		*p = d // whether it is too short or too long, only its key can tell
		return nil
	case *netip.Prefix:
		return setPrefix(p, text)
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		if f.path && text != "" {
			text = l.inFolder(text)
		}
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number%s; write one in digits, such as 4", text, tooLarge(err))
		}
		v.SetInt(int64(n))
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%q is not a number%s; write one in digits, such as 0.5", text, tooLarge(err))
		}
		v.SetFloat(x)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false; write one of them", text)
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("the type %s cannot be read", v.Type()) // a test walks all types
	}
	return nil
}

// tooLarge is the reason where a number has more digits than fit.
func tooLarge(err error) string {
	if errors.Is(err, strconv.ErrRange) {
		return " that can be used: it is too large"
	}
	return ""
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

// number is a number as YAML 1.2 has it (section 10.3.2). The parser goes by YAML 1.1,
// where one with an exponent and no dot is a text, and takes for a text what does not
// fit 64 bits.
var number = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

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
		if numeric && n.GetToken().Type == token.StringType && number.MatchString(n.Value) {
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
		if f.quoted || t == reflect.TypeFor[Place]() || t == reflect.TypeFor[Expiry]() {
			return "", fmt.Errorf("%s is a number, and a name or a path such as user.id is expected; write that, or put the number in quotes if it is one", text)
		}
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
		return "", fmt.Errorf("%s is true or false, which is not expected here%s", n.GetToken().Value, hint(t, f))
	case *ast.InfinityNode, *ast.NanNode:
		return "", fmt.Errorf("%s is a %s, which is not expected here%s", n.GetToken().Value, kindOf(n), hint(t, f))
	case *ast.NullNode:
		return "", errNoValue
	default:
		return "", fmt.Errorf("a single value is expected, not a %s%s", kindOf(n), hint(t, f))
	}
}

// hint says what to write for a value of the type.
func hint(t reflect.Type, f field) string {
	switch {
	case len(f.oneof) > 0:
		return "; it is one of " + strings.Join(f.oneof, ", ")
	case t == reflect.TypeFor[time.Duration]():
		return "; write a duration like 90s, 15m, 12h or 4d"
	case t.Kind() == reflect.Int:
		return "; write a whole number in digits, such as 4"
	case t.Kind() == reflect.Float64:
		return "; write a number in digits, such as 0.5"
	case t.Kind() == reflect.Bool:
		return "; write true or false"
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
	case *ast.InfinityNode:
		return "number without end"
	case *ast.NanNode:
		return "value that is not a number"
	default:
		return "single value"
	}
}
