package wire

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// ErrForbiddenAddress is wrapped where a provider's address is one that no
// provider can have: link-local, or a cloud's metadata service.
var ErrForbiddenAddress = errors.New("link-local and metadata addresses are refused")

var (
	errCalledOff = errors.New("called off before anything was sent")
	errRetired   = errors.New("too late to send anything")
	errInterim   = fmt.Errorf("more than %d interim replies", maxInterim)
	errClosed    = errors.New("the client is closed")
	errEnded     = errors.New("the connection ended before a reply came")
)

// Error is a call that brought no reply. Its text holds fixed words and
// numbers only: no URL, no address, nothing that was sent or received.
type Error struct {
	// Outcome has the class: ClassNotSent if the provider can have received
	// nothing, ClassOperator if in addition only the settings can mend it,
	// ClassAmbiguous otherwise.
	Outcome credential.Outcome
	cause   error
}

// Error returns the detail of the outcome.
func (e *Error) Error() string { return e.Outcome.Detail }

// Unwrap returns the cause, for errors.Is and errors.As. Its text may be the
// provider's: do not show it.
func (e *Error) Unwrap() error { return e.cause }

// TimeoutError is the cause that a call's context is cancelled with when its
// time is up.
type TimeoutError struct {
	Provider string
	What     string // that did not happen
	After    time.Duration
}

// Error names the provider and the time.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("provider %s: %s within %s", e.Provider, e.What, e.After)
}

// Timeout is true.
func (e *TimeoutError) Timeout() bool { return true }

// refusedError is a request that was not written, or not to its end, because
// it was no longer allowed.
type refusedError struct{ err error }

// Error does not quote the cause.
func (e *refusedError) Error() string { return "sending was no longer allowed" }

// Unwrap returns the cause.
func (e *refusedError) Unwrap() error { return e.err }

// Timeout is true: it is time that takes the permission away.
func (e *refusedError) Timeout() bool { return true }

// proxyError is a proxy's refusal to connect.
type proxyError struct{ status int }

// Error names the status.
func (e *proxyError) Error() string {
	return "the proxy answered HTTP " + strconv.Itoa(e.status)
}

// failure describes a call that ended with err, given whether anything can
// have reached the provider.
func failure(err error, sent bool) *Error {
	o := credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonNetwork}
	if sent {
		o.Class = credential.ClassAmbiguous
	}
	o.Detail = describe(err, sent)
	switch {
	case isTimeout(err):
		o.Reason = credential.ReasonTimeout
	case !sent && isOperators(err):
		o.Class = credential.ClassOperator
		o.Reason = credential.ReasonClientMisconfigured
	case errors.Is(err, ErrTooLong), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		o.Reason = credential.ReasonMalformedReply
	}
	return &Error{Outcome: o, cause: err}
}

// isOperators reports whether the settings, or a certificate, have to be
// mended before a connection can come about.
func isOperators(err error) bool {
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	return unverified || errors.Is(err, ErrForbiddenAddress)
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && timeout.Timeout()
}

// describe says in words of its own what err is. Error texts of the libraries
// are not used: they quote addresses, proxies' answers and headers.
func describe(err error, sent bool) string {
	if text := describeTLS(err); text != "" {
		return text
	}
	if timeout, ok := errors.AsType[*TimeoutError](err); ok {
		return fmt.Sprintf("%s within %s", timeout.What, timeout.After)
	}
	if proxy, ok := errors.AsType[*proxyError](err); ok {
		return proxy.Error()
	}
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.Error()
	}
	for _, own := range []error{ErrForbiddenAddress, errCalledOff, errRetired, errInterim, errClosed, errEnded, errUnfit, errUnsolicited, ErrTooLong} {
		if errors.Is(err, own) {
			return own.Error()
		}
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "the host's name does not resolve"
		}
		return "the host's name could not be looked up"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "host unreachable"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "no free file descriptor"
	case isTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return "timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "connection closed"
	}
	if sent {
		return "no readable HTTP reply"
	}
	return "no usable connection"
}

// describeTLS describes a failed TLS handshake, "" if err is none.
func describeTLS(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "TLS: the certificate is for another host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "TLS: the certificate is signed by an unknown authority"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "TLS: the certificate has expired or is not valid yet"
		}
		return "TLS: the certificate is not valid"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: the certificate could not be verified"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "TLS: the other side does not speak it"
	}
	if _, ok := errors.AsType[*handshakeError](err); ok {
		return "TLS: the handshake failed"
	}
	return ""
}

// handshakeError is a TLS handshake that failed.
type handshakeError struct{ err error }

// Error does not quote the cause.
func (e *handshakeError) Error() string { return "the TLS handshake failed" }

// Unwrap returns the cause.
func (e *handshakeError) Unwrap() error { return e.err }
