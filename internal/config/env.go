package config

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const envPrefix = "REFRESHD_"

// foreign are the variables with our prefix that are no keys of the file.
func foreign() []string {
	return []string{"REFRESHD_URL", "REFRESHD_KEY", "REFRESHD_CONFIG", "REFRESHD_REQUIRE_REDIS", "REFRESHD_SOAK", "REFRESHD_NO_RACE"}
}

// environ makes a table of os.Environ.
func environ(env []string) map[string]string {
	table := make(map[string]string, len(env))
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok {
			table[name] = value
		}
	}
	return table
}

// override applies the environment: REFRESHD_ and the path of a key in
// capitals, its parts joined by _, as in REFRESHD_LOG_LEVEL or
// REFRESHD_PROVIDERS_ACME_CLIENT_SECRET. It changes single values, of
// providers and subscriptions that the file has.
func (l *loader) override() {
	used := map[string]string{}
	l.overrideIn(reflect.ValueOf(l.cfg).Elem(), field{}, "", used)
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if !strings.HasPrefix(name, envPrefix) || l.envUsed[name] || slices.Contains(foreign(), name) || failpoint.Reads(name) {
			continue
		}
		if _, ok := used[name]; !ok {
			l.warnings = append(l.warnings, name+": nothing reads this environment variable; names are REFRESHD_ and the path of a key, as in REFRESHD_LOG_LEVEL, and providers and subscriptions must be in the file")
		}
	}
}

// envName is the variable of a key.
func envName(key string) string {
	return envPrefix + strings.Map(func(r rune) rune {
		switch r {
		case '.', '-', '[':
			return '_'
		case ']':
			return -1
		}
		return unicode.ToUpper(r)
	}, key)
}

// overrideIn walks everything that has a value of its own. used remembers
// which key took a variable.
func (l *loader) overrideIn(v reflect.Value, f field, key string, used map[string]string) {
	kind := shapeOf(v.Type())
	if kind == scalar || kind == either {
		l.overrideScalar(v, f, key, used)
	}
	switch kind {
	case mapping, either:
		for _, f := range fieldsOf(v.Type()) {
			if f.remedy == "" {
				l.overrideIn(v.Field(f.index), f, join(key, f.key), used)
			}
		}
	case table:
		for _, name := range slices.Sorted(stringKeys(v)) {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(reflect.ValueOf(name)))
			l.overrideIn(elem, field{}, join(key, name), used)
			v.SetMapIndex(reflect.ValueOf(name), elem)
		}
	case list:
		for i := range v.Len() {
			l.overrideIn(v.Index(i), f, key+"["+strconv.Itoa(i)+"]", used)
		}
	case scalar, free:
	}
}

func stringKeys(m reflect.Value) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, k := range m.MapKeys() {
			if !yield(k.String()) {
				return
			}
		}
	}
}

func (l *loader) overrideScalar(v reflect.Value, f field, key string, used map[string]string) {
	name := envName(key)
	value, set := l.env[name]
	if !set || l.envUsed[name] {
		return
	}
	if other, taken := used[name]; taken {
		l.refuse(key, "the environment variable %s could mean this key or %s; rename the provider", name, other)
		return
	}
	used[name] = key
	l.mark(key, "environment variable "+name)
	if value == "" || blank(value) {
		l.refuse(key, "the variable is set, and there is nothing in it; unset it, or give it a value")
		return
	}
	if v.Type() == reflect.TypeFor[credential.Secret]() {
		l.setSecret(v, value, key, "it")
		return
	}
	if err := l.setText(v, f, value); err != nil {
		l.refuse(key, "%v", err)
	}
}
