package app

import (
	"fmt"
	"os"
	"strings"

	"github.com/refreshd/refreshd/internal/journal"
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

// journalsLeft counts the journals in a folder, and those that were damaged and
// put aside.
func journalsLeft(dir string) (journals, damaged int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0 // what is wrong with the folder is another finding
	}
	for _, entry := range entries {
		if _, ok := journal.OwnerOf(entry.Name()); ok {
			journals++
		} else if journal.IsDamaged(entry.Name()) {
			damaged++
		}
	}
	return journals, damaged
}
