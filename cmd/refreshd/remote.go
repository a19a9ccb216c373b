package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/refreshd/refreshd/internal/config"
)

// remoteTimeout bounds one call. The service bounds what it waits for itself; the
// longest of that is a provider, which may be given five minutes.
const remoteTimeout = 6 * time.Minute

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// problemPrefix starts the types of refreshd's own error answers.
const problemPrefix = "urn:refreshd:problem:"

// remote is a running service.
type remote struct {
	base   string
	key    string
	client *http.Client
}

// problem is an error answer (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Reason string `json:"reason"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

func (e *problem) Error() string {
	said := []string{cmp.Or(e.Detail, e.Title, fmt.Sprintf("the service answered %d", e.Status))}
	for _, one := range e.Errors {
		if strings.Contains(said[0], one.Message) {
			continue
		}
		said = append(said, strings.TrimSpace(one.Location+" "+one.Message))
	}
	return strings.Join(said, "; ")
}

// byOption names what was refused as the command line does: words are pairs of a name
// in the API and what stands for it. An error that is no refusal is left as it is.
func byOption(err error, words ...string) error {
	refused, ok := errors.AsType[*problem](err)
	if !ok {
		return err
	}
	names := strings.NewReplacer(words...)
	refused.Detail = names.Replace(refused.Detail)
	for i := range refused.Errors {
		one := &refused.Errors[i]
		one.Location, one.Message = names.Replace(one.Location), names.Replace(one.Message)
	}
	return err
}

// code maps an answer to an exit code.
func (e *problem) code() int {
	code, own := strings.CutPrefix(e.Type, problemPrefix)
	switch {
	case own && needsLogin(code):
		return exitPerson
	case own && e.Status == http.StatusNotFound: // else something else than refreshd answers there
		return exitNotFound
	case e.Status == http.StatusUnprocessableEntity, e.Status == http.StatusBadRequest:
		return exitUsage
	default:
		return exitFailure
	}
}

// needsLogin reports whether a refusal stands until somebody logs in.
func needsLogin(code string) bool {
	switch code {
	case "reauth_required", "logged_out", "session_over", "not_refreshable", "stale_token", "login_refused", "account_locked":
		return true
	default:
		return false
	}
}

// connect finds the service: by REFRESHD_URL and REFRESHD_KEY, else by the
// configuration of one on this machine.
func (p *program) connect() (*remote, error) {
	r := &remote{
		base: strings.TrimRight(os.Getenv("REFRESHD_URL"), "/"), key: os.Getenv("REFRESHD_KEY"),
		client: &http.Client{Transport: &http.Transport{Proxy: nil, ResponseHeaderTimeout: remoteTimeout}},
	}
	if r.base != "" && r.key != "" {
		return r, nil
	}
	conf, err := config.Locate(p.config, os.Environ())
	if err != nil {
		return nil, fmt.Errorf("cannot tell where the service is; set REFRESHD_URL and REFRESHD_KEY, or mend: %w", err)
	}
	if r.base == "" {
		r.base = localURL(conf)
	}
	if r.key == "" {
		path := filepath.Join(conf.DataDir, "admin.key")
		data, err := os.ReadFile(path) //nolint:gosec // below the data_dir that the user's own configuration names
		if err != nil {
			return nil, fmt.Errorf("no key: set REFRESHD_KEY, or read the admin key: %w", err)
		}
		r.key = strings.TrimSpace(string(data))
	}
	return r, nil
}

// localURL is where a service with that configuration listens, as seen from
// this machine.
func localURL(conf *config.Config) string {
	scheme := "http"
	if conf.TLS.Cert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(conf.Listen)
	if err != nil {
		return scheme + "://" + conf.Listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// call sends body as JSON, if it is not nil, and decodes the answer into
// answer, if that is not nil. A refusal is an [exitError] of a [problem].
func (r *remote) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	resp, err := r.send(ctx, method, path, body, "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("the service's answer cannot be read: %w", err)
	}
	return nil
}

// send returns a successful answer, whose body the caller closes.
func (r *remote) send(ctx context.Context, method, path string, body any, accept string) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, content)
	if err != nil {
		return nil, usage(fmt.Errorf("the service's address cannot be used: REFRESHD_URL: %w", bare(err)))
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Authorization", "Bearer "+r.key)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer from the service at %s (is `refreshd serve` running?): %w", req.URL.Scheme+"://"+req.URL.Host, bare(err))
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	refused := &problem{}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what could be read is what can be told
	if json.Unmarshal(data, refused) != nil {
		refused = &problem{}
	}
	refused.Status = resp.StatusCode
	return nil, &exitError{code: refused.code(), err: refused}
}

// bare is an error without the address that it is about: there may be a
// password in it.
func bare(err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		return outer.Err
	}
	return err
}

// credentialPath is the path of one credential, or of what can be done to it.
func credentialPath(id string, rest ...string) string {
	return "/v1/credentials/" + strings.Join(append([]string{url.PathEscape(id)}, rest...), "/")
}
