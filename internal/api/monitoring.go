package api

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// monitoringRoot is where the task monitor's pages are.
const monitoringRoot = "/monitoring"

// monitoring guards the pages of the task monitor, which have no
// authentication of their own: only an admin's key opens them, as a bearer
// token or, for browsers, as the password of HTTP Basic. A browser sends that
// unasked, so what changes something has to come from the pages themselves.
//
// The pages load fonts from elsewhere and have scripts in line. A policy that
// allows neither from outside is set, and a nonce given to what is in line.
func (a *API) monitoring(pages http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		forbidden("this has to come from the monitor's own pages").write(w)
	}))
	guarded := sameOrigin.Handler(secured(pages))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, p := a.authenticate(r, true)
		if p == nil && !key.may([]Scope{ScopeAdmin}) {
			p = lacksScope([]Scope{ScopeAdmin})
		}
		if p != nil {
			p.write(w)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// secured sets the content security policy and makes pages fit for it.
func secured(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nonce := newNonce()
		h := w.Header()
		h.Set("Content-Security-Policy", policy(nonce))
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		switch {
		case strings.HasPrefix(r.URL.Path, monitoringRoot+"/static/"):
			h.Set("Cache-Control", "private, max-age=86400") // their names change with their content
			pages.ServeHTTP(w, r)
			return
		case strings.HasPrefix(r.URL.Path, monitoringRoot+"/api/"):
			pages.ServeHTTP(w, r)
			return
		}
		page := &heldPage{header: h, status: http.StatusOK}
		pages.ServeHTTP(page, r)
		body := page.body.Bytes()
		if bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(body)), []byte("<!doctype html")) {
			body = fit(body, nonce)
			h.Set("Content-Type", "text/html; charset=utf-8")
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(page.status)
		_, _ = w.Write(body) // whoever asked may be gone
	})
}

// policy allows what comes from this origin, and in line what has the nonce.
func policy(nonce string) string {
	return strings.Join([]string{
		"default-src 'none'",
		"script-src 'self' 'nonce-" + nonce + "'",
		"style-src 'self' 'nonce-" + nonce + "'",
		"img-src 'self' data:",
		"font-src 'self'",
		"connect-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}

func newNonce() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(random[:])
}

// uselessLink matches a link to another origin, and that to the manifest, which
// browsers ask for without a password.
var uselessLink = regexp.MustCompile(`(?i)<link\b[^>]*(?:\bhref="(?:https?:)?//|\brel="manifest")[^>]*>`)

// fit takes links that cannot work out of a page and gives the nonce to the
// scripts in line. The meta element hands it to the styles that the page's
// scripts make (JSS looks for it under that name).
func fit(page []byte, nonce string) []byte {
	page = uselessLink.ReplaceAll(page, nil)
	page = bytes.ReplaceAll(page, []byte("<script>"), []byte(`<script nonce="`+nonce+`">`))
	return bytes.Replace(page, []byte("<head>"), []byte(`<head><meta property="csp-nonce" content="`+nonce+`"/>`), 1)
}

// heldPage holds an answer back.
type heldPage struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the header of the answer that will be sent.
func (p *heldPage) Header() http.Header { return p.header }

// WriteHeader notes the status.
func (p *heldPage) WriteHeader(status int) { p.status = status }

// Write keeps a part of the body.
func (p *heldPage) Write(b []byte) (int, error) { return p.body.Write(b) }
