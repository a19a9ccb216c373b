package practice

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// replyWithFault answers as the fault says that was taken.
func (p *presentation) replyWithFault(ctx context.Context) {
	switch p.hit.Kind {
	case KindStatus:
		p.replyStatus()
	case KindSlow:
		p.reply()
	case KindHang:
		p.hang(ctx)
	case KindLost:
		p.cut(nil, false)
	case KindCut:
		p.replyCut()
	case KindMalformed:
		if needs, _ := p.hit.Form.reply(); needs != carriesNothing && !p.verdict.granted() {
			p.reply() // a refusal has nothing that could be malformed
			return
		}
		p.replyMalformed(ctx)
	}
}

func (p *presentation) replyStatus() {
	h := p.w.Header()
	if p.hit.RetryAfter != "" {
		h.Set("Retry-After", p.hit.RetryAfter)
	}
	body := []byte(p.hit.Body)
	switch {
	case p.hit.Body != "" && !strings.HasPrefix(p.hit.Body, "{"):
		h.Set("Content-Type", "text/html; charset=utf-8")
	case p.hit.Body == "" && p.hit.Error != "":
		body = errorBody(p.hit.Error, p.hit.Description)
	}
	status := p.hit.Status
	if status == 0 {
		status = http.StatusServiceUnavailable
	}
	if status == http.StatusUnauthorized && p.r.Header.Get("Authorization") != "" {
		h.Set("WWW-Authenticate", `Basic realm="practice"`)
	}
	p.send(status, body, false, p.faultLabel())
}

func (p *presentation) hang(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-p.s.closing:
	}
	p.abort(p.faultLabel())
}

// replyCut sends the reply up to the fault's place.
func (p *presentation) replyCut() {
	body, token := invalidGrant().body(), ""
	if p.verdict.granted() {
		t := p.tokens()
		body, token = t.append(nil), p.newRefreshToken()
	}
	head := rawHead(fmt.Sprintf("Content-Length: %d\r\n", len(body)))
	place := p.hit.Place
	if place == PlaceInTurn {
		place = places()[p.hit.number%len(places())]
	}
	if place == PlaceHeaders {
		p.cut(head[:len(head)/3], false)
		return
	}
	end := len(body) / 2 // where there is no refresh token to cut at
	if token != "" {
		start := bytes.Index(body, []byte(token))
		switch place {
		case PlaceBeforeRefreshToken:
			end = bytes.Index(body, []byte(`"refresh_token"`))
		case PlaceInRefreshToken:
			end = start + len(token)/2
		case PlaceAfterRefreshToken:
			end = start + len(token) + 1
		case PlaceInTurn, PlaceHeaders:
		}
	}
	p.cut(append(head, body[:end]...), token != "" && place == PlaceAfterRefreshToken)
}

// rawHead is the head of a token reply that is written past net/http.
func rawHead(fields string) []byte {
	return []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n" + fields + "\r\n")
}

// cut sends raw bytes, settles the presentation as undelivered, and closes the
// connection, in this order: whoever sees the end finds it in the ledger.
func (p *presentation) cut(raw []byte, token bool) {
	conn := p.hijack()
	end := settlement{outcome: p.faultLabel(), fault: p.hitLabel()}
	if len(raw) > 0 {
		_, err := conn.Write(raw)
		end.repliedAt = time.Now().UnixNano()
		end.tokenSent = token && err == nil && !p.peer.reset()
	}
	p.land()
	p.s.ledger.settle(p.seq, end)
	_ = conn.Close() // the connection is to end, in whatever way
}

// hijack takes the connection from net/http. Where that cannot be done, or the
// client is gone, the presentation ends here.
func (p *presentation) hijack() net.Conn {
	if !p.connected() {
		p.abort(p.faultLabel())
	}
	conn, _, err := http.NewResponseController(p.w).Hijack()
	if err != nil {
		p.abort(p.faultLabel())
	}
	return conn
}
