package client

import (
	"net/http"
	"strings"
)

// unauthenticated is the code that GraphQL servers give to an error for want
// of a valid token, in errors[].extensions.code.
const unauthenticated = "UNAUTHENTICATED"

// graphqlLimit is how many bytes of a reply [RejectGraphQL] reads at most.
const graphqlLimit = 64 << 10

// RejectGraphQL tells that a GraphQL server refused the token of a request: it
// answered 401, or with an error whose extensions.code is UNAUTHENTICATED, as
// most servers do with status 200. A batch of replies is refused if one of
// them is.
//
// It reads the body no further than to the end of its errors, wherever they
// stand, and at most 64 KiB of it: of a reply whose data come first and are
// longer than that, the errors are not seen. What was read is handed on, so
// that whoever gets the response reads all of it. Bodies that are not JSON, or
// are compressed in a way that the base transport did not undo, are not
// looked at.
//
// A reply may hold data beside such an error. It counts as refused all the
// same, and the request is sent again as a whole; whoever sends several
// mutations in one request, of which some may do without a token, should give
// [WithRejection] a function of their own.
func RejectGraphQL(res *http.Response) bool {
	if RejectREST(res) {
		return true
	}
	if res.Body == nil || res.Body == http.NoBody || !isPlainJSON(res.Header) {
		return false
	}
	ahead := &lookahead{body: res.Body, max: graphqlLimit}
	if res.ContentLength > 0 {
		ahead.want = int(min(res.ContentLength, graphqlLimit))
	}
	// Errors come early as a rule, so the first look is a short one.
	ahead.seen = make([]byte, 0, min(max(ahead.want, 512), 4<<10))
	reply := graphqlReply{lookahead: ahead}
	reply.read()
	res.Body = &handedOn{head: ahead.seen, err: ahead.err, rest: res.Body}
	return reply.refused
}

// isPlainJSON reports whether the body is a JSON text as it stands.
func isPlainJSON(h http.Header) bool {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

// graphqlReply looks for errors[].extensions.code in a reply, or in a batch of
// them. What is not JSON has no such thing.
type graphqlReply struct {
	*lookahead

	batch, refused bool
}

func (g *graphqlReply) read() {
	if c, _ := g.token(); c == '[' {
		g.batch = true
		g.array(g.reply)
		return
	}
	g.reply()
}

func (g *graphqlReply) reply() bool { return g.object(g.field) }

func (g *graphqlReply) field(name []byte) bool {
	if !is(name, "errors") {
		return g.skip()
	}
	// Nothing that comes after the errors of a single reply matters.
	return g.array(g.fault) && g.batch
}

func (g *graphqlReply) fault() bool { return g.object(g.detail) }

func (g *graphqlReply) detail(name []byte) bool {
	if !is(name, "extensions") {
		return g.skip()
	}
	return g.object(g.extension)
}

func (g *graphqlReply) extension(name []byte) bool {
	c, _ := g.token()
	if c != '"' || !is(name, "code") {
		return g.skip()
	}
	code, ok := g.quoted()
	g.refused = ok && is(code, unauthenticated)
	return ok && !g.refused
}
