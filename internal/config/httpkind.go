package config

import (
	"errors"
	"time"
)

// HTTPCall is one call to a backend and where its reply holds what.
type HTTPCall struct {
	Request  HTTPRequest  `yaml:"request"`
	Response HTTPResponse `yaml:"response"`
}

// HTTPRequest is what is sent. Its texts may hold {{.username}}, {{.password}},
// {{.access_token}}, {{.refresh_token}} and {{.subject}}.
type HTTPRequest struct {
	Method  string            `oneof:"GET POST PUT PATCH DELETE" yaml:"method"`
	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers"`
	Form    map[string]string `yaml:"form"`
	JSON    map[string]string `yaml:"json"`
}

// HTTPResponse says where the reply holds what.
type HTTPResponse struct {
	AccessToken  Place `yaml:"access_token"`
	RefreshToken Place `yaml:"refresh_token"`
	ExpiresIn    Place `yaml:"expires_in"`
	Subject      Place `yaml:"subject"`
	UserData     Place `yaml:"user_data"`
}

// Place is a path into a JSON body, a header or a cookie.
type Place struct {
	JSON   string `yaml:"-"`
	Header string `yaml:"header"`
	Cookie string `yaml:"cookie"`
}

// UnmarshalText takes a JSON path.
func (p *Place) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("the path is empty; write one like user.id")
	}
	p.JSON = string(text)
	return nil
}

// Send says how requests carry the token: as a bearer token (the zero value),
// a header or a cookie.
type Send struct {
	Header string `yaml:"header"`
	Cookie string `yaml:"cookie"`
}

// UnmarshalText takes the word bearer.
func (s *Send) UnmarshalText(text []byte) error {
	if string(text) != "bearer" {
		return errors.New("it must be bearer, {header: NAME} or {cookie: NAME}")
	}
	*s = Send{}
	return nil
}

// Session is a sliding session's rules.
type Session struct {
	IdleTimeout     time.Duration `yaml:"idle_timeout"`
	AbsoluteTimeout time.Duration `yaml:"absolute_timeout"`
	Extend          HTTPCall      `yaml:"extend"`
	LoggedOutWhen   []LoggedOut   `yaml:"logged_out_when"`
	WarnBefore      time.Duration `yaml:"warn_before"`
	OnActive        string        `yaml:"on_active"`
	OnDeath         string        `oneof:"reauth logout" yaml:"on_death"`
}

// LoggedOut recognises a reply that means the session is over.
type LoggedOut struct {
	Status int    `yaml:"status"`
	JSON   string `yaml:"json"`
	Equals string `yaml:"equals"`
}
