package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/refreshd/refreshd/internal/preset"
)

// partShape is what may be put into a preset's address: a host with or without
// a port, or the name or ID of a tenant.
var partShape = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// applyPresets fills in what providers took over by a preset's name and did not
// set themselves.
func (l *loader) applyPresets() {
	for _, name := range slices.Sorted(maps.Keys(l.cfg.Providers)) {
		p := l.cfg.Providers[name]
		key := join("providers", name)
		if known, ok := l.findPreset(key+".preset", p.Preset); ok {
			l.applyPreset(key, known, &p)
		}
		l.cfg.Providers[name] = p
	}
}

// findPreset returns the preset that is meant; false if there is none.
func (l *loader) findPreset(key string, p Preset) (preset.Preset, bool) {
	if !l.set(key) || p == (Preset{}) || !l.readable(key, key+".name") {
		return preset.Preset{}, false
	}
	known, ok := preset.Find(p.Name)
	if !ok {
		l.refuse(key, "%q is not a preset; there are %s", p.Name, strings.Join(preset.Names(), ", "))
	}
	return known, ok
}

func (l *loader) applyPreset(key string, known preset.Preset, p *Provider) {
	at := key + ".preset"
	if l.set(key+".kind") && p.Kind != known.Kind {
		l.refuse(key+".kind", "%s contradicts preset %s, which is of kind %s; remove kind or the preset", p.Kind, known.Name, known.Kind)
		l.bad[at] = true
		return
	}
	ownAddress := l.set(key+".issuer") || l.set(key+".token_url")
	settings, ok := l.partOf(at, known, p.Preset, ownAddress)
	if !ok {
		l.bad[at] = true // what is missing for it is not missed again
		return
	}
	if known.Issuer != "" && !ownAddress {
		l.refuse(at, "%s needs the issuer, through which its addresses are found; set issuer: %s", known.Name, known.Issuer)
	}
	for _, need := range known.Needs {
		if !l.set(join(key, need.Key)) {
			l.refuse(at, "%s needs %s: %s", known.Name, need.Key, need.What)
		}
	}
	root, _ := parse([]byte(settings + "kind: " + known.Kind + "\n")) // tests read every preset
	pairs, _ := pairsOf(root)
	if ownAddress {
		// Tokens must not go to the preset's addresses when the file names others.
		pairs = slices.DeleteFunc(slices.Clone(pairs), func(pair *ast.MappingValueNode) bool {
			name, _ := keyText(pair.Key)
			return name == "token_url" || name == "revoke_url"
		})
	}
	file := l.name
	l.name = "preset " + known.Name
	l.fill(pairs, reflect.ValueOf(p).Elem(), key)
	l.name = file
}

// partOf returns the preset's settings with the part of its addresses that the
// file names.
func (l *loader) partOf(at string, known preset.Preset, p Preset, ownAddress bool) (string, bool) {
	given := map[string]string{"tenant": p.Tenant, "domain": p.Domain}
	for _, name := range []string{"tenant", "domain"} {
		if l.set(join(at, name)) && name != known.Part.Name {
			l.refuse(join(at, name), "preset %s has no %s; remove it", known.Name, name)
		}
	}
	part, name := given[known.Part.Name], known.Part.Name
	switch {
	case name == "":
	case part == "" && ownAddress:
	case part == "" && known.Part.Usual == "":
		instead := ", or set token_url"
		if known.Kind == "http" {
			instead = ""
		}
		l.refuse(at, "%s needs a %s, such as %s; write preset: {name: %s, %s: …}%s", known.Name, name, known.Part.Example, known.Name, name, instead)
		return "", false
	case part == "":
		part = known.Part.Usual
	case !partShape.MatchString(part):
		l.refuse(join(at, name), "%q is not a %s; write one such as %s", part, name, known.Part.Example)
		return "", false
	}
	return known.With(part), true
}

// fill sets what has no value of its own yet. Entries of lists are added behind
// those of the file, which therefore decide first.
func (l *loader) fill(pairs []*ast.MappingValueNode, v reflect.Value, parent string) {
	for _, pair := range pairs {
		name, _ := keyText(pair.Key)
		key := join(parent, name)
		elem, f, store := v, field{}, func() {}
		if v.Kind() == reflect.Map {
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			elem = reflect.New(v.Type().Elem()).Elem()
			if old := v.MapIndex(reflect.ValueOf(name)); old.IsValid() {
				elem.Set(old)
			}
			f.secret = asTemplate // the only tables in a provider
			store = func() { v.SetMapIndex(reflect.ValueOf(name), elem) }
		} else {
			fields := fieldsOf(v.Type())
			f = fields[slices.IndexFunc(fields, func(f field) bool { return f.key == name })]
			elem = v.Field(f.index)
		}
		shape := shapeOf(elem.Type())
		below, isMapping := pairsOf(pair.Value)
		switch {
		case isMapping && (shape == mapping || shape == table):
			l.fill(below, elem, key)
		case shape != list && l.set(key):
		default:
			l.filled[key] = !l.set(key)
			l.decode(pair.Value, elem, f, key)
		}
		store()
	}
}

// byPreset reports whether a key got its value from a preset alone.
func (l *loader) byPreset(key string) bool { return l.filled[key] }
