//go:build failpoints

package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// lookEvery is how long the file of rules is not looked at again.
const lookEvery = 50 * time.Millisecond

// armed is a rule and how often its point was hit since.
type armed struct {
	rule

	hits int
}

// armoury holds the rules that are armed. Its methods may be called from any
// goroutine.
type armoury struct {
	file string
	log  string

	mu     sync.Mutex
	fixed  []*armed
	filed  []*armed
	read   string
	looked time.Time
}

// newArmoury arms rules from a text; file and log may be empty.
func newArmoury(rules, file, log string) (*armoury, error) {
	fixed, err := parse(rules)
	if err != nil {
		return nil, err
	}
	return &armoury{file: file, log: log, fixed: arm(fixed, nil)}, nil
}

// due counts a hit and returns the rules that act now, each of them written to
// the log.
func (a *armoury) due(p Point) ([]rule, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.look(); err != nil {
		return nil, err
	}
	var acting []rule
	for _, set := range [][]*armed{a.fixed, a.filed} {
		for _, r := range set {
			if r.point != p {
				continue
			}
			r.hits++
			acts, told := r.hits == r.nth || r.nth == 0, true
			if r.action == jump {
				acts, told = r.hits >= r.nth, r.hits == max(r.nth, 1)
			}
			if !acts {
				continue
			}
			if told {
				if err := a.tell(r.rule); err != nil {
					return nil, err
				}
			}
			acting = append(acting, r.rule)
		}
	}
	return acting, nil
}

// look reads the file again if that was not done just now.
func (a *armoury) look() error {
	if a.file == "" {
		return nil
	}
	now := time.Now()
	if !a.looked.IsZero() && now.Sub(a.looked) < lookEvery {
		return nil
	}
	a.looked = now
	text, err := os.ReadFile(a.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("failpoint: %w", err)
	}
	if string(text) == a.read {
		return nil
	}
	rules, err := parse(string(text))
	if err != nil {
		return err
	}
	a.filed, a.read = arm(rules, a.filed), string(text)
	return nil
}

// tell appends to the log. A line is one write to a file opened for appending,
// so that several processes can share it.
func (a *armoury) tell(r rule) error {
	if a.log == "" {
		return nil
	}
	f, err := os.OpenFile(a.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("failpoint: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s %s %d\n", r.point, r.shown, os.Getpid())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("failpoint: %w", err)
	}
	return nil
}

// arm arms rules, of which those that stood before keep their counts.
func arm(rules []rule, before []*armed) []*armed {
	hits := map[string]int{}
	for _, r := range before {
		hits[r.text] = r.hits
	}
	set := make([]*armed, 0, len(rules))
	for _, r := range rules {
		set = append(set, &armed{rule: r, hits: hits[r.text]})
	}
	return set
}
