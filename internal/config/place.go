package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Place is where a reply holds a value: a path into its JSON body, a header or
// a cookie. The zero value is nowhere.
type Place struct {
	JSON   string `quoted:"yes" yaml:"json"`
	Header string `quoted:"yes" yaml:"header"`
	Cookie string `quoted:"yes" yaml:"cookie"`
}

// UnmarshalText takes a JSON path.
func (p *Place) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("the path is empty; write one like user.id")
	}
	p.JSON = string(text)
	return nil
}

// IsZero reports whether no place is named.
func (p Place) IsZero() bool { return p == Place{} }

// Expiry is where a reply holds an expiry, and in what notation. Unit is "" for
// the notation that the value itself shows.
type Expiry struct {
	JSON   string `quoted:"yes" yaml:"json"`
	Header string `quoted:"yes" yaml:"header"`
	Cookie string `quoted:"yes" yaml:"cookie"`
	Unit   string `oneof:"s ms unix unix_ms rfc3339 http" yaml:"unit"`
}

// UnmarshalText takes a JSON path.
func (e *Expiry) UnmarshalText(text []byte) error {
	var p Place
	if err := p.UnmarshalText(text); err != nil {
		return err
	}
	e.JSON = p.JSON
	return nil
}

// Place returns where the expiry is.
func (e Expiry) Place() Place { return Place{JSON: e.JSON, Header: e.Header, Cookie: e.Cookie} }

// Send says how requests carry the token: as a bearer token (the zero value),
// a header or a cookie.
type Send struct {
	Header string `quoted:"yes" yaml:"header"`
	Cookie string `quoted:"yes" yaml:"cookie"`
}

// UnmarshalText takes the word bearer.
func (s *Send) UnmarshalText(text []byte) error {
	if string(text) != "bearer" {
		return errors.New("it must be bearer, {header: NAME} or {cookie: NAME}")
	}
	*s = Send{}
	return nil
}

// minStatus is the least status that is an answer.
const minStatus = 200

// Statuses is a range of HTTP statuses, both ends included. The zero value is
// any.
type Statuses struct{ From, To int }

// UnmarshalText takes one (401), a class (4xx) or a range (500-504).
func (s *Statuses) UnmarshalText(text []byte) error {
	from, to, isRange := strings.Cut(string(text), "-")
	if class, ok := strings.CutSuffix(from, "xx"); ok && len(class) == 1 && !isRange {
		from, to = class+"00", class+"99"
	} else if !isRange {
		to = from
	}
	var err error
	if s.From, err = strconv.Atoi(from); err == nil {
		s.To, err = strconv.Atoi(to)
	}
	if err != nil || s.From < minStatus || s.To > 599 || s.From > s.To {
		*s = Statuses{}
		return fmt.Errorf("%q is not an HTTP status; write 401, 4xx or 500-504", text)
	}
	return nil
}

// within reports whether all of s lies in the class of statuses that begins
// with a digit.
func (s Statuses) within(digit int) bool { return s.From/100 == digit && s.To/100 == digit }

// Redirect recognises a redirect: any, or one to a Location that fits a pattern
// in which * stands for any text. The zero value recognises none.
type Redirect struct {
	Any      bool
	Location string
}

// UnmarshalText takes true or a pattern. A word that YAML 1.1 has for a truth value
// is meant as one, and leads nowhere.
func (r *Redirect) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "true":
		*r = Redirect{Any: true}
	case "", "false", "yes", "no", "on", "off":
		return fmt.Errorf(`%q is no pattern; write true for any redirect, or a pattern for where it leads, as in "*/login*"`, text)
	default:
		if _, err := strconv.ParseFloat(string(text), 64); err == nil {
			return fmt.Errorf(`%s is a number, and no redirect leads there; write true for any redirect, or a pattern for where it leads, as in "*/login*", and a status as status`, text)
		}
		*r = Redirect{Location: string(text)}
	}
	return nil
}

// Comparison is the text of a JSON value to compare with; "" for none.
type Comparison string

// UnmarshalText takes any text that is one.
func (c *Comparison) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("it is empty; leave it out for a path that is there, whatever it holds")
	}
	*c = Comparison(text)
	return nil
}
