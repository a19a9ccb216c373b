package practice

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	floodReplies = 1000 // interim replies of flood_1xx
	missingBytes = 100  // announced by wrong_content_length and never sent
	dripInterval = time.Second
)

// replyMalformed answers in the fault's form. The verdict is granted where the
// form needs one.
func (p *presentation) replyMalformed(ctx context.Context) {
	switch p.hit.Form {
	case FormHTML200:
		p.sendAs("text/html; charset=utf-8", []byte("<!DOCTYPE html><title>Sign in</title><h1>Please sign in</h1>\n"), false)
	case FormError200:
		code := p.hit.Error
		if code == "" {
			code = "server_error"
		}
		p.sendAs("", errorBody(code, p.hit.Description), false)
	case FormEmpty200:
		p.sendAs("", nil, false)
	case FormRedirect307, FormRedirect308:
		p.redirect()
	case FormCutChunks, FormWrongContentLength, FormEndless, FormDrip, FormFlood1xx:
		p.replyBrokenTransfer(ctx)
	case FormGzip, FormBOM, FormFormEncoded, FormNested, FormTrailingBytes:
		p.replyWrapped()
	case FormRTAbsent, FormRTEmpty, FormRTNull, FormRTNumber, FormRTSame, FormRTTwice,
		FormExpiresZero, FormExpiresNegative, FormExpiresString, FormExpiresStringS,
		FormExpiresFloat, FormExpiresHuge, FormExpiresObject, FormScopeShrunk:
		t := p.tokens()
		token := distort(&t, p.hit.Form, p.form.refreshToken)
		p.sendAs("", t.append(nil), token)
	}
}

// distort gives a reply another member, and reports whether the new refresh
// token is still in it.
func distort(t *tokenReply, form Form, presented string) bool {
	token := t.refresh != ""
	switch form {
	case FormRTAbsent:
		t.refresh, token = "", false
	case FormRTEmpty:
		t.refresh, token = `""`, false
	case FormRTNull:
		t.refresh, token = "null", false
	case FormRTNumber:
		t.refresh, token = "12345", false
	case FormRTSame:
		t.refresh, token = quoted(presented), false
	case FormRTTwice:
		t.decoy = quoted(presented)
	case FormExpiresZero:
		t.expires = "0"
	case FormExpiresNegative:
		t.expires = "-1"
	case FormExpiresString:
		t.expires = `"3600"`
	case FormExpiresStringS:
		t.expires = `"3600s"`
	case FormExpiresFloat:
		t.expires = "3.6e3"
	case FormExpiresHuge:
		t.expires = "1e18"
	case FormExpiresObject:
		t.expires = `{"seconds":3600}`
	case FormScopeShrunk:
		t.scope = firstWord(t.scope)
	default: // the other forms leave the members alone
	}
	return token
}

// sendAs sends a whole reply with status 200 under the fault's outcome.
func (p *presentation) sendAs(contentType string, body []byte, token bool) {
	if contentType != "" {
		p.w.Header().Set("Content-Type", contentType)
	}
	p.send(http.StatusOK, body, token, p.faultLabel())
}

func (p *presentation) redirect() {
	status := http.StatusTemporaryRedirect
	if p.hit.Form == FormRedirect308 {
		status = http.StatusPermanentRedirect
	}
	p.w.Header().Set("Location", p.hit.Location)
	p.send(status, nil, false, p.faultLabel())
}

// replyWrapped sends the right members in a wrapping that is not.
func (p *presentation) replyWrapped() {
	t := p.tokens()
	body, token := t.append(nil), t.refresh != ""
	switch p.hit.Form {
	case FormGzip:
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := z.Write(body)
		if err := errors.Join(err, z.Close()); err != nil { // a bytes.Buffer takes all
			p.abort(p.faultLabel())
		}
		p.w.Header().Set("Content-Encoding", "gzip")
		p.sendAs("", packed.Bytes(), token)
	case FormBOM:
		p.sendAs("", append([]byte("\xef\xbb\xbf"), body...), token)
	case FormFormEncoded:
		p.sendAs(formType+"; charset=utf-8", []byte(p.values().Encode()), token)
	case FormNested:
		p.sendAs("", fmt.Appendf(nil, `{"data":%s}`, body), token)
	default: // FormTrailingBytes
		p.sendAs("", append(body, "\n<!-- node 7 -->\n"...), token)
	}
}

