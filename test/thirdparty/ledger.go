package main

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/ory/fosite"
)

// record is one token request as it was seen on the wire: a line of /log.
type record struct {
	// Seq counts from 1, in the order in which the requests had arrived whole.
	Seq      int       `json:"seq"`
	Received time.Time `json:"received"`
	// Grant is the grant type, or "other".
	Grant string `json:"grant_type"`
	// Presented and Issued are the first 16 hex digits of the SHA-256 of the
	// refresh token that came and of the one that went.
	Presented string `json:"presented,omitempty"`
	Issued    string `json:"issued,omitempty"`
	// InAir is how many requests with this refresh token were being handled
	// when this one arrived, itself included.
	InAir int `json:"in_air"`
	// Answered is missing while the request is in the air.
	Answered *time.Time `json:"answered,omitempty"`
	Status   int        `json:"status"`
	Error    string     `json:"error,omitempty"`
	// ClientAlive is whether the client's connection was still open when the
	// answer was written to it.
	ClientAlive bool `json:"client_alive"`
}

// ledger keeps all records, in memory, for as long as the process lives.
type ledger struct {
	mu      sync.Mutex
	records []record
	inAir   map[string]int
}

func newLedger() *ledger { return &ledger{inAir: map[string]int{}} }

// arrive writes down a request and returns its number.
func (l *ledger) arrive(grant, presented string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := record{Seq: len(l.records) + 1, Received: time.Now().UTC(), Grant: knownGrant(grant), ClientAlive: true}
	if presented != "" {
		r.Presented = fingerprint(presented)
		l.inAir[r.Presented]++
		r.InAir = l.inAir[r.Presented]
	}
	l.records = append(l.records, r)
	return r.Seq
}

// outcome is how a request ended.
type outcome struct {
	status int
	error  string
	issued string
	alive  bool
}

// answer completes a record. It is called before the answer is written, so
// that whoever has read the answer finds it in the log.
func (l *ledger) answer(seq int, o outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.records[seq-1]
	r.Answered = new(time.Now().UTC())
	r.Status, r.Error, r.ClientAlive = o.status, o.error, o.alive
	if o.issued != "" {
		r.Issued = fingerprint(o.issued)
	}
	if r.Presented == "" {
		return
	}
	if l.inAir[r.Presented]--; l.inAir[r.Presented] == 0 {
		delete(l.inAir, r.Presented)
	}
}

// lost notes that the answer could not be written.
func (l *ledger) lost(seq int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[seq-1].ClientAlive = false
}

// after returns the records with a higher number.
func (l *ledger) after(seq int) []record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records[min(max(seq, 0), len(l.records)):])
}

// fingerprint names a token without telling it.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

func knownGrant(grant string) string {
	if slices.Contains(grantTypes(), grant) {
		return grant
	}
	return "other"
}

// reason is the error code of an answer; empty is success.
func reason(err error) string {
	if err == nil {
		return ""
	}
	return fosite.ErrorToRFC6749Error(err).ErrorField
}
