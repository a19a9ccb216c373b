// Package api is the HTTP API: credentials, tokens, the event stream, keys and
// status, described by one OpenAPI 3.1 document, with errors as RFC 9457
// problems.
//
// It serves the interfaces that it declares in ports.go and knows nothing of
// what lies behind them. A request passes, in this order: the outer handler
// (log, metrics, panics, what no route may be asked), the router, the key
// check, the check of query and body, and the operation itself.
package api