func (p *presentation) values() url.Values {
	v := url.Values{
		"access_token": {accessPrefix + string(p.verdict.access[:])},
		"token_type":   {"bearer"},
		"expires_in":   {strconv.FormatInt(int64(p.settings.AccessTTL/time.Second), 10)},
		"scope":        {p.verdict.scope},
	}
	if token := p.newRefreshToken(); token != "" {
		v.Set("refresh_token", token)
	}
	return v
}

// replyBrokenTransfer sends the right members over a transfer that is wrong.
func (p *presentation) replyBrokenTransfer(ctx context.Context) {
	t := p.tokens()
	body, token := t.append(nil), t.refresh != ""
	switch p.hit.Form {
	case FormCutChunks:
		raw := rawHead("Transfer-Encoding: chunked\r\n")
		raw = fmt.Appendf(raw, "%x\r\n%s\r\n%x\r\n,", len(body), body, missingBytes)
		p.cut(raw, token)
	case FormWrongContentLength:
		raw := rawHead(fmt.Sprintf("Content-Length: %d\r\n", len(body)+missingBytes))
		p.cut(append(raw, body...), token)
	case FormFlood1xx:
		p.w.Header().Set("Link", "</style.css>; rel=preload; as=style; padding=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
		for range floodReplies {
			p.w.WriteHeader(http.StatusEarlyHints)
		}
		p.w.Header().Del("Link")
		p.sendAs("", body, token)
	case FormEndless:
		p.endless(ctx, body, token)
	default: // FormDrip
		p.drip(ctx, body, token)
	}
}

// drip sends the reply byte by byte.
func (p *presentation) drip(ctx context.Context, body []byte, token bool) {
	interval := p.hit.Delay
	if interval == 0 {
		interval = dripInterval
	}
	refresh := p.newRefreshToken()
	tokenEnd := bytes.Index(body, []byte(refresh)) + len(refresh)
	p.w.Header().Set("Content-Type", "application/json")
	p.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	end := settlement{outcome: p.faultLabel(), fault: p.hitLabel()}
	last := len(body) - 1
	for i := range last {
		if !p.trickle(ctx, body[i:i+1], interval) {
			p.breakOff(end)
		}
		end.repliedAt = time.Now().UnixNano()
		end.tokenSent = token && i+1 >= tokenEnd
	}
	p.land()
	epoch := p.s.ledger.beginWrite()
	end.delivered = p.trickle(ctx, body[last:], interval)
	if end.delivered {
		end.repliedAt = time.Now().UnixNano()
	}
	p.s.ledger.endWrite(p.seq, epoch, end)
	if !end.delivered {
		panic(http.ErrAbortHandler)
	}
}

// trickle waits and sends a piece of a reply. It reports whether the piece was
// handed to a connection that was alive.
func (p *presentation) trickle(ctx context.Context, piece []byte, wait time.Duration) bool {
	if !p.s.wait(ctx, wait) || !p.connected() {
		return false
	}
	if _, err := p.w.Write(piece); err != nil {
		return false
	}
	return http.NewResponseController(p.w).Flush() == nil && !p.peer.reset()
}

// endless sends the reply with one more member that never ends, until the
// client goes or the server closes.
func (p *presentation) endless(ctx context.Context, body []byte, token bool) {
	p.w.Header().Set("Content-Type", "application/json")
	end := settlement{outcome: p.faultLabel(), fault: p.hitLabel()}
	start := append(body[:len(body)-1], `,"padding":"`...)
	if !p.trickle(ctx, start, 0) {
		p.breakOff(end)
	}
	end.repliedAt, end.tokenSent = time.Now().UnixNano(), token
	rc := http.NewResponseController(p.w)
	written := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-p.s.closing:
			_ = rc.SetWriteDeadline(time.Now()) // ends a write that the client does not read
		case <-written:
		}
	})
	padding := bytes.Repeat([]byte("x"), 32<<10)
	for err := error(nil); err == nil && ctx.Err() == nil; {
		select {
		case <-p.s.closing:
			err = http.ErrServerClosed
		default:
			_, err = p.w.Write(padding)
		}
	}
	close(written)
	watch.Wait()
	p.breakOff(end)
}
