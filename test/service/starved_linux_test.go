package service

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// starvation is how long the threads of a process waited for a processor while
// they could have run, as it was seen from outside.
type starvation struct{ seen []glance }

// glance is one look at all threads.
type glance struct {
	at     time.Time
	ran    map[string]time.Duration // by thread
	ready  map[string]bool          // it runs, or waits for a processor
	waited map[string]time.Duration // since the first look
}

// glanceEvery is the time between two looks, as far as the one who looks is
// given a processor.
const glanceEvery = 5 * time.Millisecond

// watchStarvation looks at a process until it is told to stop.
func watchStarvation(pid int) (stop func() *starvation) {
	quit, result := make(chan struct{}), make(chan *starvation)
	go func() {
		s, tasks := &starvation{}, fmt.Sprintf("/proc/%d/task", pid)
		tick := time.NewTicker(glanceEvery)
		defer tick.Stop()
		for {
			s.look(tasks, time.Now())
			select {
			case <-tick.C:
			case <-quit:
				result <- s
				return
			}
		}
	}()
	return func() *starvation {
		close(quit)
		return <-result
	}
}

// look notes how long each thread of the folder has run by now. One that could run at both ends of an
// interval waited for as much of it as it did not run. A thread that is gone
// between two reads is left out.
func (s *starvation) look(tasks string, now time.Time) {
	g := glance{at: now, ran: map[string]time.Duration{}, ready: map[string]bool{}, waited: map[string]time.Duration{}}
	list, err := os.ReadDir(tasks)
	if err != nil {
		return
	}
	for _, entry := range list {
		thread := entry.Name()
		times, err := os.ReadFile(filepath.Join(tasks, thread, "schedstat"))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(tasks, thread, "stat"))
		if err != nil {
			continue
		}
		ran, _, _ := strings.Cut(string(times), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			continue
		}
		state := string(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name before it may hold anything
		g.ran[thread], g.ready[thread] = time.Duration(ns), strings.HasPrefix(state, " R")
		if len(s.seen) == 0 {
			continue
		}
		last := s.seen[len(s.seen)-1]
		g.waited[thread] = last.waited[thread]
		if last.ready[thread] && g.ready[thread] {
			g.waited[thread] += max(0, g.at.Sub(last.at)-(g.ran[thread]-last.ran[thread]))
		}
	}
	s.seen = append(s.seen, g)
}

// since is how long the thread that fared worst has waited since a moment.
func (s *starvation) since(from time.Time) time.Duration {
	if len(s.seen) == 0 {
		return 0
	}
	first := s.seen[0]
	for _, g := range s.seen {
		if g.at.After(from) {
			break
		}
		first = g
	}
	last, most := s.seen[len(s.seen)-1], time.Duration(0)
	for thread, waited := range last.waited {
		most = max(most, waited-first.waited[thread])
	}
	return most
}
