package app

import (
	"fmt"
	"strings"
)

// Roles says what a process does.
type Roles struct {
	API       bool // answers HTTP
	Scheduler bool // claims what is due and enqueues it
	Worker    bool // refreshes and delivers
}

// ParseRoles reads names of roles.
func ParseRoles(names []string) (Roles, error) {
	var r Roles
	for _, name := range names {
		switch strings.TrimSpace(name) {
		case "api":
			r.API = true
		case "scheduler":
			r.Scheduler = true
		case "worker":
			r.Worker = true
		default:
			return Roles{}, fmt.Errorf("unknown role %q; the roles are api, scheduler and worker", name)
		}
	}
	if r == (Roles{}) {
		return Roles{}, fmt.Errorf("no role was given; the roles are api, scheduler and worker")
	}
	return r, nil
}

// names lists the roles.
func (r Roles) names() []string {
	var names []string
	for _, row := range []struct {
		has  bool
		name string
	}{{r.API, "api"}, {r.Scheduler, "scheduler"}, {r.Worker, "worker"}} {
		if row.has {
			names = append(names, row.name)
		}
	}
	return names
}
