package practice

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// seen is what a raw client got of a reply.
type seen struct {
	raw  string
	resp *http.Response
	body string
	err  error // of reading the body
	rt   string
}

// observe presents a token on a raw connection that is to be closed by the
// server after one reply, or is at the end of the reply.
func observe(t *testing.T, f *fixture, token string) seen {
	t.Helper()
	conn := f.raw(t, token)
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn.in, &raw))
	var o seen
	for o.resp == nil || o.resp.StatusCode < http.StatusOK {
		resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodPost}) //nolint:bodyclose // closed below, after its connection
		require.NoError(t, err)
		o.resp = resp
	}
	body, err := io.ReadAll(io.LimitReader(o.resp.Body, 1<<20))
	t.Cleanup(func() { _, _ = conn.Close(), o.resp.Body.Close() }) // in this order: closing a body reads it to its end
	o.raw, o.body, o.err = raw.String(), string(body), err
	for text := o.body; ; {
		i := strings.Index(text, refreshPrefix)
		if i < 0 || len(text) < i+len(refreshPrefix)+keyLen {
			break
		}
		o.rt = text[i : i+len(refreshPrefix)+keyLen]
		text = text[i+len(o.rt):]
	}
	return o
}

func TestMalformedReplies(t *testing.T) {
	t.Parallel()
	const location = "http://127.0.0.1:9/elsewhere"
	contains := func(parts ...string) func(*testing.T, seen) {
		return func(t *testing.T, o seen) {
			t.Helper()
			for _, part := range parts {
				assert.Contains(t, o.body, part)
			}
		}
	}
	type row struct {
		verdict   Outcome // "": the token was not looked at
		tokenSent bool
		partial   bool // not delivered, by the fault itself
		check     func(*testing.T, seen)
	}
	rows := map[Form]row{
		FormRTAbsent: {OutcomeRefreshed, false, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.NotContains(t, o.body, "refresh_token")
		}},
		FormRTEmpty:  {OutcomeRefreshed, false, false, contains(`"refresh_token":"",`)},
		FormRTNull:   {OutcomeRefreshed, false, false, contains(`"refresh_token":null,`)},
		FormRTNumber: {OutcomeRefreshed, false, false, contains(`"refresh_token":12345,`)},
		FormRTSame:   {OutcomeRefreshed, false, false, contains(`"refresh_token":"rt_`)},
		FormRTTwice: {OutcomeRotated, true, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.Equal(t, 2, strings.Count(o.body, `"refresh_token":"rt_`))
		}},
		FormExpiresZero:     {OutcomeRotated, true, false, contains(`"expires_in":0,`)},
		FormExpiresNegative: {OutcomeRotated, true, false, contains(`"expires_in":-1,`)},
		FormExpiresString:   {OutcomeRotated, true, false, contains(`"expires_in":"3600",`)},
		FormExpiresStringS:  {OutcomeRotated, true, false, contains(`"expires_in":"3600s",`)},
		FormExpiresFloat:    {OutcomeRotated, true, false, contains(`"expires_in":3.6e3,`)},
		FormExpiresHuge:     {OutcomeRotated, true, false, contains(`"expires_in":1e18,`)},
		FormExpiresObject:   {OutcomeRotated, true, false, contains(`"expires_in":{"seconds":3600},`)},
		FormHTML200: {"", false, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.Contains(t, o.resp.Header.Get("Content-Type"), "text/html")
			assert.Contains(t, o.body, "<h1>")
		}},
		FormError200: {"", false, false, contains(`{"error":"server_error"}`)},
		FormEmpty200: {"", false, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.Empty(t, o.body)
			assert.Equal(t, http.StatusOK, o.resp.StatusCode)
		}},
		FormGzip: {OutcomeRotated, true, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.Equal(t, "gzip", o.resp.Header.Get("Content-Encoding"))
			z, err := gzip.NewReader(strings.NewReader(o.body))
			require.NoError(t, err)
			plain, err := io.ReadAll(z)
			require.NoError(t, err)
			assert.Contains(t, string(plain), `"refresh_token":"rt_`)
		}},
		FormBOM: {OutcomeRotated, true, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.True(t, strings.HasPrefix(o.body, "\xef\xbb\xbf{"))
		}},
		FormCutChunks: {OutcomeRotated, true, true, func(t *testing.T, o seen) {
			t.Helper()
			require.ErrorIs(t, o.err, io.ErrUnexpectedEOF)
			assert.Equal(t, []string{"chunked"}, o.resp.TransferEncoding)
			assert.Contains(t, o.body, `"scope":"read write"}`)
		}},
		FormWrongContentLength: {OutcomeRotated, true, true, func(t *testing.T, o seen) {
			t.Helper()
			require.ErrorIs(t, o.err, io.ErrUnexpectedEOF)
			assert.Equal(t, int64(len(o.body)+missingBytes), o.resp.ContentLength)
		}},
		FormFormEncoded: {OutcomeRotated, true, false, func(t *testing.T, o seen) {
			t.Helper()
			v, err := url.ParseQuery(o.body)
			require.NoError(t, err)
			assert.Equal(t, o.rt, v.Get("refresh_token"))
			assert.Equal(t, "20", v.Get("expires_in"))
			assert.Contains(t, o.resp.Header.Get("Content-Type"), formType)
		}},
		FormNested: {OutcomeRotated, true, false, contains(`{"data":{"access_token":"at_`, `"}}`)},
		FormEndless: {OutcomeRotated, true, true, func(t *testing.T, o seen) {
			t.Helper()
			require.NoError(t, o.err)
			assert.Len(t, o.body, 1<<20, "more than anyone would read")
			assert.True(t, strings.HasSuffix(o.body, "xxxxxxxx"))
		}},
		FormDrip:        {OutcomeRotated, true, false, contains(`"scope":"read write"}`)},
		FormScopeShrunk: {OutcomeRotated, true, false, contains(`"scope":"read"}`)},
		FormRedirect307: {"", false, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.Equal(t, http.StatusTemporaryRedirect, o.resp.StatusCode)
			assert.Equal(t, location, o.resp.Header.Get("Location"))
		}},
		FormRedirect308: {"", false, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.Equal(t, http.StatusPermanentRedirect, o.resp.StatusCode)
			assert.Equal(t, location, o.resp.Header.Get("Location"))
		}},
		FormFlood1xx: {OutcomeRotated, true, false, func(t *testing.T, o seen) {
			t.Helper()
			assert.Equal(t, floodReplies, strings.Count(o.raw, "HTTP/1.1 103 Early Hints\r\n"))
			assert.Greater(t, len(o.raw), 64<<10, "more than a sane limit on headers")
			assert.Empty(t, o.resp.Header.Get("Link"))
		}},
		FormTrailingBytes: {OutcomeRotated, true, false, contains("\"}\n<!--")},
	}
	for _, form := range Forms() {
		want, ok := rows[form]
		require.True(t, ok, "no row for %s", form)
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			f := setup(t, Options{})
			m := mintOne(t, f.Server)
			fault := Fault{Kind: KindMalformed, Form: form, Count: 1}
			if form == FormDrip {
				fault.Delay = time.Millisecond
			}
			if form == FormRedirect307 || form == FormRedirect308 {
				fault.Location = location
			}
			addFault(t, f.Server, fault)
			o := observe(t, f, m.RefreshToken)
			if want.check != nil {
				want.check(t, o)
			}
			e := last(t, f.Server)
			if form == FormEndless {
				f.Close() // nobody reads on: only this ends the call
				e = await(t, f.Server, settled)
			}
			assert.Equal(t, outcomeFault+"malformed", e.Outcome)
			assert.Equal(t, "malformed:"+string(form), e.Fault)
			assert.Equal(t, want.verdict, e.Verdict)
			assert.Equal(t, !want.partial, e.Delivered)
			assert.Equal(t, want.tokenSent, e.TokenSent)
			assert.Equal(t, want.verdict == OutcomeRotated, e.RotatedAt != 0)

			live := m.RefreshToken
			if want.verdict == OutcomeRotated && form != FormGzip {
				require.NotEmpty(t, o.rt)
				require.NotEqual(t, m.RefreshToken, o.rt)
				live = o.rt
			}
			if form != FormGzip {
				assert.Equal(t, http.StatusOK, direct(t, f.Server, refreshForm(live)).Status)
			}
		})
	}
}

