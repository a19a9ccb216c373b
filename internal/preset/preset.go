package preset

import (
	"slices"
	"strings"
)

// The kinds of provider, as the configuration calls them.
const (
	kindOAuth2 = "oauth2"
	kindHTTP   = "http"
)

// Preset is what is known of one provider.
type Preset struct {
	Name  string
	Title string // the provider's own name
	Kind  string // of the provider's settings: oauth2 or http

	// Settings is YAML: keys of a provider as the configuration has them. It
	// may hold the part's name in braces; see [Preset.With].
	Settings string
	// Part stands in its addresses and is known to the operator alone; the zero
	// value is for none.
	Part Part
	// Issuer shows what the issuer looks like, where the addresses are found
	// through one that only the operator knows; "" otherwise.
	Issuer string
	// Needs lists further keys that the configuration has to set.
	Needs []Need

	Unverified []string // keys of Settings that rest on hearsay; each can be set otherwise
	Notes      []string // what whoever uses it should know
	Docs       string   // the provider's documentation
}

// Part is a piece of an address.
type Part struct {
	Name    string // tenant or domain
	Example string
	Usual   string // taken where the configuration names none; "" if there is no such thing
}

// Need is a key that a preset cannot fill in.
type Need struct {
	Key  string // its path within the provider
	What string
}

// With returns the settings with the part put in. Whoever calls it has seen to
// it that the part is made of letters, digits, dots, hyphens and a port.
func (p Preset) With(part string) string {
	if p.Part.Name == "" {
		return p.Settings
	}
	return strings.ReplaceAll(p.Settings, "{"+p.Part.Name+"}", part)
}

// Find returns the preset of that name.
func Find(name string) (Preset, bool) {
	all := All()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return all[i], true
}

// Names lists the names of all presets.
func Names() []string {
	var names []string
	for _, p := range All() {
		names = append(names, p.Name)
	}
	return names
}

// All lists the presets by their names.
func All() []Preset {
	all := slices.Concat(accounts(), business(), servers(), addresses())
	slices.SortFunc(all, func(a, b Preset) int { return strings.Compare(a.Name, b.Name) })
	return all
}
