package app

import "github.com/refreshd/refreshd/internal/preset"

// Preset is what is known of a provider.
type Preset struct {
	Name       string   `json:"name"`
	Title      string   `json:"title"`
	Kind       string   `json:"kind"`
	Settings   string   `json:"settings"` // YAML
	Part       string   `json:"part,omitempty"`
	Example    string   `json:"example,omitempty"` // of the part
	Usual      string   `json:"usual,omitempty"`   // the part that is taken where none is named
	Issuer     string   `json:"issuer,omitempty"`  // what it looks like
	Needs      []Need   `json:"needs,omitempty"`
	Unverified []string `json:"unverified,omitempty"`
	Notes      []string `json:"notes,omitempty"`
	Docs       string   `json:"docs"`
}

// Need is a key that has to be set beside a preset.
type Need struct {
	Key  string `json:"key"`
	What string `json:"what"`
}

// Presets lists the presets by their names.
func Presets() []Preset {
	all := preset.All()
	list := make([]Preset, len(all))
	for i, p := range all {
		list[i] = Preset{
			Name: p.Name, Title: p.Title, Kind: p.Kind, Settings: p.Settings,
			Part: p.Part.Name, Example: p.Part.Example, Usual: p.Part.Usual, Issuer: p.Issuer,
			Unverified: p.Unverified, Notes: p.Notes, Docs: p.Docs,
		}
		for _, need := range p.Needs {
			list[i].Needs = append(list[i].Needs, Need(need))
		}
	}
	return list
}