func TestMalformedNeverHidesARefusal(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	m := mintOne(t, s)
	require.True(t, s.Revoke(m.Grant))
	addFault(t, s, Fault{Kind: KindMalformed, Form: FormNested})
	assert.Equal(t, "invalid_grant", direct(t, s, refreshForm(m.RefreshToken)).Error)
	e := last(t, s)
	assert.Equal(t, OutcomeRevoked, e.Outcome)
	assert.Equal(t, "malformed:nested", e.Fault)
}

func TestMalformedCanBeToldToRotate(t *testing.T) {
	t.Parallel()
	for _, form := range []Form{FormHTML200, FormEmpty200, FormRTNull} {
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			s := New(Options{})
			m := mintOne(t, s)
			addFault(t, s, Fault{Kind: KindMalformed, Form: form, Rotate: MomentBefore, Count: 1})
			require.Equal(t, http.StatusOK, direct(t, s, refreshForm(m.RefreshToken)).Status)
			e := last(t, s)
			assert.Equal(t, OutcomeRotated, e.Verdict)
			assert.True(t, e.Delivered)
			assert.False(t, e.TokenSent)
			assert.Equal(t, int64(1), s.Summary().TokensNotSent)
			assert.Equal(t, "invalid_grant", direct(t, s, refreshForm(m.RefreshToken)).Error, "the old one is spent")
		})
	}
}

func TestMalformedWithClientCredentials(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	addFault(t, s, Fault{Kind: KindMalformed, Form: FormExpiresObject})
	a := direct(t, s, url.Values{"grant_type": {"client_credentials"}})
	assert.JSONEq(t, `{"seconds":3600}`, string(a.ExpiresIn))
	assert.NotEmpty(t, a.AccessToken)
}
