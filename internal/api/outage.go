package api

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// redisReply is an error with which Redis itself has answered, as its client
// hands it on. Redis could be reached, and would not.
type redisReply interface {
	error
	RedisError()
}

// anotherRun is an error which says that Redis came back as another run.
type anotherRun interface {
	error
	AnotherRun()
}

// redisAway is what callers are told while Redis cannot be reached: all that
// the service does for them needs Redis or a provider, and what a provider does
// has a reason of its own.
const redisAway = "Redis cannot be reached, and this needs it: start it, or see in /readyz what is wrong; the service goes on by itself then"

// outage tells callers what keeps the service from answering although nothing
// is wrong with it or with the request; "" if err is about something else. The
// words are this package's own, for an error may name addresses.
func outage(err error) string {
	if reply, ok := errors.AsType[redisReply](err); ok {
		return refusal(reply.Error())
	}
	if _, ok := errors.AsType[anotherRun](err); ok {
		return "Redis was restarted or replaced, and what it lost is being put back"
	}
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return "the disk of this service is full, and nothing is begun whose outcome it could not keep; make room on the disk of data_dir, or make it larger, and everything goes on by itself"
		}
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return redisAway
	}
	return ""
}

// refusal reads the code that begins an error reply of Redis (RESP, "Simple
// errors"); "" for one that waiting would not mend, as a key of another type.
func refusal(text string) string {
	code, _, _ := strings.Cut(text, " ")
	switch code {
	case "LOADING":
		return "Redis is still loading its data"
	case "READONLY":
		return "Redis is a read-only replica now and takes no changes"
	case "OOM":
		return "Redis is out of memory and refuses this until it has room; logins, logouts and deletions are stored"
	case "MISCONF":
		return "Redis cannot write to its disk and takes no changes"
	case "BUSY", "UNKILLABLE":
		return "Redis is busy with a script"
	case "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS":
		return "Redis has lost its master or its replicas"
	case "NOAUTH", "WRONGPASS", "NOPERM":
		return "Redis refuses this service's login"
	}
	if strings.HasPrefix(text, "ERR max number of clients") {
		return "Redis takes no more connections"
	}
	return ""
}
