package app

import (
	"fmt"
	"os"
	"strings"

	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/event"
)

// stampsOf tells whether files have changed: it is another text then.
func stampsOf(files []string) string {
	var b strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", name, err)
			continue
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, info.ModTime().UnixNano(), info.Size())
	}
	return b.String()
}

// receivers returns the configured subscriptions as the deliverer takes them.
func receivers(conf *config.Config) ([]event.Subscription, error) {
	list := make([]event.Subscription, 0, len(conf.Subscriptions))
	for _, s := range conf.Subscriptions {
		filter := event.Filter{Types: s.Types, Providers: s.Providers}
		if err := filter.Check(); err != nil {
			return nil, fmt.Errorf("subscriptions.%s: %w", s.Name, err)
		}
		list = append(list, event.Subscription{Name: s.Name, URL: s.URL, Secret: s.Secret, Filter: filter})
	}
	return list, nil
}

// journalsLeft counts the journals in a folder, and those that were damaged and
// put aside.
func journalsLeft(dir string) (journals, damaged int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0 // what is wrong with the folder is another finding
	}
	for _, entry := range entries {
		switch {
		case strings.HasSuffix(entry.Name(), ".wal"):
			journals++
		case strings.HasSuffix(entry.Name(), ".damaged"):
			damaged++
		}
	}
	return journals, damaged
}
