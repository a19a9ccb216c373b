package practice

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Server is the practice provider. It is safe for concurrent use. It starts no
// goroutine of its own.
type Server struct {
	adminKey    string
	firstClient string
	settings    atomic.Pointer[Settings]
	clients     clients
	labels      *labels
	grants      grants
	refresh     *table[refreshRef]
	access      *table[accessRef]
	faults      faults
	ledger      *ledger
	handler     http.Handler
	buffers     sync.Pool
	header      replyHeader
	closing     chan struct{}
	closeOnce   sync.Once
}

// bufferSize fits an ordinary request body and an ordinary reply.
const bufferSize = 1 << 10

// replyHeader holds header values that every reply shares; nobody changes them.
type replyHeader struct {
	json    []string
	noStore []string
	noCache []string
	lengths [1024][]string
}

// New makes a server. It panics where [Options.Validate] finds fault.
func New(opts Options) *Server {
	opts = opts.withDefaults()
	if err := opts.Validate(); err != nil {
		panic(err)
	}
	s := &Server{
		adminKey:    opts.AdminKey,
		firstClient: opts.Clients[0].ID,
		labels:      newLabels(),
		refresh:     newTable[refreshRef](),
		access:      newTable[accessRef](),
		ledger:      newLedger(),
		buffers:     sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, bufferSize)) }},
		closing:     make(chan struct{}),
	}
	s.header.json = []string{"application/json"}
	s.header.noStore = []string{"no-store"}
	s.header.noCache = []string{"no-cache"}
	for n := range s.header.lengths {
		s.header.lengths[n] = []string{strconv.Itoa(n)}
	}
	settings := opts.settings()
	s.settings.Store(&settings)
	for _, c := range opts.Clients {
		s.SetClientSecret(c.ID, c.Secret)
	}
	s.handler = s.routes()
	return s
}

// Configure changes settings for the calls to come and returns what is in
// force. Its errors wrap [ErrInvalid]; nothing has changed then.
func (s *Server) Configure(p SettingsPatch) (Settings, error) {
	for {
		old := s.settings.Load()
		next := old.patched(p)
		if err := next.validate(); err != nil {
			return *old, err
		}
		if s.settings.CompareAndSwap(old, &next) {
			return next, nil
		}
	}
}

// Handler serves all endpoints. Faults that break a reply need a real HTTP/1
// connection. Whoever serves it closes the server with [Server.Close] before
// waiting for open connections, for calls that hang end only then.
func (s *Server) Handler() http.Handler { return s.handler }

// Close ends all waits: calls that hang or are delayed lose their connection.
// It does not wait for them. It can be called more than once.
func (s *Server) Close() {
	s.closeOnce.Do(func() { close(s.closing) })
}

// shutdownWait bounds how long Serve waits for calls in progress.
const shutdownWait = 5 * time.Second

// Serve serves all endpoints on the listener until ctx ends, then closes the
// server and waits for the calls in progress. It returns nil after an orderly
// end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	hs := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ConnContext:       withConn,
	}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(watchedListener{ln, s.ledger}) }()
	select {
	case err := <-served:
		s.Close()
		return err
	case <-ctx.Done():
	}
	s.Close()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
	defer cancel()
	err := hs.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(err, hs.Close())
	}
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", s.serveMetadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.serveMetadata)
	mux.HandleFunc("/token", s.serveToken)
	mux.HandleFunc("POST /revoke", s.serveRevoke)
	mux.HandleFunc("POST /introspect", s.serveIntrospect)
	mux.HandleFunc("/resource", s.serveResource)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		s.writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	s.adminRoutes(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" { // nearly every call; the mux costs as much as the rest of it
			s.serveToken(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
