package practice

import "sync"

// label is a number for a string of a small set: an outcome, a client, a
// scope. Entries of the ledger hold labels, so that a long ledger has no
// pointers for the garbage collector to follow.
type label uint16

// noLabel is the empty string's label.
const noLabel label = 0

// labels gives strings their labels. The strings come from the operator
// (clients, scopes of minted grants) or are constants, never from a request.
type labels struct {
	mu    sync.RWMutex
	texts []string
	index map[string]label
}

func newLabels() *labels {
	return &labels{texts: []string{""}, index: map[string]label{"": noLabel}}
}

// of returns the label of text. When all labels are taken, it is noLabel.
func (l *labels) of(text string) label {
	l.mu.RLock()
	n, ok := l.index[text]
	l.mu.RUnlock()
	if ok {
		return n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok = l.index[text]; ok {
		return n
	}
	next := len(l.texts)
	if next > int(^label(0)) {
		return noLabel
	}
	n = label(next)
	l.texts = append(l.texts, text)
	l.index[text] = n
	return n
}

func (l *labels) text(n label) string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.texts[n]
}
