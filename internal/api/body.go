package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	bodyLimit    = 64 << 10 // bytes, of most requests
	bodyLimitPut = 1 << 20  // of a login, whose tokens may be long
)

// readBody is the middleware of an operation with a body: it reads it, checks
// it against t, and hands huma what it may decode.
func readBody(t reflect.Type, limit int64, required bool) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		data, p := bodyOf(r, limit)
		switch {
		case p != nil:
		case len(data) == 0 && required:
			p = badBody("is required")
		case len(data) > 0:
			if p = checkMediaType(r); p == nil {
				p = checkJSON(data, t)
			}
		}
		if p != nil {
			p.write(w)
			return
		}
		next(checkedBody{inner: ctx, data: data})
	}
}

// bodyOf reads a body of at most limit bytes.
func bodyOf(r *http.Request, limit int64) ([]byte, *Problem) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return nil, problem(http.StatusRequestTimeout, codeSlowBody, "body did not come in time").with("Connection", "close")
		}
		return nil, badBody("cannot be read, or was cut off").with("Connection", "close")
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(limit)
	}
	return data, nil
}

func tooLarge(limit int64) *Problem {
	return problem(http.StatusRequestEntityTooLarge, codeTooLarge, fmt.Sprintf("body is over %d bytes", limit)).with("Connection", "close")
}

// checkMediaType takes JSON in UTF-8, and takes a body that names no type for
// that.
func checkMediaType(r *http.Request) *Problem {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(header)
	if charset := params["charset"]; err != nil || kind != jsonType || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return problem(http.StatusUnsupportedMediaType, codeMediaType, "send the body as Content-Type: application/json, in UTF-8")
	}
	return nil
}

// inner is an embedded context without a field of that name.
type inner huma.Context

// checkedBody is a context whose body was read and checked.
type checkedBody struct {
	inner

	data []byte
}

// Header names the type as huma knows it.
func (c checkedBody) Header(name string) string {
	if name == "Content-Type" {
		return jsonType
	}
	return c.inner.Header(name)
}

// BodyReader returns the checked body.
func (c checkedBody) BodyReader() io.Reader { return bytes.NewReader(c.data) }
