package practice

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"
)

// presentation is one call of the token endpoint on its way.
type presentation struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	settings *Settings
	peer     peer
	conn     *watchedConn // nil where nothing watches it
	form     form
	client   client
	grant    *grant // nil: no refresh token, or an unknown one
	number   uint32 // the generation presented
	scope    string
	seq      uint64
	hit      hit
	refusal  *refusal
	verdict  verdict
	flying   bool          // counted in grant.inAir
	waited   time.Duration // between its arrival at this machine and at this program
}

// refusal is why a call fails before the token is looked at.
type refusal struct {
	*oauthError
	outcome Outcome
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.writeOAuthError(w, &oauthError{status: http.StatusMethodNotAllowed, code: "invalid_request", description: "The token endpoint takes POST."})
		return
	}
	p := &presentation{s: s, w: w, r: r, settings: s.settings.Load(), peer: peerOf(r.Context()), conn: connOf(r.Context())}
	f, err := s.readForm(r)
	if malformed, ok := errors.AsType[*formError](err); ok {
		p.refusal = &refusal{invalidRequest(malformed.what), OutcomeInvalidRequest}
	} else if err != nil {
		panic(http.ErrAbortHandler) // the request never arrived whole
	}
	p.form, p.waited = f, max(p.peer.age()-time.Since(received), 0)
	p.identify()
	p.arrive(received)
	if p.refusal == nil && s.faults.active.Load() > 0 {
		p.hit = s.faults.take(p.grantID(), p.client.id, received)
	}
	p.run(r.Context())
}

// identify finds the client and the token, and what keeps the call from being
// processed.
func (p *presentation) identify() {
	p.findToken()
	if p.refusal != nil {
		return
	}
	c, failed := p.s.authenticate(p.r.Header.Get("Authorization"), &p.form, p.settings.ClientAuth)
	p.client = c
	if failed != nil {
		p.refusal = &refusal{failed, OutcomeClientError}
		return
	}
	p.checkRequest()
}

func (p *presentation) findToken() {
	k, ok := parseKey(p.form.refreshToken, refreshPrefix)
	if !ok {
		return
	}
	if ref, found := p.s.refresh.get(k); found {
		p.grant, p.number = p.s.grants.get(ref.grant), ref.generation
	}
}

func (p *presentation) checkRequest() {
	granted := defaultScope
	switch p.form.grantType {
	case "refresh_token":
		if p.form.refreshToken == "" {
			p.refuse("invalid_request", "The refresh_token is missing.")
			return
		}
		if p.grant == nil || p.grant.client != p.client.label {
			return // the verdict will be: unknown
		}
		granted = p.grant.scope
	case "client_credentials":
		if p.client.secret == "" {
			p.refuse("unauthorized_client", "A public client cannot act for itself.")
			return
		}
	case "":
		p.refuse("invalid_request", "The grant_type is missing.")
		return
	default:
		p.refuse("unsupported_grant_type", "Supported are refresh_token and client_credentials.")
		return
	}
	scope, ok := narrowed(granted, p.form.scope)
	if !ok {
		p.refuse("invalid_scope", "The scope exceeds what was granted.")
		return
	}
	p.scope = scope
}

func (p *presentation) refuse(code, description string) {
	p.refusal = &refusal{&oauthError{status: http.StatusBadRequest, code: code, description: description}, OutcomeInvalidRequest}
}

func (p *presentation) grantID() string {
	if p.grant == nil {
		return ""
	}
	return p.grant.id()
}

// arrive enters the presentation into the ledger.
func (p *presentation) arrive(received time.Time) {
	p.conn.answered(0)
	rec := record{
		received:   received.UnixNano(),
		waited:     uint16(min(p.waited.Milliseconds(), math.MaxUint16)), //nolint:gosec // never negative, see its only assignment
		generation: p.number,
		client:     p.client.label,
		presents:   p.form.refreshToken != "",
	}
	if p.grant != nil {
		rec.grant = p.grant.index
		rec.concurrent = uint32(p.grant.inAir.Add(1)) //nolint:gosec // a count of calls in the air
		p.flying = true
	}
	p.seq = p.s.ledger.open(rec)
}

// land takes the presentation out of the air, for the count of concurrent ones.
// It comes before the last byte of the reply: a client that has its reply may
// make the next presentation at once.
func (p *presentation) land() {
	if p.flying {
		p.flying = false
		p.grant.inAir.Add(-1)
	}
}

// run judges the presentation at the moment that is planned, and replies.
func (p *presentation) run(ctx context.Context) {
	wait := p.settings.Latency
	if p.refusal != nil {
		p.pause(ctx, wait)
		p.sendError(p.refusal.oauthError, p.label(p.refusal.outcome))
		return
	}
	if p.hit.Fault != nil && p.hit.Form != FormDrip {
		wait += p.hit.Delay
	}
	plan := planOf(p.hit.Fault, p.settings.RotateBeforeLatency)
	if plan.moment == MomentBefore {
		p.judge(plan.rotate)
	}
	p.pause(ctx, wait)
	if plan.moment == MomentAfter {
		p.judge(plan.rotate)
	}
	if p.hit.Fault != nil {
		p.replyWithFault(ctx)
		return
	}
	p.reply()
}

func (p *presentation) judge(rotate bool) {
	switch {
	case p.form.grantType == "client_credentials":
		p.verdict = p.s.issue(p.client, p.scope, p.settings)
	case p.grant == nil || p.grant.client != p.client.label:
		p.verdict = verdict{outcome: OutcomeUnknown}
	default:
		p.verdict = p.s.judge(p.grant, p.number, p.scope, p.settings, rotate)
	}
	p.s.ledger.judged(p.seq, p.verdict, p.label(p.verdict.outcome))
}

// pause waits. Where the client or the server goes meanwhile, the presentation
// ends here, with its connection. The kernel is asked about the client here and
// not before every reply: a call that is answered at once finds out after the
// reply, and the question costs as much as a rotation.
func (p *presentation) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	if !p.s.wait(ctx, d) || !p.peer.open() {
		p.abort(p.outcome())
	}
}

// wait waits for d and reports whether neither the context nor the server has
// ended before.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-s.closing:
		return false
	}
}

// outcome is that of a presentation which ends without a reply of its own.
func (p *presentation) outcome() label {
	switch {
	case p.hit.Fault != nil:
		return p.faultLabel()
	case p.refusal != nil:
		return p.label(p.refusal.outcome)
	case p.verdict.outcome != "":
		return p.label(p.verdict.outcome)
	default:
		return p.label(OutcomeAbandoned)
	}
}

// abort ends the presentation and its connection without a byte.
func (p *presentation) abort(outcome label) {
	p.breakOff(settlement{outcome: outcome, fault: p.hitLabel()})
}

// breakOff settles the presentation and ends its connection.
func (p *presentation) breakOff(end settlement) {
	p.land()
	p.s.ledger.settle(p.seq, end)
	panic(http.ErrAbortHandler)
}

func (p *presentation) label(o Outcome) label { return p.s.labels.of(string(o)) }

func (p *presentation) faultLabel() label { return p.label(outcomeFault + Outcome(p.hit.Kind)) }

// hitLabel names the fault that was taken, with its form.
func (p *presentation) hitLabel() label {
	if p.hit.Fault == nil {
		return noLabel
	}
	return p.s.labels.of(p.hit.label())
}
