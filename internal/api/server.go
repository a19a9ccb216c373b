package api

import (
	"context"
	"crypto/tls"
	"net"
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
	// sendBuffer bounds what the kernel takes of an answer before its reader has
	// read of it, in bytes; Linux doubles it, and grows to megabytes by itself
	// what is not bounded. It is what a thousand clients that never read hold
	// beside what this process holds, and until it is full they look like
	// clients that read.
	sendBuffer = 64 << 10
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
		ConnContext:       boundSend,
	}
	server.RegisterOnShutdown(a.StopStreams)
	return server
}

// boundSend bounds the kernel's buffer of a connection that was accepted.
func boundSend(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // as it was, it works as well
	}
	return ctx
}
