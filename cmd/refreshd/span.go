package main

import (
	"time"

	"github.com/refreshd/refreshd/internal/config"
)

// span is a flag's length of time, written as in config.yaml, with days too, or as
// a number of seconds, as the API takes it.
type span time.Duration

// Set reads what is behind the flag.
func (s *span) Set(text string) error {
	if last := len(text) - 1; last >= 0 && text[last] >= '0' && text[last] <= '9' {
		text += "s"
	}
	d, err := config.ParseDuration(text)
	if err != nil {
		return err
	}
	*s = span(d)
	return nil
}

// String writes it as the service reads it.
func (s *span) String() string { return time.Duration(*s).String() }

// Type is what help calls it.
func (*span) Type() string { return "duration" }
