package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/clienttest"
)

// following ranges over a watch one event at a time.
type following[T any] struct {
	t    *testing.T
	pull func() (T, error, bool)
}

func follow[T any](t *testing.T, seq iter.Seq2[T, error]) following[T] {
	t.Helper()
	pull, stop := iter.Pull2(seq)
	t.Cleanup(stop)
	return following[T]{t, pull}
}

// next returns the next value.
func (f following[T]) next() T {
	f.t.Helper()
	v, err, ok := f.pull()
	require.NoError(f.t, err)
	require.True(f.t, ok, "it ended")
	return v
}

// fails returns the error with which it ends.
func (f following[T]) fails() error {
	f.t.Helper()
	_, err, ok := f.pull()
	require.True(f.t, ok, "it ended without an error")
	require.Error(f.t, err)
	_, _, ok = f.pull()
	require.False(f.t, ok, "it went on after an error")
	return err
}

func TestWatchSelects(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("shop:alice", clienttest.Credential{Subject: "4711", Labels: map[string]string{"team": "blue"}})
	server.Put("shop:bob", clienttest.Credential{Labels: map[string]string{"team": "red"}})
	server.Put("mail:alice", clienttest.Credential{Provider: "mail"})
	server.RequireReauth("shop:alice", "invalid_grant")
	server.LogOut("shop:bob")

	for name, tt := range map[string]struct {
		filter client.Filter
		want   []string
	}{
		"everything": {want: []string{
			"shop:alice/1 credential.connected", "shop:bob/1 credential.connected", "mail:alice/1 credential.connected",
			"shop:alice/2 credential.reauth_required", "shop:bob/2 credential.logged_out",
		}},
		"by type":     {filter: client.Filter{Types: []string{"credential.re*", "*.logged_out"}}, want: []string{"shop:alice/2 credential.reauth_required", "shop:bob/2 credential.logged_out"}},
		"by provider": {filter: client.Filter{Provider: "mail"}, want: []string{"mail:alice/1 credential.connected"}},
		"by prefix":   {filter: client.Filter{Prefix: "shop:b"}, want: []string{"shop:bob/1 credential.connected", "shop:bob/2 credential.logged_out"}},
		"by label":    {filter: client.Filter{Labels: map[string]string{"team": "blue"}}, want: []string{"shop:alice/1 credential.connected", "shop:alice/2 credential.reauth_required"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for e, err := range c.Watch(t.Context(), tt.filter, client.FromStart) {
				require.NoError(t, err)
				assert.NotEmpty(t, e.Cursor)
				got = append(got, fmt.Sprintf("%s/%d %s", e.Credential, e.Version, e.Type))
				if len(got) == len(tt.want) {
					break
				}
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestWatchGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("a", clienttest.Credential{})
	events := follow(t, c.Watch(t.Context(), client.Filter{}, client.FromStart))
	first := events.next()
	assert.Equal(t, uint64(1), first.Version)
	for want := uint64(2); want < 6; want++ { // each over another connection
		server.Disconnect()
		server.Put("a", clienttest.Credential{})
		assert.Equal(t, want, events.next().Version)
	}
	later := follow(t, c.Watch(t.Context(), client.Filter{}, first.Cursor))
	assert.Equal(t, uint64(2), later.next().Version)
}

func TestWatchFromNowAndFromACursor(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("a", clienttest.Credential{})
	cursor, err := c.Cursor(t.Context())
	require.NoError(t, err)
	server.Put("b", clienttest.Credential{})
	assert.Equal(t, "b", follow(t, c.Watch(t.Context(), client.Filter{}, cursor)).next().Credential)
}

func TestWatchTellsOfAReset(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	c := server.Client(t)
	server.Put("a", clienttest.Credential{})
	first := follow(t, c.Watch(t.Context(), client.Filter{}, client.FromStart)).next()
	server.Put("a", clienttest.Credential{})
	server.Trim()
	server.Put("a", clienttest.Credential{})

	events := follow(t, c.Watch(t.Context(), client.Filter{Types: []string{"credential.*"}}, first.Cursor))
	assert.True(t, events.next().IsReset(), "trimmed")
	assert.Equal(t, uint64(3), events.next().Version)

	server.Reset()
	server.Put("a", clienttest.Credential{})
	reset := events.next()
	assert.True(t, reset.IsReset(), "another log")
	assert.NotEqual(t, first.Source, reset.Source)
	assert.Equal(t, uint64(4), events.next().Version)
}

func TestWatchPassesOnWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Emit(client.Event{Type: "future.thing", Data: json.RawMessage(`{"deep":[1,2]}`)})
	e := follow(t, server.Client(t).Watch(t.Context(), client.Filter{}, client.FromStart)).next()
	assert.Equal(t, client.EventType("future.thing"), e.Type)
	assert.JSONEq(t, `{"deep":[1,2]}`, string(e.Data))
}

func TestWatchEndsWithWhatLasts(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	for name, tt := range map[string]struct {
		key    string
		filter client.Filter
		from   string
		want   error
		code   string
	}{
		"a wrong key":              {key: "rdk_wrong", want: client.ErrUnauthorized, code: "unauthorized"},
		"a type that is none":      {filter: client.Filter{Types: []string{"credential.nonsense"}}, want: client.ErrInvalid, code: "bad_filter"},
		"a cursor that is none":    {from: "nonsense", want: client.ErrInvalid, code: "bad_cursor"},
		"a cursor that is no text": {from: "x\r\nHost: elsewhere", want: client.ErrInvalid, code: "bad_cursor"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.key == "" {
				tt.key = server.Key
			}
			c, err := client.New(server.URL, client.Options{Key: tt.key})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, c.Close()) })
			err = follow(t, c.Watch(t.Context(), tt.filter, tt.from)).fails()
			require.ErrorIs(t, err, tt.want)
			told, ok := errors.AsType[*client.Error](err)
			require.True(t, ok)
			assert.Equal(t, tt.code, told.Code)
			assert.NotContains(t, err.Error(), tt.key)
		})
	}
}

