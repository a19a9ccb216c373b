package api

import (
	"net/http"
	"time"
)

const (
	// headerWithin bounds how long a client may take to send the header of a
	// request, requestWithin how long for all of it.
	headerWithin  = 10 * time.Second
	requestWithin = 30 * time.Second
	// answerWithin bounds the whole of an answer. Waiting for a provider, which
	// may take its own timeout of up to five minutes, is part of it; once an
	// answer begins it is bounded by writeWithin.
	answerWithin = 6 * time.Minute
	idleFor      = 2 * time.Minute
	// maxHeader bounds the header of a request in bytes. The longest that is
	// meant to come is the cursor of an event stream.
	maxHeader = 32 << 10
)

// Server returns a server for the API with all its limits set. Its Shutdown
// ends the event streams first. Where it listens, TLS and its error log are
// its owner's.
func (a *API) Server() *http.Server {
	server := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: headerWithin,
		ReadTimeout:       requestWithin,
		WriteTimeout:      answerWithin,
		IdleTimeout:       idleFor,
		MaxHeaderBytes:    maxHeader,
	}
	server.RegisterOnShutdown(a.StopStreams)
	return server
}
