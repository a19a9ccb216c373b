package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// maxReply bounds what is read of a reply that is no stream. The largest are
// user data, of 64 KiB.
const maxReply = 4 << 20

const (
	jsonType    = "application/json"
	problemType = "application/problem+json" // RFC 9457 section 3
)

var (
	// errKey tells what is wrong with an API key without showing it.
	errKey = errors.New("client: the API key is empty or has a byte outside of visible ASCII")
	// errSlow is the cause of a call that refreshd did not answer in time.
	errSlow = errors.New("refreshd did not answer in time")
)

// header is one header of a call.
type header struct{ name, value string }

// call asks refreshd for one thing: in goes as JSON unless it is nil, and the
// reply is read into out unless that is nil. It is bounded by ctx and by the
// client's timeout, and never repeated.
func (c *Client) call(ctx context.Context, method, path string, in, out any, headers ...header) error {
	bounded, cancel := context.WithTimeoutCause(ctx, c.timeout, errSlow)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("client: the request cannot be written as JSON: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := c.request(bounded, method, path, body)
	if err != nil {
		return err
	}
	for _, h := range headers {
		req.Header.Set(h.name, h.value)
	}
	res, err := c.send(req)
	if err != nil {
		return ended(ctx, err)
	}
	defer res.Body.Close()
	if out == nil {
		_, _ = io.CopyN(io.Discard, res.Body, maxProblem) // lets the connection be used again
		return nil
	}
	if err := decode(res, out); err != nil {
		return ended(ctx, &UnavailableError{Err: because(bounded, fmt.Errorf("refreshd: %s %s: %w", method, req.URL.Path, err))})
	}
	return nil
}

// callFor is call for a path under a credential's own.
func (c *Client) callFor(ctx context.Context, method, id, rest string, in, out any, headers ...header) error {
	if err := checkID(id); err != nil {
		return err
	}
	// The grammar of IDs has nothing that needs to be escaped in a path.
	err := c.call(ctx, method, "/v1/credentials/"+id+rest, in, out, headers...)
	if reauth, ok := errors.AsType[*ReauthError](err); ok {
		reauth.ID = id
	}
	return err
}

// request returns a request to refreshd with the client's key. path starts
// with a slash and may have a query.
func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	if c.life.Err() != nil {
		return nil, ErrClosed
	}
	key, err := c.key(ctx)
	if err != nil {
		return nil, fmt.Errorf("client: Options.KeyFunc: %w", err)
	}
	if !keySafe(key) {
		return nil, errKey
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Accept", jsonType)
	req.Header.Set("User-Agent", c.agent)
	if body != nil {
		req.Header.Set("Content-Type", jsonType)
	}
	return req, nil
}

// send sends a request that was made by request. Whatever is not a 2xx is an
// error, of the types that this package documents, and its body is closed.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	res, err := c.http.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // without the URL, whose query may hold what is not for a log
		}
		return nil, &UnavailableError{Err: because(req.Context(), fmt.Errorf("refreshd: %s %s: %w", req.Method, req.URL.Path, err))}
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, failure(res)
}

// ended returns the caller's own cause in place of err where the caller's
// context has ended: that is no fault of refreshd's.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("client: %w", context.Cause(ctx))
}

// because adds to an error why the context of its call has ended, if it has.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// decode reads a JSON reply. Its errors show nothing of the reply, for that may
// hold a token.
func decode(res *http.Response, out any) error {
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != jsonType {
		return fmt.Errorf("status %d with a body that is not %s: is this refreshd?", res.StatusCode, jsonType)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	switch {
	case err != nil:
		return fmt.Errorf("the reply was cut off: %w", err)
	case len(text) > maxReply:
		return fmt.Errorf("the reply is over %d bytes", maxReply)
	case json.Unmarshal(text, out) != nil:
		return errors.New("the reply cannot be read as JSON of the expected shape: is this refreshd?")
	}
	return nil
}

// keySafe reports whether s can be an API key in a header.
func keySafe(s string) bool {
	return s != "" && headerSafe(s) && !strings.Contains(s, " ")
}

// headerSafe reports whether s is visible ASCII and spaces, which is what may
// stand in a header.
func headerSafe(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
