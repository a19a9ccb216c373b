package api

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// ServeHTTP is the way in. It refuses what no route may be asked, and sees
// every answer out.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	res := &response{ResponseWriter: w}
	defer a.finish(res, r, began)
	h := res.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // a URL may hold a ticket
	preflight := a.share(h, r)
	if len(r.TransferEncoding) > 0 {
		// A message with Content-Length beside Transfer-Encoding may be an
		// attempt to smuggle a second one past a proxy. net/http takes the
		// latter, as RFC 9112 section 6.3 wants, without telling; the
		// connection has to end then.
		h.Set("Connection", "close")
	}
	if p := refuse(r); p != nil {
		p.write(res)
		return
	}
	if preflight {
		res.WriteHeader(http.StatusNoContent)
		return
	}
	a.mux.ServeHTTP(res, r)
}

// finish counts and logs a request that was answered, and answers one whose
// handler panicked.
func (a *API) finish(res *response, r *http.Request, began time.Time) {
	value := recover()
	if value != nil && !res.clientGone(value) {
		a.log.Error().Str("route", r.Pattern).Str("panic", panicType(value)).Bytes("stack", debug.Stack()).Msg("request panicked")
		if res.status == 0 {
			problem(http.StatusInternalServerError, codeInternal, "this is a fault of the service; its log has the cause").write(res)
			value = nil
		}
	}
	took := time.Since(began)
	route := r.Pattern
	if route == "" {
		route = "none"
	}
	a.metrics.answered(route, res.status, took, strings.HasSuffix(route, eventsPath))
	if line := a.log.Debug(); line.Enabled() {
		line.Str("route", route).Int("status", res.status).Stringer("took", took).Msg("request")
	}
	if value != nil {
		panic(http.ErrAbortHandler) // the answer is cut off, and must look so
	}
}

// refuse tells what is wrong with a request whatever it is for.
func refuse(r *http.Request) *Problem {
	if r.URL.Path == "" || r.URL.Path[0] != '/' || strings.Contains(r.URL.Path, "//") || dotted(r) {
		return problem(http.StatusBadRequest, codeBadRequest, "path has an empty part, or a part that is . or ..")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return problem(http.StatusUnsupportedMediaType, codeMediaType, "send the body without Content-Encoding").with("Accept-Encoding", "identity")
	}
	return nil
}

// dotted reports whether a part of the path is "." or "..". Escaped dots are
// characters of an ID.
func dotted(r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/.") {
		return false
	}
	for part := range strings.SplitSeq(r.URL.EscapedPath(), "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// noRoute answers for a path that is not served, or not with that method.
func (a *API) noRoute(w http.ResponseWriter, r *http.Request) {
	if _, p := a.admit(r, nil); p != nil {
		p.write(w)
		return
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
		other := *r
		other.Method = method
		if _, pattern := a.mux.Handler(&other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		problem(http.StatusNotFound, codeNoRoute, "nothing is served under this path; /openapi.json lists what is").write(w)
		return
	}
	slices.Sort(allowed)
	problem(http.StatusMethodNotAllowed, codeBadMethod, "this path takes "+strings.Join(allowed, ", ")).
		with("Allow", strings.Join(allowed, ", ")).write(w)
}

// panicType describes a panic without a value that may hold what was sent.
func panicType(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", value)
}
