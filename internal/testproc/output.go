package testproc

import (
	"bytes"
	"fmt"
	"regexp"
	"sync"
)

// maxPart is how much of a line without an end is held back before it is
// taken as a line.
const maxPart = 64 << 10

// output keeps the last whole lines of a process, up to limit bytes. Its
// methods may be called from any goroutine.
type output struct {
	limit int

	mu      sync.Mutex
	text    []byte
	dropped int64
	changed chan struct{}
}

func newOutput(limit int) *output {
	return &output{limit: limit, changed: make(chan struct{})}
}

// add appends whole lines and drops the oldest ones beyond the limit.
func (o *output) add(lines []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, lines...)
	if over := len(o.text) - o.limit; over > 0 {
		cut := over
		if end := bytes.IndexByte(o.text[over:], '\n'); end >= 0 {
			cut = over + end + 1
		}
		o.dropped += int64(cut)
		o.text = append(o.text[:0], o.text[cut:]...)
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// find looks for the expression in what was kept from the position on. Without
// a match it returns where to go on, and a channel that is closed when there
// is more.
func (o *output) find(re *regexp.Regexp, from int64) (match []string, next int64, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	start := max(from-o.dropped, 0)
	if found := re.FindSubmatch(o.text[start:]); found != nil {
		match = make([]string, len(found))
		for i, group := range found {
			match[i] = string(group)
		}
	}
	return match, o.dropped + int64(len(o.text)), o.changed
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped == 0 {
		return string(o.text)
	}
	return fmt.Sprintf("(%d bytes before this were dropped)\n%s", o.dropped, o.text)
}

// stream gathers one of a process's streams into lines, so that stdout and
// stderr never mix within a line. One goroutine writes to it.
type stream struct {
	out  *output
	part []byte
}

// Write takes whatever arrived and passes whole lines on.
func (s *stream) Write(b []byte) (int, error) {
	s.part = append(s.part, b...)
	if end := bytes.LastIndexByte(s.part, '\n'); end >= 0 {
		s.out.add(s.part[:end+1])
		s.part = append(s.part[:0], s.part[end+1:]...)
	}
	if len(s.part) > maxPart {
		s.flush()
	}
	return len(b), nil
}

// flush passes on a last line that has no end.
func (s *stream) flush() {
	if len(s.part) == 0 {
		return
	}
	s.out.add(append(s.part, '\n'))
	s.part = s.part[:0]
}
