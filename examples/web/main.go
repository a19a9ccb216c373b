// Command web serves a page that shows whether its user is signed in and for
// how long, as it happens. The API key stays here: the page gets a ticket, good
// for one event stream, and opens that stream with refreshd itself.
//
// In config.yaml, so that the page may do so:
//
//	cors: {origins: ["http://127.0.0.1:8080"]}
//
//	export REFRESHD_KEY=$(refreshd key create web --scope token:read --scope event:read)
//	go run ./examples/web --provider air --user alice --api https://air.example/me
//
// A real program knows its user from a login of its own; this one is told.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/client"
)

//go:embed page.html
var page string

func main() {
	var s site
	listen := flag.String("listen", "127.0.0.1:8080", "`address` to listen on")
	flag.StringVar(&s.refreshd, "refreshd", "http://127.0.0.1:7420", "`URL` of refreshd, for this program and for the browser")
	provider := flag.String("provider", "air", "`PROVIDER` of the user's session")
	flag.StringVar(&s.user, "user", "alice", "whose page it is; the credential is PROVIDER:USER and has the label user=USER")
	flag.StringVar(&s.api, "api", "", "`URL` of a call that uses the user's session")
	flag.Parse()
	s.id, s.key = *provider+":"+s.user, os.Getenv("REFRESHD_KEY")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := s.serve(ctx, *listen)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

type site struct {
	refreshd, key, user, id, api string

	client  *client.Client
	session *http.Client // its requests carry the user's session
	page    *template.Template
}

func (s *site) serve(ctx context.Context, address string) (err error) {
	if s.page, err = template.New("page").Parse(page); err != nil {
		return err
	}
	if s.client, err = client.New(s.refreshd, client.Options{Key: s.key}); err != nil {
		return err
	}
	defer s.client.Close()
	s.session = &http.Client{Transport: s.client.Transport(s.id, nil, client.WithoutTouch())} // touched is told at once below

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.showPage)
	mux.HandleFunc("POST /live", answer(s.live))
	mux.HandleFunc("POST /touch", answer(s.touch))
	mux.HandleFunc("POST /away", answer(s.away))
	// Only this page may post here, not one of another site in the same browser.
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 5 * time.Second}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	log.Printf("listening on http://%s", listener.Addr())
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// showPage sends the page. It may run its own script, and connect to this
// program and to refreshd; nothing else is loaded from anywhere.
func (s *site) showPage(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	var text bytes.Buffer
	if err := s.page.Execute(&text, nonce); err != nil {
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%[1]s'; connect-src 'self' %s; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", nonce, s.refreshd))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(text.Bytes()) // whoever asked may be gone
}

// status is how it stands, for the page.
type status struct {
	Credential string       `json:"credential"`
	State      client.State `json:"state"`
	Reason     string       `json:"reason,omitempty"`
	Version    uint64       `json:"version"`
	EndsAt     time.Time    `json:"ends_at,omitzero"` // of the token, or of the session unless it is used
	Now        time.Time    `json:"now"`              // the page's clock may differ
	Stream     string       `json:"stream,omitempty"` // where its events are; good once, and within a minute
	Cursor     string       `json:"cursor,omitempty"` // where they begin
}

// live is asked when the page begins, and whenever its stream has ended.
func (s *site) live(ctx context.Context) (*status, error) {
	// Somebody looks at it now, and wants to be told before a session ends. Where
	// that cannot be noted, the state below tells why.
	_, _ = s.client.SetPresence(ctx, s.id, client.PresenceActive)
	// The ticket comes first: what happens after the look is among the events.
	ticket, err := s.ticket(ctx)
	if err != nil {
		return nil, err
	}
	now, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	now.Stream, now.Cursor = s.refreshd+"/v1/events?ticket="+ticket.Ticket, ticket.Cursor
	return now, nil
}

type ticket struct {
	Ticket string `json:"ticket"`
	Cursor string `json:"cursor"`
}

// ticket has refreshd make a ticket for the events of this user alone. The
// label does that: the prefix air:alice would be that of air:alice2 as well.
func (s *site) ticket(ctx context.Context) (*ticket, error) {
	only, err := json.Marshal(map[string]any{"prefix": s.id, "labels": map[string]string{"user": s.user}})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.refreshd+"/v1/events/tickets", bytes.NewReader(only))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("no ticket: %s", res.Status)
	}
	var t ticket
	return &t, json.NewDecoder(res.Body).Decode(&t)
}

// look reads how it stands.
func (s *site) look(ctx context.Context) (*status, error) {
	record, err := s.client.Get(ctx, s.id)
	if errors.Is(err, client.ErrNotFound) {
		return &status{Credential: s.id, State: client.StateDeleted, Now: time.Now()}, nil
	} else if err != nil {
		return nil, err
	}
	now := &status{Credential: s.id, State: record.State, Reason: record.Reason, Version: record.Version, EndsAt: record.ExpiresAt, Now: time.Now()}
	if session := record.Session; session != nil {
		now.EndsAt = cmp.Or(session.IdleDeadline, now.EndsAt)
		if end := session.AbsoluteDeadline; !end.IsZero() && end.Before(now.EndsAt) {
			now.EndsAt = end
		}
	}
	return now, nil
}

// touch uses the session, as its user wants to keep it, and tells refreshd.
func (s *site) touch(ctx context.Context) (*status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.api, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := s.session.Do(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, res.Body) // for the connection's sake
		_ = res.Body.Close()
		_, err = s.client.Touch(ctx, s.id)
	}
	if err != nil && !errors.Is(err, client.ErrReauthRequired) && !errors.Is(err, client.ErrSessionOver) {
		return nil, err
	}
	return s.look(ctx) // too late is no failure here: the page shows it
}

// away is told when the page is left.
func (s *site) away(ctx context.Context) (*status, error) {
	_, _ = s.client.SetPresence(ctx, s.id, client.PresencePassive)
	return s.look(ctx)
}

// answer sends what do returns as JSON.
func answer(do func(context.Context) (*status, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		now, err := do(r.Context())
		if err != nil {
			log.Print(err)
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(now) // whoever asked may be gone
	}
}
