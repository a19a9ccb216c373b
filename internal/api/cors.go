package api

import (
	"net/http"
	"slices"
	"strings"
)

const (
	sharedPaths   = "/v1/"
	sharedMethods = "GET, PUT, POST, DELETE"
	sharedRequest = "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, Accept"
	sharedAnswer  = "ETag, Retry-After, WWW-Authenticate, Allow"
	// sharedFor is how long a browser need not ask again, in seconds. An origin
	// that is taken out of the configuration is refused at once all the same:
	// the answers themselves are not shared any more.
	sharedFor = "600"
)

// share lets pages of the listed origins read the answer (the CORS protocol of
// the Fetch standard), and reports whether the request only asks for that. Keys
// travel in a header that such a page sets itself: there are no cookies, so
// credentials mode is never allowed. To every other origin the API is as if it
// knew nothing of this.
func (a *API) share(h http.Header, r *http.Request) (preflight bool) {
	if a.origins == nil || !strings.HasPrefix(r.URL.Path, sharedPaths) {
		return false
	}
	listed := a.origins()
	if len(listed) == 0 {
		return false
	}
	h.Add("Vary", "Origin")
	origin := r.Header["Origin"]
	if len(origin) != 1 || !slices.Contains(listed, origin[0]) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin[0])
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", sharedMethods)
		h.Set("Access-Control-Allow-Headers", sharedRequest)
		h.Set("Access-Control-Max-Age", sharedFor)
		return true
	}
	h.Set("Access-Control-Expose-Headers", sharedAnswer)
	return false
}