// reply is one answer of a script.
type reply func(*http.Request) (*http.Response, error)

// script is a refreshd whose answers are written down, one for each call. The
// last one goes on for ever.
type script struct {
	answers []reply
	begun   time.Time
	calls   []time.Duration // since begun
	last    []string        // Last-Event-ID of each call
}

// RoundTrip gives the next answer.
func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls = append(s.calls, time.Since(s.begun))
	s.last = append(s.last, r.Header.Get("Last-Event-ID"))
	return s.answers[min(len(s.calls), len(s.answers))-1](r)
}

func answered(status int, header map[string]string, body io.ReadCloser) *http.Response {
	res := &http.Response{StatusCode: status, Header: http.Header{}, Body: body, ProtoMajor: 1, ProtoMinor: 1}
	for name, value := range header {
		res.Header.Set(name, value)
	}
	return res
}

func says(status int, kind, text string, header ...string) reply {
	return func(*http.Request) (*http.Response, error) {
		all := map[string]string{"Content-Type": kind}
		for i := 0; i+1 < len(header); i += 2 {
			all[header[i]] = header[i+1]
		}
		return answered(status, all, io.NopCloser(strings.NewReader(text))), nil
	}
}

// streams is a stream that says text and then nothing, until it is given up.
func streams(text string) reply {
	return func(r *http.Request) (*http.Response, error) {
		silent, end := io.Pipe()
		context.AfterFunc(r.Context(), func() { _ = end.CloseWithError(r.Context().Err()) })
		body := struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(text), silent), silent}
		return answered(http.StatusOK, map[string]string{"Content-Type": "text/event-stream"}, body), nil
	}
}

// noAnswer is a refreshd that takes a request and says nothing.
func noAnswer(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// connectionRefused is an address at which nobody listens.
func connectionRefused(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

// numbered is the block of an event of that version.
func numbered(version int) string {
	return fmt.Sprintf("id: c%d\nevent: credential.refreshed\ndata: "+
		`{"specversion":"1.0","id":"a/%[1]d/00000000","source":"s","type":"credential.refreshed","data":{"credential":"a","version":%[1]d}}`+"\n\n", version)
}

// played returns a watch of what a script answers. It has to be called within a
// bubble of fake time.
func played(t *testing.T, ctx context.Context, answers ...reply) (*script, *client.Client, following[client.Event]) {
	t.Helper()
	s, c := scripted(t, answers...)
	return s, c, follow(t, c.Watch(ctx, client.Filter{}, client.FromNow))
}

// scripted returns a client of what a script answers.
func scripted(t *testing.T, answers ...reply) (*script, *client.Client) {
	t.Helper()
	s := &script{answers: answers, begun: time.Now()}
	c, err := client.New("http://127.0.0.1:1", client.Options{Key: "rdk_x", HTTPClient: &http.Client{Transport: s}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return s, c
}

func TestWatchSurvivesWhatPasses(t *testing.T) {
	t.Parallel()
	const opened = "retry: 4000\nid: c0\n\n"
	html := says(http.StatusOK, "text/html", "<h1>down for maintenance</h1>")
	for name, tt := range map[string]struct {
		answers     []reply
		least, most time.Duration // until the call that brought the event
		last        string        // the cursor that it began with
	}{
		"nobody listens": {
			answers: []reply{connectionRefused, connectionRefused, streams(numbered(1))},
			least:   3 * time.Second, most: 4500 * time.Millisecond,
		},
		"away, and says for how long": {
			answers: []reply{
				says(http.StatusServiceUnavailable, "application/problem+json", `{"code":"too_many_streams"}`, "Retry-After", "40"), streams(numbered(1)),
			},
			least: 40 * time.Second, most: time.Minute,
		},
		"cut before the first event": {
			answers: []reply{says(http.StatusOK, "text/event-stream", opened), streams(numbered(1))},
			least:   4 * time.Second, most: 6 * time.Second, last: "c0",
		},
		"cut within the first event": {
			answers: []reply{says(http.StatusOK, "text/event-stream", opened+numbered(1)[:60]), streams(numbered(1))},
			least:   4 * time.Second, most: 6 * time.Second, last: "c0",
		},
		"no answer": {
			answers: []reply{noAnswer, streams(numbered(1))},
			least:   61 * time.Second, most: 62 * time.Second,
		},
		"a silent connection": {
			answers: []reply{streams(opened), streams(numbered(1))},
			least:   64 * time.Second, most: 66 * time.Second, last: "c0",
		},
		"a page in front, later": {
			answers: []reply{says(http.StatusOK, "text/event-stream", opened), html, says(http.StatusNotFound, "text/html", "gone"), streams(numbered(1))},
			least:   28 * time.Second, most: 42 * time.Second, last: "c0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _, events := played(t, t.Context(), tt.answers...)
				assert.Equal(t, uint64(1), events.next().Version)
				require.Len(t, s.calls, len(tt.answers))
				got := s.calls[len(s.calls)-1]
				assert.GreaterOrEqual(t, got, tt.least)
				assert.LessOrEqual(t, got, tt.most)
				assert.Equal(t, tt.last, s.last[len(s.last)-1])
			})
		})
	}
}

func TestWatchDropsWhatComesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		unversioned := "data: " + `{"specversion":"1.0","id":"01J","source":"s","type":"stream.verification"}` + "\n\n"
		_, _, events := played(t, t.Context(),
			says(http.StatusOK, "text/event-stream", numbered(1)+numbered(2)+numbered(2)+unversioned),
			says(http.StatusOK, "text/event-stream", numbered(1)+unversioned+numbered(2)+numbered(3)),
			streams(numbered(3)+numbered(2)+numbered(4)),
		)
		var got []uint64
		for range 5 {
			got = append(got, events.next().Version)
		}
		assert.Equal(t, []uint64{1, 2, 0, 3, 4}, got)
	})
}

func TestWatchOfSomethingElse(t *testing.T) {
	t.Parallel()
	huge := "data: " + strings.Repeat("x", 2<<20) + "\n\n"
	for name, tt := range map[string]struct {
		answer reply
		want   string
	}{
		"a page":                   {answer: says(http.StatusOK, "text/html", "<h1>hello</h1>"), want: "is this refreshd?"},
		"a page that is not there": {answer: says(http.StatusNotFound, "text/html", "<h1>no</h1>"), want: "404"},
		"a redirect":               {answer: says(http.StatusMovedPermanently, "text/html", "", "Location", "https://elsewhere.example/"), want: "redirect"},
		"an event without end":     {answer: streams(huge), want: "1 MiB"},
		"an event that is none":    {answer: streams("data: {\n\n"), want: "cannot be read"},
		"another's event":          {answer: streams("data: {\"id\":1}\n\n"), want: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _, events := played(t, t.Context(), tt.answer)
				require.ErrorContains(t, events.fails(), tt.want)
				assert.Len(t, s.calls, 1)
			})
		})
	}
}

func TestWatchEndsWithItsContextAndItsClient(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]reply{
		"while it follows": streams(""),
		"while it waits":   connectionRefused,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				_, _, events := played(t, ctx, answer)
				go func() {
					synctest.Wait()
					cancel()
				}()
				_, err, ok := events.pull()
				require.NoError(t, err)
				assert.False(t, ok, "it went on without its context")
			})
			synctest.Test(t, func(t *testing.T) {
				_, c, events := played(t, t.Context(), answer)
				go func() {
					synctest.Wait()
					_ = c.Close() // its error is always nil
				}()
				require.ErrorIs(t, events.fails(), client.ErrClosed)
			})
		})
	}
}
